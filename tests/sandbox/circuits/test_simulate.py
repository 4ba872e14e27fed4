"""Circuits: when a spike arrives, against a loop by hand; the compiled loop against the plain one; bad input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.spikes.surrogate import differentiating
from sandbox import (
    LIF,
    AdEx,
    Circuit,
    Connection,
    CubaLIF,
    Events,
    FitzHughNagumo,
    Izhikevich,
    Sparse,
    simulate_circuit,
)
from sandbox.kernels import using
from sandbox.kernels.launch import circuit_loop
from sandbox.neurons import IN_BRIAN2
from sandbox.simulation import simulate

from .conftest import CELLS, DOUBLE, wired

BOTH = pytest.mark.parametrize("mode", ["plain", "numba"])
SPIKING = {name: cls for name, cls in IN_BRIAN2.items() if cls.spiking}
FINE = {"hodgkin_huxley": 0.02, "traub_miles": 0.02}  # steps in ms, where half a millisecond is too long


def pair(post, pre, weight, n=2):
    """Weights `[post, pre]` with one synapse."""
    weights = torch.zeros(n, n, dtype=DOUBLE)
    weights[post, pre] = weight
    return weights


def kicked(steps, at=(), n=2):
    """Currents that make cell 0 fire in some steps."""
    currents = torch.zeros(steps, n, dtype=DOUBLE)
    currents[list(at), 0] = 1e3
    return currents


@BOTH
@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_current_begins_a_step_after_its_spike_arrives_and_decays_exactly(mode, delay):
    circuit = Circuit(LIF(tau_mem=10.0), 2, [Connection(pair(1, 0, 0.7), delay=0.5 * delay, tau=4.0)])
    with using(mode):
        found = simulate_circuit(circuit, kicked(20, [2]), 0.5, ("v",))
    v, i, expected = 0.0, 0.0, []
    for t in range(20):
        v = i + (v - i) * math.exp(-0.05)
        i = i * math.exp(-0.125) + 0.7 * (t == 2 + delay)
        expected.append(v)
    assert found.events.step.tolist() == [2]
    torch.testing.assert_close(found.v[:, 1], torch.tensor(expected, dtype=DOUBLE), rtol=0, atol=1e-15)


@BOTH
def test_a_pulse_lasts_one_step(mode):
    """As the recurrent input of a layer does, and so a layer and a circuit fire alike."""
    circuit = Circuit(LIF(tau_mem=10.0), 2, [Connection(pair(1, 0, 0.7))])
    with using(mode):
        found = simulate_circuit(circuit, kicked(5, [1]), 1.0, ("v",))
    kept = math.exp(-0.1)
    expected = torch.tensor([0, 0, 0.7 * (1 - kept), 0.7 * (1 - kept) * kept], dtype=DOUBLE)
    torch.testing.assert_close(found.v[:4, 1], expected, rtol=0, atol=1e-15)


@BOTH
def test_a_conductance_pulls_towards_its_reversal_potential(mode):
    inhibition = Connection(pair(1, 0, 0.1), kind="conductance", tau=5.0, reversal=-2.0)
    with using(mode):
        found = simulate_circuit(Circuit(LIF(), 2, [inhibition]), kicked(40, [0]), 1.0, ("v",))
    v, g, expected = 0.0, 0.0, []
    for t in range(40):
        current = g * (-2.0 - v)
        v = current + (v - current) * math.exp(-0.05)
        g = g * math.exp(-0.2) + 0.1 * (t == 0)
        expected.append(v)
    torch.testing.assert_close(found.v[:, 1], torch.tensor(expected, dtype=DOUBLE), rtol=0, atol=1e-15)


@BOTH
def test_a_jump_comes_after_the_threshold_and_before_the_reset(mode):
    """Over the threshold in one step, it makes a spike in the next; what meets a cell as it fires is lost by a reset."""
    jump = Connection(pair(1, 0, 5.0), kind="jump")
    with using(mode):
        found = simulate_circuit(Circuit(LIF(), 2, [jump]), kicked(4, [1]), 1.0, ("v",))
        assert found.v[1, 1] == 5.0
        assert torch.equal(found.events.cell, torch.tensor([0, 1]))
        assert torch.equal(found.events.step, torch.tensor([1, 2]))
        together = kicked(4, [1])
        together[1, 1] = 1e3
        assert simulate_circuit(Circuit(LIF(), 2, [jump]), together, 1.0, ("v",)).v[1, 1] == 0.0


@BOTH
def test_a_refractory_cell_takes_no_jump(mode):
    jump = Connection(pair(1, 0, 0.5), kind="jump", delay=1.0)
    together = kicked(6, [0, 3])
    together[0, 1] = 1e3
    with using(mode):
        v = simulate_circuit(Circuit(LIF(t_refractory=2.0), 2, [jump]), together, 1.0, ("v",)).v[:, 1]
    assert v[1] == 0.0
    assert v[4] == 0.5


@BOTH
def test_without_connections_it_is_a_simulation_of_cells(mode):
    neuron = AdEx()
    currents = float(neuron.rheobase) * (1 + torch.rand(300, 2, 3, dtype=DOUBLE, generator=torch.Generator()))
    alone = simulate(neuron, currents, 0.5, ("v",))
    with using(mode):
        found = simulate_circuit(Circuit(neuron, 3), currents, 0.5, ("v", "spikes"))
    assert torch.equal(found.spikes, alone.spikes)
    assert alone.spikes.any()
    torch.testing.assert_close(found.v, alone.v, rtol=1e-12, atol=1e-12)


@BOTH
def test_a_cell_that_a_jump_lifts_over_its_threshold_fires_once(mode):
    """One that waits while it is above (`refractory="v >= ..."`) does so after its spike, not before."""
    jump = Connection(pair(1, 0, 3.0), kind="jump")
    with using(mode):
        found = simulate_circuit(Circuit(FitzHughNagumo(), 2, [jump]), kicked(30, [0]) * 0.03, 0.1)
    assert (found.events.step.tolist(), found.events.cell.tolist()) == ([0, 1], [0, 1])


def test_a_state_to_start_from():
    state = LIF().initial_state((2,), torch.zeros(2, dtype=DOUBLE))
    found = simulate_circuit(Circuit(LIF(), 2), kicked(3), 1.0, ("v",), state._replace(v=state.v + 2.0))
    assert found.events.step.tolist() == [0, 0]
    assert simulate_circuit(Circuit(LIF(), 2), kicked(3), 1.0).events.step.numel() == 0


def both(circuit, currents, dt, record=("v", "spikes")):
    """Both loops; spikes equal, states to rounding."""
    runs = []
    for mode in ("plain", "numba"):
        with using(mode):
            runs.append(simulate_circuit(circuit, currents, dt, record))
    plain, ours = runs
    assert torch.equal(plain.events.step, ours.events.step)
    assert torch.equal(plain.events.cell, ours.events.cell)
    assert torch.equal(plain.spikes, ours.spikes)
    assert torch.equal(plain.spikes, plain.events.dense(plain.spikes.dtype))
    # sums over synapses have another order, and a current of a step is multiplied by up to 100 MOhm
    largest = float(plain.v.detach().abs().max())
    torch.testing.assert_close(ours.v, plain.v, rtol=1e-10, atol=1e-10 * largest)
    return plain


QUICK = ("cuba_lif", "escape_lif")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in SPIKING]
)
def test_the_compiled_loop_equals_the_plain_one(name):
    """Every neuron, with every kind of connection, storage and delay."""
    neuron, dt = SPIKING[name](), FINE.get(name, 0.5)
    circuit, currents = wired(neuron, dt=dt)
    plain = both(circuit, currents[:120], dt)
    assert plain.spikes.any() or name in ("qif", "eif", "traub_miles", "hodgkin_huxley")


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    density=st.floats(0.0, 1.0),
    delay=st.integers(0, 7),
    batch=st.sampled_from([None, 1, 3]),
    strength=st.floats(0.1, 20.0),
)
def test_dense_masked_and_sparse_weights_events_and_arrays_give_equal_spikes(seed, density, delay, batch, strength):
    """The sums of dense products and of loops have different orders, so weights are multiples of 1/64 here."""
    rng, n, dt = torch.Generator().manual_seed(seed), 9, 0.5
    there = torch.rand(n, n, generator=rng) < density
    weights = torch.round(64 * strength * torch.randn(n, n, generator=rng, dtype=DOUBLE)) / 64 * there
    shape = (40, n) if batch is None else (40, batch, n)
    currents = 4 * torch.rand(shape, generator=rng, dtype=DOUBLE)
    neuron, post, pre = LIF(t_refractory=2.0), *there.nonzero(as_tuple=True)
    layer = Sparse.from_edges(pre, post, weights[post, pre], (n, n))
    stored = [
        Connection(weights, delay=delay * dt),
        Connection(weights, mask=there, delay=delay * dt),
        Connection(weights.to_sparse_csr(), delay=delay * dt),
        Connection(weights, delay=torch.full((n, n), delay * dt)),
        Connection(layer, delay=torch.full((len(pre),), delay * dt)),
    ]
    found = [both(Circuit(neuron, n, [each]), currents, dt) for each in stored]
    for other in found[1:]:
        assert torch.equal(found[0].spikes, other.spikes)
        assert torch.equal(found[0].events.step, other.events.step)


def test_groups_and_cells_with_parameters_of_their_own():
    """The same circuit, written with whole matrices."""
    rng = torch.Generator().manual_seed(0)
    tau = torch.tensor([20.0] * 8 + [10.0] * 4, dtype=DOUBLE)
    up, down = torch.rand(12, 8, generator=rng, dtype=DOUBLE), torch.rand(8, 4, generator=rng, dtype=DOUBLE)
    groups = {"e": slice(0, 8), "i": slice(8, 12)}
    apart = Circuit(
        LIF(tau_mem=tau),
        12,
        [
            Connection(up, tau=5.0, source="e", delay=1.0),
            Connection((-down).to_sparse_csr(), tau=10.0, source="i", target="e", delay=0.5),
        ],
        groups,
    )
    whole_up, whole_down = torch.zeros(12, 12, dtype=DOUBLE), torch.zeros(12, 12, dtype=DOUBLE)
    whole_up[:, :8], whole_down[:8, 8:] = up, -down
    together = Circuit(
        LIF(tau_mem=tau), 12, [Connection(whole_up, tau=5.0, delay=1.0), Connection(whole_down, tau=10.0, delay=0.5)]
    )
    currents = 3 * torch.rand(100, 12, generator=rng, dtype=DOUBLE)
    one, other = both(apart, currents, 0.5), both(together, currents, 0.5)
    assert torch.equal(one.spikes, other.spikes)
    assert one.spikes.any()


def test_more_events_than_there_was_room_for(monkeypatch):
    circuit, currents = wired(LIF(), strength=5.0)
    with using("numba"):
        want = simulate_circuit(circuit, currents, 0.5).events
        monkeypatch.setattr(circuit_loop, "ROOM", 1)
        found = simulate_circuit(circuit, currents, 0.5).events
    assert len(want.step) > 100
    assert torch.equal(want.dense(), found.dense())


def test_currents_in_any_layout():
    circuit, currents = wired(LIF())
    turned = currents[:40].permute(2, 1, 0).contiguous().permute(2, 1, 0)
    one = torch.rand(CELLS, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)) * 3
    for each in (turned, turned[:, 0], turned[:, :1].expand(40, 3, CELLS), one.expand(40, CELLS)):
        found = both(circuit, each, 0.5)
        with using("numba"):
            again = simulate_circuit(circuit, each.contiguous(), 0.5, ("spikes",))
        assert torch.equal(found.spikes, again.spikes)


def test_threads_and_float32():
    circuit, currents = wired(CubaLIF(), jump="i_syn")
    with using("numba"):
        want = simulate_circuit(circuit, currents, 0.5).events
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            found = simulate_circuit(circuit, currents, 0.5).events
        finally:
            torch.set_num_threads(before)
    assert torch.equal(want.dense(), found.dense())
    low = Circuit(CubaLIF(), CELLS, [Connection(torch.rand(CELLS, CELLS), kind="jump", variable="i_syn")])
    both_low = [None, None]
    for k, mode in enumerate(("plain", "numba")):
        with using(mode):
            both_low[k] = simulate_circuit(low, currents.float(), 0.5, ("v",))
    assert both_low[0].v.dtype == torch.float32
    torch.testing.assert_close(both_low[0].v[:20], both_low[1].v[:20], rtol=1e-4, atol=1e-5)


def test_a_rule_that_smooths_spikes_runs_the_plain_loop():
    circuit, currents = wired(LIF())
    with using("auto"), differentiating(smooth=True):
        found = simulate_circuit(circuit, currents[:20], 0.5, ("spikes",))
    assert ((found.spikes > 0) & (found.spikes < 1)).any()


@dataclass(frozen=True)
class Branching(LIF):
    """A neuron that looks into its tensors, which no kernel can."""

    def integrate(self, current, state, dt):
        return super().integrate(current if float(current.sum()) > 0 else 0 * current, state, dt)


def test_a_neuron_that_cannot_be_traced_is_named(caplog):
    circuit = Circuit(Branching(), 600, [Connection(torch.zeros(600, 600))])
    currents = torch.ones(60, 600)
    with using("numba"), pytest.raises(RuntimeError, match="Branching cannot run in a kernel: the step takes a number"):
        simulate_circuit(circuit, currents, 1.0)
    with using("auto"):
        assert len(simulate_circuit(circuit, currents, 1.0).events.step) == 0
    assert "Branching runs in the plain loop" in caplog.text


def test_what_was_not_recorded_is_named():
    found = simulate_circuit(Circuit(LIF(), 2), torch.zeros(5, 2), 1.0, ("v",))
    message = r"'wait' was not recorded \(recorded: v\); pass record=\('v', 'wait'\)"
    with pytest.raises(AttributeError, match=message):
        found.wait  # noqa: B018
    assert isinstance(found.events, Events)
    assert found.events.shape == (2,)


def test_times_in_seconds_are_noticed():
    with pytest.warns(UserWarning, match=r"connections\[0\] has tau=0.005 ms, shorter than a step of dt=0.5 ms"):
        simulate_circuit(Circuit(LIF(), 2, [Connection(torch.zeros(2, 2), tau=0.005)]), torch.zeros(5, 2), 0.5)
    with pytest.raises(ValueError, match="delays are in ms, and 0.0015 s are 1.5"):
        simulate_circuit(Circuit(LIF(), 2, [Connection(torch.zeros(2, 2), delay=0.0015)]), torch.zeros(5, 2), 0.5)


def test_a_single_name_is_recorded():
    circuit, currents = Circuit(LIF(), 2), torch.full((40, 2), 2.0)
    assert simulate_circuit(circuit, currents, 1.0, "v").v.shape == (40, 2)
    assert simulate_circuit(circuit, currents, 1.0, "spikes").spikes.sum() == len(
        simulate_circuit(circuit, currents, 1.0, "events").events
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"currents": torch.zeros(5, 3)}, r"currents have shape \(5, 3\); this circuit wants \[T, 2\] or \[T, B, 2\]"),
        ({"delay": 2.5}, "a delay of 2.5 ms is 5 steps, and the currents have 5, .* or a delay of at most 2 ms"),
        ({"record": ("u",)}, "LIF has no variable 'u'; it has: spikes, v"),
        ({"delay": 0.3}, "a delay of 0.3 ms is 0.6 steps of dt=0.5 ms; wanted whole steps: delay=0.5"),
        (
            {"delay": torch.full((2, 2), 0.7)},
            r"0.7 ms is 1.4 steps of dt=0.5 ms; wanted whole steps: delay = \(delay / 0.5\).round\(\) \* 0.5",
        ),
        ({"delay": 4.0}, "a delay of 4 ms is 8 steps, and the currents have 5, so its spike never arrives: give"),
        ({"weights": torch.full((2, 2), math.nan)}, r"connections\[0\] has weights that are not finite; .*nan_to_num"),
        (
            {"weights": torch.zeros(2, 2, dtype=DOUBLE)},
            r"weights in torch.float64 on cpu, .*weights.to\(torch.float32\)",
        ),
        ({"dt": 0.0}, "dt=0.0: give a positive time step in ms"),
    ],
)
def test_bad_input(change, message):
    weights, delay = change.pop("weights", torch.zeros(2, 2)), change.pop("delay", 0.0)
    circuit = Circuit(LIF(), 2, [Connection(weights, delay=delay)])
    with pytest.raises(ValueError, match=message):
        simulate_circuit(circuit, **{"currents": torch.zeros(5, 2), "dt": 0.5, **change})


def test_a_recording_that_does_not_fit_says_how_much_it_takes(monkeypatch):
    monkeypatch.setattr("sandbox.simulation.available", lambda: 10**9)
    currents = torch.zeros(1000).expand(500_000, 1000)
    message = (
        r"spikes and v of 1,000 cells for 500,000 steps take 4\.0 GB, and 1\.0 GB are free; .*record=\('events', 'v'\)"
    )
    with pytest.raises(MemoryError, match=message):
        simulate_circuit(Circuit(LIF(), 1000), currents, 1.0, ("spikes", "v"))
    with pytest.raises(MemoryError, match=r"v of 1,000 cells .* 2\.0 GB, .* record fewer variables, steps or cells"):
        simulate_circuit(Circuit(LIF(), 1000), currents, 1.0, "v")


def test_izhikevich_keeps_what_its_reset_adds():
    """A jump of the recovery variable, which the reset raises in the same step, in both loops."""
    n = 4
    weights = 0.5 * torch.ones(n, n, dtype=DOUBLE)
    circuit = Circuit(Izhikevich(), n, [Connection(weights, kind="jump", variable="u")])
    both(circuit, 20 * torch.ones(200, n, dtype=DOUBLE), 0.5, ("v", "u", "spikes"))
