"""Every neuron of the library, compiled from its own strings, takes the same steps as the one written by hand."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields

import brian2 as b2
import pytest
import torch

from rules.spikes.surrogate import differentiating
from sandbox.neurons import IN_BRIAN2, learnable
from sandbox.neurons.cell import variables
from sandbox.neurons.learnable import Learned
from sandbox.reference import from_brian2, noisy_currents, validate
from sandbox.simulation import scan, simulate


def compiled(neuron):
    """The neuron again, from its strings."""
    namespace = {
        f.name: f"{float(getattr(neuron, f.name))!r} * {neuron.units[f.name]}"
        for f in fields(neuron)
        if f.name in neuron.units
    }
    like = torch.zeros(1, dtype=torch.float64)
    start = neuron.initial_state((1,), like)
    return from_brian2(
        neuron.equations,
        neuron.threshold,
        neuron.reset_code,
        neuron.refractory or (f"{neuron.t_refractory!r}*ms" if "unless refractory" in neuron.equations else None),
        neuron.method,
        namespace,
        draws=neuron.draws,
        surrogate=getattr(neuron, "surrogate", "atan"),
        initial={
            name: f"{float(getattr(start, name))!r} * {neuron.units[name]}"
            for name in variables(start)
            if name in neuron.units
        },
        swing=float(neuron.swing),
    )


def largest_difference(ours, other, record):
    """Relative to the largest value of each variable."""
    return max(
        float((getattr(ours, n) - getattr(other, n)).abs().max() / getattr(other, n).abs().max().clamp(min=1e-30))
        for n in record
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "alpha_lif")) for name in IN_BRIAN2],  # SymPy takes 7 s
)
def test_compiled_equals_hand_written(name, rng):
    """200 noisy steps in float64; 1e-12 of the largest value leaves room for a thousand roundings."""
    neuron = IN_BRIAN2[name]()
    again = compiled(neuron)
    record = tuple(n for n in variables(again.initial_state((1,), torch.zeros(1))) if n != "wait")
    currents = noisy_currents(neuron, cells=7, steps=200, dt=0.1)
    state = neuron.initial_state((7,), currents[0])
    mine = again.initial_state((7,), currents[0])
    if neuron.draws:
        key = torch.tensor(12345)
        state, mine = state._replace(key=key), mine._replace(key=key)
    theirs = simulate(neuron, currents, 0.1, record, state)
    ours = simulate(again, currents, 0.1, record, mine)
    assert torch.equal(ours.spikes, theirs.spikes) or not neuron.spiking
    assert largest_difference(ours, theirs, record) < 1e-12


ADEX = {
    "equations": """dv/dt = (g_L * (E_L - v) + g_L * D * exp((v - V_T) / D) - w + current) / C : volt
                 dw/dt = (a * (v - E_L) - w) / tau_w : amp""",
    "threshold": "v > -40*mV",
    "reset": "v = E_L\nw += b",
    "method": "rk2",
    "initial": {"v": "E_L"},
    "namespace": {
        "C": "281*pF",
        "g_L": "30*nS",
        "E_L": "-70.6*mV",
        "V_T": "-50.4*mV",
        "D": "2*mV",
        "tau_w": "144*ms",
        "a": "4*nS",
        "b": "0.0805*nA",
    },
}
COBA = {
    "equations": """dv/dt = (E_L - v + g * (0*mV - v)) / tau : volt (unless refractory)
                 dg/dt = (sqrt(1 + (current / (1*nA))**2) - g) / tau_g : 1""",
    "threshold": "v > -50*mV",
    "reset": "v = E_L",
    "refractory": "2*ms",
    "method": "exponential_euler",
    "initial": {"v": "E_L"},
    "namespace": {"tau": "20*ms", "tau_g": "5*ms", "E_L": "-60*mV"},
}


@pytest.mark.parametrize("recipe", [ADEX, COBA], ids=["adex", "coba"])
def test_gradients_are_finite_differences_where_nothing_fires(recipe, rng):
    """Of the last state, by every current and every constant; gradcheck's own tolerance, in float64."""
    cell = from_brian2(**recipe)
    names = [name for name in cell.parameters if name != "t_refractory"]
    currents = (0.1 * torch.rand(6, 3, generator=rng, dtype=torch.float64)).requires_grad_()
    values = [torch.tensor(getattr(cell, n), dtype=torch.float64, requires_grad=True) for n in names]

    def last(currents, *values):
        learned = cell.with_parameters(**dict(zip(names, values)))
        spikes, end = scan(learned, currents, dt=0.5)
        assert not spikes.any()
        return tuple(x for x in end[:2])

    assert torch.autograd.gradcheck(last, (currents, *values), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("name", ["lif", "alif", "cuba_lif", "adex", "izhikevich"])
def test_gradients_through_spikes_are_those_of_the_hand_written_neuron(name, detach, rng):
    """The surrogate sees the same distance to threshold, and the reset is differentiated, or not, alike."""
    neuron = IN_BRIAN2[name]()
    again = compiled(neuron)
    found = []
    for cell in (neuron, again):
        currents = noisy_currents(neuron, cells=3, steps=300, dt=0.5, seed=1).requires_grad_()
        with differentiating(detach_reset=detach):
            spikes, _ = scan(cell, currents, dt=0.5)
            spikes.sum().backward()
        found.append((spikes.detach(), currents.grad))
    assert found[0][0].sum() > 5
    assert found[1][1].abs().max() > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-7, atol=1e-9 * float(found[0][1].abs().max()))


