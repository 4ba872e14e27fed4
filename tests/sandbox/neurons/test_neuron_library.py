"""Every neuron of the library: shapes, dtypes, gradients, learnable parameters, and what is published about it."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import rules
from rules.spikes.surrogate import differentiating
from sandbox import build, scan, simulate
from sandbox.neurons import (
    ALIF,
    EIF,
    IN_BRIAN2,
    LIF,
    QIF,
    AdEx,
    AlphaLIF,
    CobaLIF,
    CubaLIF,
    EscapeLIF,
    FitzHughNagumo,
    HodgkinHuxley,
    Izhikevich,
    LeakyIntegrator,
    Learned,
    MorrisLecar,
    ResonateAndFire,
    TraubMiles,
    TwoCompartment,
    learnable,
)
from sandbox.neurons.cell import variables
from sandbox.neurons.dice import DRAWS, following

EVERY = [pytest.param(cls(), id=name) for name, cls in IN_BRIAN2.items()]
DOUBLE = torch.float64


def driven(neuron, shape=(), steps=200, strength=2.0, dtype=DOUBLE):
    """Noisy currents about `strength` times the rheobase."""
    rng = torch.Generator().manual_seed(1)
    noise = torch.randn(steps, *shape, generator=rng, dtype=DOUBLE)
    return (float(neuron.rheobase) * (strength + 0.5 * noise)).to(dtype)


def constant(current, steps, cells=1):
    return torch.full((steps, cells), current, dtype=DOUBLE)


def intervals(run, cell=0):
    return run.t[run.spikes[:, cell] > 0].diff()


# ---- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", EVERY)
def test_a_batch_of_any_shape_is_its_cells_one_by_one(neuron):
    currents = driven(neuron, (2, 3))
    whole = simulate(neuron, currents, 0.1)
    if neuron.draws:  # random draws identify a cell by its place
        assert whole.spikes.shape == (200, 2, 3)
        return
    for i, j in [(0, 0), (1, 2)]:
        alone = simulate(neuron, currents[:, i, j], 0.1)
        assert torch.equal(whole.spikes[:, i, j], alone.spikes)
        torch.testing.assert_close(whole.v[:, i, j], alone.v, rtol=1e-12, atol=1e-12)  # vectorised functions round


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("neuron", EVERY)
def test_every_part_of_the_state_keeps_shape_and_dtype(neuron, dtype):
    output, state = scan(neuron, driven(neuron, (3, 4), dtype=dtype), dt=0.1)
    assert output.dtype == dtype
    assert torch.isfinite(output).all()
    for name in variables(state):
        assert getattr(state, name).shape == (3, 4), name
        assert getattr(state, name).dtype == dtype, name
        assert torch.isfinite(getattr(state, name)).all(), name


@pytest.mark.parametrize("neuron", EVERY)
def test_an_undriven_cell_stays_at_rest(neuron):
    """A millivolt in 100 ms would be a wrong rest; the escape cell fires by chance and is exempt."""
    if neuron.draws:
        return
    run = simulate(neuron, constant(0.0, 1000), 0.1)
    drift = 5.0 if isinstance(neuron, (EIF, AdEx)) else 1e-6  # these start at the leak, below their fixed point
    assert not run.spikes.any() or not neuron.spiking
    assert float((run.v - run.v[0]).abs().max()) < drift


@pytest.mark.parametrize("neuron", EVERY)
def test_a_state_handed_back_continues_exactly(neuron):
    currents = driven(neuron, (5,))
    whole, end = scan(neuron, currents, dt=0.1)
    first, middle = scan(neuron, currents[:77], dt=0.1)
    second, last = scan(neuron, currents[77:], middle, dt=0.1)
    assert torch.equal(whole, torch.cat([first, second]))
    assert all(torch.equal(a, b) for a, b in zip(end, last, strict=True) if a is not None)


@pytest.mark.parametrize("neuron", EVERY)
def test_parameters_are_plain_data(neuron):
    assert type(neuron)() == neuron
    assert repr(neuron).startswith(type(neuron).__name__ + "(")


@pytest.mark.parametrize("neuron", EVERY)
def test_every_parameter_may_differ_from_cell_to_cell(neuron):
    """A tensor in a field is a value for each cell; equal values are the plain neuron to rounding."""
    names = [f.name for f in fields(neuron) if f.name in neuron.units]
    each = replace(neuron, **{name: torch.full((3,), float(getattr(neuron, name)), dtype=DOUBLE) for name in names})
    currents = driven(neuron, (3,), 100)
    torch.testing.assert_close(simulate(each, currents, 0.1).v, simulate(neuron, currents, 0.1).v, rtol=1e-9, atol=1e-9)


def test_numbers_of_numpy_are_taken():
    cell = LIF(tau_mem=np.float32(10.0), r=np.int64(2))
    assert type(cell.tau_mem) is type(cell.r) is float
    assert cell == LIF(tau_mem=10.0, r=2.0)


# ---- gradients -------------------------------------------------------------------------------------------------------


def learnables():
    for name, cls in IN_BRIAN2.items():
        for f in fields(cls):
            if f.name in cls.units:
                yield pytest.param(cls(), f.name, id=f"{name}-{f.name}")


def response(neuron, currents):
    """A smooth function of everything: spikes by their primitive, the gradient taken through the reset."""
    weights = torch.linspace(0.5, 1.5, len(currents), dtype=DOUBLE)[:, None]
    start = type(neuron)().initial_state((2,), currents[0])  # the same for every parameter
    with differentiating(smooth=True, detach_reset=False):
        names = tuple(name for name in variables(start) if name != "wait")
        run = simulate(neuron, currents, 0.05, names, start)
        return (
            sum((weights * torch.tanh(getattr(run, name) / 50)).sum() for name in names) + (weights * run.spikes).sum()
        )


@pytest.mark.parametrize(("neuron", "name"), learnables())
def test_autograd_agrees_with_finite_differences_for_every_parameter(neuron, name):
    """Central differences are good to (step)^2 ~ 1e-10 of the third derivative and to 1e-16 / step ~ 1e-11 of the value."""
    currents = driven(neuron, (2,), 40, strength=0.5)
    value = torch.tensor(float(getattr(neuron, name)), dtype=DOUBLE, requires_grad=True)
    response(replace(neuron, **{name: value}), currents).backward()
    step = 1e-5 * max(abs(float(value.detach())), 1e-2)
    above, below = (response(replace(neuron, **{name: value.detach() + sign * step}), currents) for sign in (1, -1))
    want = float((above - below) / (2 * step))
    assert float(value.grad) == pytest.approx(
        want, rel=2e-5, abs=1e-7 * max(1.0, abs(float(above)) / abs(float(value.detach()) or 1))
    )


@pytest.mark.parametrize("neuron", EVERY)
def test_autograd_agrees_with_finite_differences_for_the_current(neuron):
    currents = driven(neuron, (2,), 5, strength=0.5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: response(neuron, x), (currents,), eps=1e-6 * float(neuron.rheobase), rtol=1e-4
    )


def test_a_detached_parameter_would_be_noticed():
    """The comparison sees a gradient that is missing: tau as a number has none."""
    value = torch.tensor(10.0, dtype=DOUBLE, requires_grad=True)
    cell = replace(LIF(), tau_mem=value)
    assert response(cell, driven(cell, (2,), 40, 0.5)).requires_grad
    assert not response(replace(cell, tau_mem=float(value.detach())), driven(cell, (2,), 40, 0.5)).requires_grad


# ---- learnable parameters --------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(raw=st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_learned_parameters_stay_physical(raw):
    cells = Learned(LIF(tau_mem=learnable(10.0), v_threshold=learnable(1.0), v_reset=learnable(-0.5))).double()
    with torch.no_grad():
        for p, value in zip(cells.raw.values(), raw, strict=True):
            p.fill_(value)
    now = cells()
    assert now.tau_mem > 0
    assert now.v_threshold >= now.v_reset


def test_learnable_fields_become_parameters_and_learn(rng):
    neuron = LIF(tau_mem=learnable(5.0, (30,)), v_threshold=learnable(1.0))
    net = build((4,), 3, (30,), neuron=neuron, readout=LeakyIntegrator(tau_mem=learnable(5.0)))
    shapes = {name.split("raw.")[1]: tuple(p.shape) for name, p in net.layers[0].named_parameters() if "raw" in name}
    assert shapes == {"tau_mem": (30,), "v_threshold": ()}
    plain = build((4,), 3, (30,), neuron=LIF(tau_mem=5.0), readout=LeakyIntegrator(tau_mem=5.0))
    x = 4 * torch.rand(20, 16, 4, generator=rng)
    torch.testing.assert_close(net(x).output, plain(x).output, rtol=1e-5, atol=1e-6)  # the same cells before learning
    trainer = rules.Trainer(net, "bptt")
    for _ in range(3):
        trainer.step((x, torch.randint(3, (16,), generator=rng)))
    cells = net.layers[0].cells.present()
    assert cells.tau_mem.detach().std() > 0
    assert cells.v_threshold != 1.0


@pytest.mark.parametrize("options", [{}, {"window": 5}, {"checkpoint": 4}])
def test_a_noisy_population_trains_and_draws_anew_in_every_step(options, rng):
    x = 4 * torch.rand(20, 16, 4, generator=rng)
    net = build((4,), 3, (30,), neuron=EscapeLIF(tau_mem=5.0), readout=LeakyIntegrator(tau_mem=5.0))
    losses = [
        rules.Trainer(net, rules.make("bptt", lr=1e-9, **options)).step((x, torch.zeros(16, dtype=torch.long))).loss
    ]
    trainer = rules.Trainer(net, rules.make("bptt", lr=1e-9, **options))
    losses += [trainer.step((x, torch.zeros(16, dtype=torch.long))).loss for _ in range(2)]
    assert losses[0] == losses[1] != losses[2]


# ---- random draws ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "law"), [("uniform", stats.uniform), ("normal", stats.norm)])
def test_dice_follow_their_law_and_know_nothing_of_each_other(name, law):
    """Kolmogorov-Smirnov and correlations of 400,000 draws; 1e-3 is the level of an unlucky seed in a thousand."""
    key, rows = torch.tensor(123), []
    for _ in range(400):
        rows.append(DRAWS[name](key, torch.zeros(1000, dtype=DOUBLE)))
        key = following(key)
    drawn = torch.stack(rows)
    assert stats.kstest(drawn.flatten().numpy(), law.cdf).pvalue > 1e-3
    flat = drawn - drawn.mean()
    for other in (flat.roll(1, 0), flat.roll(1, 1), flat.roll(7, 0).roll(3, 1)):
        assert abs(float((flat * other).mean() / flat.var())) < 4 / math.sqrt(flat.numel())
    assert torch.equal(rows[0].float(), DRAWS[name](torch.tensor(123), torch.zeros(1000)))
    assert not torch.equal(DRAWS[name](key, drawn[0], 1), DRAWS[name](key, drawn[0], 0))


def test_the_dice_come_from_the_generator_that_is_handed_in():
    cell, currents = EscapeLIF(), constant(1.0, 300, 4)

    def spikes(seed):
        return scan(cell, currents, dt=0.1, generator=torch.Generator().manual_seed(seed))[0]

    assert torch.equal(spikes(0), spikes(0))
    assert not torch.equal(spikes(0), spikes(1))
    assert torch.equal(scan(cell, currents)[0], scan(cell, currents)[0])
    assert not torch.equal(scan(cell, currents)[0], scan(EscapeLIF(seed=1), currents)[0])


def test_the_escape_rate_is_the_hazard():
    """A clamped cell is a Bernoulli process with p = 1 - exp(-dt hazard); four standard errors of 200,000 draws."""
    cell = EscapeLIF(v_leak=0.9, tau_mem=1e-3, tau_escape=2.0, reset="none")
    spikes, _ = scan(cell, constant(0.0, 200, 1000), dt=1e-3 / 2)
    want = 1 - math.exp(-(1e-3 / 2) / 2.0 * math.exp(-0.1 / 0.1))
    assert float(spikes.mean()) == pytest.approx(want, abs=4 * math.sqrt(want / spikes.numel()))


# ---- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau_syn", [2.0, 9.999999, 10.0, 10.000001, 30.0])
@pytest.mark.parametrize("kind", [CubaLIF, AlphaLIF])
def test_synaptic_steps_compose(kind, tau_syn):
    """Exact means that one step of 8 ms is eight of 1 ms, for every pair of time constants; 1e-12 for roundings."""
    cell = kind(tau_mem=10.0, tau_syn=tau_syn, v_threshold=1e9)
    once = simulate(cell, constant(3.0, 1), 8.0, record=("v", "i_syn"))
    many = simulate(cell, constant(3.0, 8), 1.0, record=("v", "i_syn"))
    for name in ("v", "i_syn"):
        torch.testing.assert_close(getattr(once, name)[-1], getattr(many, name)[-1], rtol=1e-12, atol=1e-12)


def test_an_alpha_synapse_has_the_shape_and_the_area_of_its_name():
    run = simulate(AlphaLIF(tau_syn=5.0, v_threshold=1e9), torch.eye(6000, 1, dtype=DOUBLE) * 100, 0.01, ("i_syn",))
    want = run.t / 25 * torch.exp(-run.t / 5)  # a pulse of 1 nA ms
    torch.testing.assert_close(run.i_syn[:, 0], want, rtol=0, atol=2e-4)  # the pulse lasts 0.01 ms, a slope of 1/25
    assert float(run.i_syn.sum() * 0.01) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
def test_the_quadratic_cell_fires_at_its_closed_form():
    """dv/dt = (k (v - a)^2 + g) / tau is a tangent in time; 1 % for the grid at dt = 0.01 ms."""
    cell = QIF(v_reset=-75.0, v_threshold=0.0)
    current = 3 * cell.rheobase
    middle, excess = -57.5, cell.r * (current - cell.rheobase)
    root = math.sqrt(cell.k * excess)
    period = cell.tau_mem / root * sum(math.atan(cell.k * abs(v - middle) / root) for v in (0.0, -75.0))
    run = simulate(cell, constant(current, 20_000), 0.01)
    assert float(intervals(run).mean()) == pytest.approx(period, rel=1e-2)


@pytest.mark.slow
def test_the_settled_soma_reaches_threshold_at_the_rheobase():
    cell = TwoCompartment(r=2.0, r_dend=3.0, r_axial=0.7)
    for factor, fires in [(0.999, False), (1.001, True)]:
        assert bool(simulate(cell, constant(factor * cell.rheobase, 5000), 0.1).spikes.any()) is fires


def test_conductances_reverse():
    """However strong the input, the membrane stays between the reversal potentials."""
    cell = CobaLIF(v_threshold=1e3)
    run = simulate(cell, torch.tensor([1e3, -1e3], dtype=DOUBLE).expand(3000, 2), 0.1)
    assert -80.0 <= float(run.v[-1, 1]) < -79.0
    assert -1.0 < float(run.v[-1, 0]) <= 0.0


def test_the_threshold_adapts_by_beta_for_each_spike_and_forgets():
    cell = ALIF(tau_mem=5.0, tau_adapt=100.0, beta=0.3)
    run = simulate(cell, constant(2.0, 3000), 0.1, record=("v", "a"))
    gaps = intervals(run)
    assert gaps[-1] > 1.5 * gaps[0]
    spike = int((run.spikes[:, 0] > 0).nonzero()[3])
    assert float(run.a[spike] - run.a[spike - 1] * math.exp(-0.1 / 100)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.slow
def test_a_resonator_prefers_its_own_frequency():
    """The amplitude at 40 Hz is at least twice that at 10 and at 120 Hz, as |1 / (i w - lambda)| requires."""
    cell = ResonateAndFire(v_threshold=1e9)
    t = 0.05 * torch.arange(10_000, dtype=DOUBLE)
    currents = torch.stack([torch.sin(2 * math.pi * f / 1000 * t) for f in (10.0, 40.0, 120.0)], 1)
    slow, own, fast = simulate(cell, currents, 0.05).v[6000:].abs().amax(0).tolist()
    assert own > 2 * slow
    assert own > 2 * fast


# ---- what is published -----------------------------------------------------------------------------------------------


def test_the_squid_rests_where_it_was_found_to():
    """m, h and n at rest, as in every textbook: 0.053, 0.596, 0.318."""
    state = HodgkinHuxley().initial_state((1,), torch.zeros(1, dtype=DOUBLE))
    assert [round(float(x), 3) for x in (state.m, state.h, state.n)] == [0.053, 0.596, 0.318]


@pytest.mark.slow
def test_the_squid_has_a_threshold_a_rhythm_and_a_block():
    """Silent at 2 uA/cm^2, about 68 Hz at 10, no rhythm at 200 (depolarisation block)."""
    run = simulate(HodgkinHuxley(), torch.tensor([2.0, 10.0, 200.0], dtype=DOUBLE).expand(10_000, 3), 0.025)
    assert run.spikes[4000:, 0].sum() == 0
    assert 62 <= 1000 / float(intervals(run, 1)[2:].mean()) <= 74
    assert run.spikes[4000:, 2].sum() == 0


@pytest.mark.slow
def test_the_benchmark_cell_has_no_rest_at_the_benchmark_s_threshold():
    run = simulate(TraubMiles(v_traub=-63.0), constant(0.0, 5000), 0.1)
    assert 5 <= run.spikes.sum() <= 8


def test_fitzhugh_s_cell_oscillates_between_its_two_bifurcations():
    """Hopf points at v = -+sqrt(1 - b tau_mem / tau_w), so at currents of 0.331 and 1.419."""
    run = simulate(FitzHughNagumo(), torch.tensor([0.25, 0.6, 1.5], dtype=DOUBLE).expand(1600, 3), 0.5)
    late = run.spikes[800:].sum(0).tolist()
    assert late[0] == late[2] == 0
    assert late[1] >= 5


@pytest.mark.slow
def test_morris_and_lecar_s_two_onsets():
    """The Hopf cell jumps to several Hz at its onset, the SNIC cell begins near zero."""
    hopf = simulate(MorrisLecar.preset("hopf"), torch.tensor([80.0, 100.0], dtype=DOUBLE).expand(2000, 2), 1.0)
    assert hopf.spikes[500:, 0].sum() == 0
    assert 1000 / float(intervals(hopf, 1)[2:].mean()) > 8
    snic = simulate(MorrisLecar.preset("snic"), torch.tensor([38.0, 40.5, 60.0], dtype=DOUBLE).expand(2000, 3), 1.0)
    assert snic.spikes[500:, 0].sum() == 0
    slow, fast = (1000 / float(intervals(snic, cell)[1:].mean()) for cell in (1, 2))
    assert slow < 0.6 * fast


def patterns(cls, steps=10_000):
    """Spike times of every preset under its current, all of them as the cells of one neuron with a value for each."""
    names = list(cls.presets)
    table = {
        key: torch.tensor([cls.presets[name][key] for name in names], dtype=DOUBLE) for key in cls.presets[names[0]]
    }
    currents = torch.tensor([cls.preset_currents[name] for name in names], dtype=DOUBLE)
    run = simulate(cls(**table), currents.expand(steps, len(names)), 0.1)
    return {name: run.t[run.spikes[:, cell] > 0] for cell, name in enumerate(names)}


def test_the_firing_patterns_of_the_adaptive_exponential_cell():
    """The names of Naud et al. 2008, figure 4, as statements about intervals."""
    times = patterns(AdEx)
    gaps = {name: t.diff() for name, t in times.items()}
    assert gaps["tonic"][2:].std() / gaps["tonic"][2:].mean() < 0.02
    assert (gaps["adapting"][:4].diff() > 0).all()
    assert gaps["adapting"][-1] > 3 * gaps["adapting"][0]
    assert gaps["initial_burst"][0] < gaps["initial_burst"][-1] / 5
    assert gaps["initial_burst"][4:].std() / gaps["initial_burst"][4:].mean() < 0.02
    short = gaps["bursting"] < 20
    assert short.any()
    assert (gaps["bursting"] > 100).any()
    assert times["delayed_accelerating"][0] > 2 * times["tonic"][0]
    assert gaps["delayed_accelerating"][-1] < gaps["delayed_accelerating"][0]
    assert times["delayed_bursting"][0] > 40
    assert gaps["delayed_bursting"].max() > 5 * gaps["delayed_bursting"].min()
    assert len(times["transient"]) == 1
    late = gaps["irregular"][5:]
    assert late.std() / late.mean() > 0.3
    assert len({round(float(gap), 1) for gap in late}) > len(late) / 2  # no pattern returns


def test_the_firing_patterns_of_the_simple_model():
    """Figure 2 of Izhikevich 2003, as statements about intervals."""
    times = patterns(Izhikevich)
    gaps = {name: t.diff() for name, t in times.items()}
    assert gaps["RS"][-1] > 1.5 * gaps["RS"][0]
    assert gaps["IB"][0] < 10 < gaps["IB"][-1]  # a burst, then single spikes
    assert (gaps["CH"] < 5).sum() > 5 * (gaps["CH"] > 15).sum() / 2  # bursts all along
    assert (gaps["CH"][-20:] > 15).any()
    assert 1000 / gaps["FS"][-1] > 2 * 1000 / gaps["RS"][-1]
    assert gaps["LTS"][-1] > 2 * gaps["LTS"][0]
    assert gaps["TC"][-5:].std() < 0.2
    assert len(times["RZ"]) > 100


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CubaLIF(tau_syn=-5.0), "tau_syn=-5.0: give a positive time constant in ms"),
        (lambda: AdEx(c_mem=0.0), "c_mem=0.0: give a positive number in nF"),
        (lambda: FitzHughNagumo(b=0.0), "b=0.0: give a positive number"),
        (lambda: ALIF(reset="soft"), "unknown reset 'soft'"),
        (lambda: AdEx.preset("burst"), "unknown preset of AdEx 'burst'.*nearest: 'bursting'"),
        (lambda: LIF.preset("RS"), "unknown preset of LIF 'RS'"),
        (lambda: Learned(LIF(v_threshold=learnable(-1.0))), r"v_threshold=.*must start above v_reset = 0.0"),
        (lambda: Learned(LIF(tau_mem=learnable(0.0))), "tau_mem=.*give a positive time constant"),
        (lambda: scan(LIF(), torch.tensor([[1.0, math.nan]])), r"currents hold nan at \[0, 1\]; wanted finite"),
        (lambda: simulate(LIF(), torch.tensor([[math.inf]])), r"currents hold inf at \[0, 0\]"),
        (lambda: scan(LIF(), torch.ones(3, 2, dtype=torch.long)), r"currents have dtype torch.int64.*currents.double"),
        (
            lambda: scan(LIF(), torch.ones(3, 2), LIF().initial_state((5,), torch.ones(1))),
            r"state.v is torch.float32 of shape \(5,\); the currents want torch.float32 of shape \(2,\)",
        ),
        (
            lambda: scan(LIF(), torch.ones(3, 2), LIF().initial_state((2,), torch.ones(1, dtype=DOUBLE))),
            "state.v is torch.float64 of shape .*; the currents want torch.float32",
        ),
        (
            lambda: scan(LIF(), torch.ones(3, 2), ALIF().initial_state((2,), torch.ones(1))),
            "state is a ALIFState; LIF wants a LIFState",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "run",
    [lambda: scan(LIF(tau_mem=5.0), torch.ones(3, 2), dt=6.0), lambda: build((4,), 3, (30,), LIF(tau_mem=5.0), dt=6.0)],
)
def test_a_step_longer_than_the_fastest_time_constant_is_warned_of(run):
    with pytest.warns(UserWarning, match="dt=6 ms is longer than the fastest time constant of LIF, 5 ms"):
        run()


def test_a_value_for_each_cell_is_learned_from_its_own_start():
    starts = torch.tensor([5.0, 10.0, 20.0])
    thresholds = torch.tensor([0.0, 1.0, 3.0])
    cells = Learned(
        LIF(tau_mem=learnable(starts), v_threshold=learnable(thresholds), v_reset=learnable([-1.0, -0.5, 0.0]))
    )
    now = cells()
    assert torch.equal(now.tau_mem, starts)
    assert torch.equal(now.v_threshold, thresholds)
    with torch.no_grad():
        cells.raw["tau_mem"].copy_(torch.tensor([0.0, 1.0, -1.0]))
        cells.raw["v_reset"].copy_(torch.tensor([0.0, 1.0, -1.0]))
    now = cells.double()()
    assert torch.allclose(now.tau_mem, starts.double() * torch.tensor([0.0, 1.0, -1.0]).double().exp())
    assert torch.allclose(now.v_reset, torch.tensor([-1.0, 0.0, -1.0]).double())
    assert (now.v_threshold > now.v_reset).all()
    net = build((4,), 3, (3,), neuron=LIF(tau_mem=learnable(starts)))
    net(torch.ones(20, 2, 4)).output.sum().backward()
    assert (net.layers[0].cells.learned.raw["tau_mem"].grad != 0).any()
    with pytest.raises(ValueError, match="give a finite number, or one for each cell"):
        learnable([1.0, float("nan")])
    with pytest.raises(ValueError, match="or one for each cell of the shape"):
        learnable([1.0, 2.0], (3,))
    with pytest.raises(ValueError, match="must start above"):
        Learned(LIF(v_threshold=learnable([5.0, -5.0])))