def test_a_smooth_pass_is_differentiable_without_surprise(rng):
    """With the primitive in place of the spike, and the reset attached, autograd is the finite difference."""
    cell = from_brian2(**{**ADEX, "method": "euler"}, surrogate="sigmoid")
    currents = torch.full((12, 1), 3.0, dtype=torch.float64, requires_grad=True)

    def summed(currents):
        with differentiating(smooth=True, detach_reset=False):
            return scan(cell, currents, dt=0.5)[0].sum()

    assert torch.autograd.gradcheck(summed, (currents,), rtol=1e-3, atol=1e-6)


def test_constants_are_fields_that_can_be_replaced_and_learned():
    cell = from_brian2(**COBA)
    assert (cell.tau, cell.E_L, cell.t_refractory, cell.fastest) == (20.0, -60.0, 2.0, 5.0)
    slow = cell.with_parameters(tau=40.0)
    assert (slow.tau, cell.tau, type(slow)) == (40.0, 20.0, type(cell))
    assert cell == cell.with_parameters(tau=20.0) != slow
    population = Learned(cell.with_parameters(tau=learnable(20.0, (3,))))
    currents = torch.full((40, 3), 2.0)
    spikes, _ = scan(population(), currents, dt=0.5)
    assert torch.equal(spikes, scan(cell, currents, dt=0.5)[0])
    spikes.sum().backward()
    assert population.raw.tau.grad.abs().min() > 0


def test_the_time_step_and_the_constants_are_not_confused_by_the_cache():
    """Each of these would be wrong if a program of another dt, dtype or constant were used again."""
    cell = from_brian2("dv/dt = (current*(1*Mohm) - v) / tau : volt", namespace={"tau": "10*ms"})
    one = torch.ones(1, 1, dtype=torch.float64)
    for tau in (10.0, 20.0):
        for dt in (0.1, 1.0, 0.1):
            for dtype in (torch.float64, torch.float32):
                run = simulate(cell.with_parameters(tau=tau), one.to(dtype), dt)
                assert run.v.dtype == dtype
                assert float(run.v) == pytest.approx(1 - float(torch.exp(torch.tensor(-dt / tau))), rel=1e-5)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_neuron_and_state_survive_a_copy(again, rng):
    cell = from_brian2(**ADEX).with_parameters(b=0.2)
    twin = again(cell)
    currents = 1.5 * torch.rand(400, 4, generator=rng)
    spikes, state = scan(cell, currents, dt=0.2)
    other, end = scan(twin, currents, dt=0.2)
    assert spikes.any()
    assert torch.equal(spikes, other)
    assert type(again(state)) is type(end)
    assert all(torch.equal(a, b) for a, b in zip(again(state), end) if a is not None)
    assert twin.b == 0.2
    assert twin.source() == cell.source()


@pytest.mark.slow
def test_validate_takes_a_compiled_neuron():
    assert validate(from_brian2(**COBA), duration=100.0, cells=4, record=("v", "g")).passed


def test_a_neuron_without_a_threshold_puts_out_its_membrane():
    cell = from_brian2("dv/dt = (r*I - v) / (10*ms) : volt", input="I", namespace={"r": 2 * b2.Mohm})
    run = simulate(cell, torch.ones(200, 1, dtype=torch.float64), 1.0)
    assert torch.equal(run.spikes, run.v)
    assert float(run.v[-1]) == pytest.approx(2.0)
    assert validate(cell, duration=20.0, cells=2).passed


@pytest.mark.parametrize(("sign", "fires"), [(">=", 1.0), (">", 0.0)])
def test_equality_is_decided_by_the_sign_of_the_comparison(sign, fires):
    for text in (f"v {sign} 5*mV", f"5*mV {'<=' if sign == '>=' else '<'} v"):
        cell = from_brian2("dv/dt = -v / (10*ms) : volt", text, "v = 0*mV")
        state = cell.initial_state((1,), torch.zeros(1))._replace(v=torch.tensor([5.0]))
        assert float(cell.fire(state, 1.0)[0]) == fires


def test_an_upstroke_that_overflows_is_still_reset():
    """exp of 1000 is infinite in float32; infinity times zero must not reach the membrane after the reset."""
    cell = from_brian2("dv/dt = (1*mV*exp(v/mV) - v) / (1*ms) : volt", "v > 20*mV", "v = -60*mV")
    state = cell.initial_state((2,), torch.zeros(2))._replace(v=torch.tensor([1000.0, -60.0]))
    spikes, state = cell.step(torch.zeros(2), state, 0.1)
    assert spikes.tolist() == [1.0, 0.0]
    assert state.v.tolist() == pytest.approx([-60.0, -54.0])


def test_source_names_the_units_and_shows_no_constant_that_is_known():
    source = from_brian2(**ADEX).source(dt=0.1)
    assert source.startswith("# v [mV], w [nA], current [nA]; dt = 0.1 ms, method 'rk2'\ndef integrate(v, w, current):")
    assert "def reset(v, w, fired):" in source
    assert "tau_w" not in source
    compile(source, "source", "exec")  # it parses; it is never run


def test_the_unit_of_the_input_can_be_chosen():
    cell = from_brian2("dv/dt = (drive - v) / (10*ms) : 1", input="drive", input_unit="1")
    assert cell.units["drive"] == "1"
    assert float(simulate(cell, torch.ones(300, 1), 1.0).v[-1]) == pytest.approx(1.0)


def test_tensors_of_one_per_cell():
    cell = from_brian2("dv/dt = (current*(1*Mohm) - v) / tau : volt", namespace={"tau": "10*ms"})
    both = simulate(cell.with_parameters(tau=torch.tensor([10.0, 20.0])), torch.ones(5, 2)).v
    for i, tau in enumerate((10.0, 20.0)):
        one = simulate(cell.with_parameters(tau=tau), torch.ones(5, 1)).v[:, 0]
        torch.testing.assert_close(both[:, i], one)


def test_a_library_neuron_loses_no_field():
    """The helper above takes every field that has a unit."""
    assert {f.name for f in fields(compiled(IN_BRIAN2["lif"]()))} >= {
        "tau_mem",
        "r",
        "v_leak",
        "v_threshold",
        "v_reset",
        "surrogate",
    }


def test_exprel_survives_where_its_quotient_is_singular():
    """At -40 and -55 mV the rates of the squid axon are 0 / 0; near them a quotient in floats has lost eight digits."""
    neuron = IN_BRIAN2["hodgkin_huxley"]()
    again = compiled(neuron)
    v = torch.tensor([-40.0, -40.0 + 1e-8, -40.0 - 3e-6, -55.0, -55.0 + 1e-7], dtype=torch.float64)
    gates = {"m": torch.full_like(v, 0.1), "h": torch.full_like(v, 0.5), "n": torch.full_like(v, 0.4)}
    zero = torch.zeros_like(v)
    theirs = neuron.integrate(zero, neuron.initial_state((5,), v)._replace(v=v, **gates), 0.05)
    ours = again.integrate(zero, again.initial_state((5,), v)._replace(v=v, **gates), 0.05)
    for name in ("v", "m", "h", "n"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-13, atol=0)


@pytest.mark.parametrize("n", [2, 3, 5, 6, 7, 11, -1, -3])
def test_whole_powers_are_multiplied_out(n):
    cell = from_brian2(
        f"dx/dt = -x**{n} / (1*ms) : 1" if n > 0 else f"dx/dt = -(x**{n}) / (1*ms) : 1",
        method="euler",
        initial={"x": 1.25},
    )
    run = simulate(cell, torch.zeros(1, 1, dtype=torch.float64), 0.5, ("x",))
    assert float(run.x) == pytest.approx(1.25 - 0.5 * 1.25**n, rel=1e-14)


def test_the_refractory_time_follows_the_constants_it_is_made_of():
    text = ("dv/dt = (current*(1*Mohm) - v) / tau : volt (unless refractory)", "v > 1*mV", "v = 0*mV")
    alone = from_brian2(*text, refractory="t_dead", namespace={"tau": "10*ms", "t_dead": "3*ms"})
    assert alone.t_refractory == 3.0
    assert "t_dead" not in alone.parameters
    assert copy.deepcopy(alone).t_refractory == 3.0
    shared = from_brian2(*text, refractory="tau / 2", namespace={"tau": "10*ms"})
    assert (shared.t_refractory, shared.with_parameters(tau=4.0).t_refractory) == (5.0, 2.0)


def test_booleans_and_integers_are_variables_of_zeros_and_ones_and_whole_numbers():
    cell = from_brian2(
        "dv/dt = (current*(1*Mohm) - v) / tau : volt\nspent : integer\nawake : boolean\ngain : 1 (shared, constant)",
        "awake and v > 1*mV",
        "v = 0*mV\nspent += 1\nawake = spent < 3",
        namespace={"tau": "10*ms", "v_start": "0.5*mV"},
        initial={"awake": 1.0, "v": "v_start"},
    )
    run = simulate(cell, torch.full((200, 2), 3.0), 0.5, ("v", "spent", "awake"))
    assert run.spikes.sum(0).tolist() == run.spent[-1].tolist() == [3.0, 3.0]
    assert run.awake[-1].tolist() == [0.0, 0.0]
    assert cell.v_start == 0.5
