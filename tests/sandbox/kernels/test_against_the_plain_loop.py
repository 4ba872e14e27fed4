"""Kernels checked against the plain loop: the same spikes, the same variables, the same gradients, for every neuron."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from rules.spikes.surrogate import SURROGATES, Surrogate, differentiating
from sandbox import scan
from sandbox import simulation as loops
from sandbox.kernels import plans, using
from sandbox.kernels.launch import compiled
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.kernels.trace.adjoint import slopes
from sandbox.kernels.trace.kinds import KINDS, Kind
from sandbox.neurons import ALIF, IN_BRIAN2, LIF, QIF, AdEx, AlphaLIF, CobaLIF, CubaLIF, EscapeLIF, StochasticBinary
from sandbox.neurons.firing import RESETS

from .conftest import DOUBLE, agree, answer, driven

EVERY = [pytest.param(cls(), id=name) for name, cls in IN_BRIAN2.items()]
CHANNELS = ("adex", "eif", "hodgkin_huxley", "traub_miles", "morris_lecar", "coba_lif")  # they have exponentials
COMMON = ("triangle",)
RESET = [pytest.param(cls(), id=name) for name, cls in IN_BRIAN2.items() if cls().reset_code]
DETERMINISTIC = [
    pytest.param(name, marks=[] if name in COMMON else [pytest.mark.slow])
    for name, shape in SURROGATES.items()
    if not shape.stochastic
]
DT = 0.25


def held(neuron, currents, learned=(), rtol=1e-10, exact=True, mode="numba"):
    """Both loops; in float64 the spikes are equal, and the variables, and what a cell without spikes puts out, to
    rounding or exactly."""
    plain, ours = (answer(each, neuron, currents, DT, learned) for each in ("plain", mode))
    if exact or neuron.spiking:
        assert torch.equal(plain.spikes, ours.spikes)
    torch.testing.assert_close(plain.spikes, ours.spikes, rtol=1e-11, atol=1e-11)
    for name, value in plain.variables.items():
        if exact:
            assert torch.equal(ours.variables[name], value), name
        torch.testing.assert_close(ours.variables[name], value, rtol=1e-11, atol=1e-11, msg=name)
    agree(ours, plain, rtol)
    return ours


QUICK = ("lif", "alif", "cuba_lif", "adex", "izhikevich", "escape_lif", "leaky_integrator")


@pytest.mark.parametrize(
    "neuron",
    [pytest.param(cls(), id=name, marks=[pytest.mark.slow] * (name not in QUICK)) for name, cls in IN_BRIAN2.items()],
)
def test_every_neuron_in_double_precision(neuron, request):
    """Bit for bit where there is arithmetic alone; exponentials are within two units in the last place."""
    exact = not any(name in request.node.name for name in CHANNELS)
    ours = held(neuron, driven(neuron), exact=exact)
    assert any(g.any() for g in ours.gradients)
    assert ours.spikes.any() or isinstance(neuron, QIF)  # whose upstroke takes longer


@pytest.mark.slow
@pytest.mark.parametrize("neuron", RESET)
def test_every_neuron_under_another_pass(neuron, request):
    """Resets that are differentiated, where the default detaches them, and another surrogate."""
    with differentiating(Surrogate("triangle"), detach_reset=False):
        held(neuron, driven(neuron), exact=not any(name in request.node.name for name in CHANNELS))


def single(neuron, mode="numba", steps=60):
    """In float32, a cell may part where its membrane is at the threshold to 1e-5 of the swing; such cells are counted.

    After that it is another trajectory; the other cells agree to 1e-4, for roundings that a membrane amplifies.
    """
    currents = driven(neuron, (32,), steps, dtype=torch.float32)
    plain, ours = (answer(each, neuron, currents, DT) for each in ("plain", mode))
    apart = plain.spikes.ne(ours.spikes)
    cells = apart.any(0)
    assert cells.sum() <= 1
    with using("plain"):
        *_, above = loops.sequence(neuron, currents, neuron.initial_state((32,), currents), DT, (), True)[0]
    first = above.gather(0, apart.int().argmax(0, keepdim=True))[0]  # where a cell parts
    assert (first[cells].abs() <= 1e-5 * neuron.swing).all()
    agree(kept(ours, ~cells), kept(plain, ~cells), 1e-4)
    for name, value in plain.variables.items():
        size = float(value.abs().max())
        torch.testing.assert_close(ours.variables[name][:, ~cells], value[:, ~cells], rtol=1e-4, atol=1e-4 * size)


def kept(found, cells):
    return found._replace(gradients=[g[..., cells] for g in found.gradients])


def test_single_precision():
    single(LIF())


@pytest.mark.slow
@pytest.mark.parametrize("neuron", EVERY)
def test_every_neuron_in_single_precision(neuron):
    single(neuron)


@pytest.mark.parametrize(
    ("reset", "detach"),
    [
        ("subtract", False),
        *(
            pytest.param(reset, detach, marks=pytest.mark.slow)
            for reset in RESETS
            for detach in (True, False)
            if (reset, detach) != ("subtract", False)
        ),
    ],
)
def test_resets_detached_or_not(reset, detach):
    with differentiating(detach_reset=detach):
        neuron = ALIF(tau_mem=5.0, reset=reset, v_reset=-0.5, t_refractory=1.0)
        held(neuron, driven(neuron, strength=4.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "reset"), [(CubaLIF, "none"), (AlphaLIF, "subtract"), (CobaLIF, "none"), (EscapeLIF, "subtract")]
)
def test_resets_of_every_family(kind, reset):
    neuron = kind(reset=reset, t_refractory=1.0)
    held(neuron, driven(neuron, strength=4.0), exact=kind is not CobaLIF)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_surrogate_of_the_table(name):
    """As the neuron's own, and strictly; a kernel is made for each, with its derivative traced."""
    neuron = LIF(tau_mem=5.0, surrogate=Surrogate(name))
    ours = held(neuron, driven(neuron, steps=15))
    assert ours.gradients[0].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian"])
def test_the_surrogate_of_the_pass_and_its_normalisation(name):
    with differentiating(Surrogate(name, normalize="area")):
        held(LIF(tau_mem=5.0, strict=True), driven(LIF(), steps=15))


def learned_cell(neuron, spread):
    """The neuron with a tensor in every field of its equations: one number, or one for each of three cells."""
    values = {}
    for number, f in enumerate(f for f in fields(neuron) if f.name in neuron.units):
        value = torch.tensor(float(getattr(neuron, f.name)), dtype=DOUBLE)
        value = value * torch.tensor([0.98, 1.0, 1.01], dtype=DOUBLE) if (number % 2 == 0) == spread else value
        values[f.name] = value.requires_grad_()
    return replace(neuron, **values), list(values.values())


LEARNED = [
    pytest.param(cls(), id=name, marks=[] if name == "lif" else [pytest.mark.slow]) for name, cls in IN_BRIAN2.items()
]


@pytest.mark.parametrize("neuron", LEARNED)
def test_every_learned_parameter_has_its_gradient(neuron):
    """Of every other one for each cell, and of the others for all of them."""
    cell, learned = learned_cell(neuron, True)
    ours = held(cell, driven(neuron), learned, exact=False)
    assert sum(bool(g.any()) for g in ours.gradients[-len(learned) :]) >= len(learned) - 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LIF, AdEx])
def test_learned_parameters_the_other_way_about(kind):
    cell, learned = learned_cell(kind(), False)
    held(cell, driven(kind()), learned, exact=False)


@pytest.mark.slow
def test_learned_parameters_of_another_precision():
    """1e-6: the gradient is a number in float32."""
    tau = torch.tensor(10.0, requires_grad=True)
    held(LIF(tau_mem=tau), driven(LIF()), [tau], rtol=1e-6, exact=True)


@pytest.mark.parametrize("neuron", [EscapeLIF(t_refractory=2.0), StochasticBinary()], ids=["escape", "binary"])
def test_noisy_neurons_draw_the_numbers_of_the_plain_loop(neuron):
    currents = driven(neuron, (7,))
    for key in (0, 2**61 + 12345):
        state = neuron.initial_state((7,), currents[0])._replace(key=torch.tensor(key))
        found = []
        for mode in ("plain", "numba"):
            with using(mode):
                found.append(scan(neuron, currents, state))
        (a, end), (b, last) = found
        assert torch.equal(a, b)
        assert torch.equal(end.key, last.key)


@pytest.mark.slow
@pytest.mark.parametrize(
    "neuron", [LIF(), StochasticBinary(), ALIF(t_refractory=1.0), AdEx()], ids=lambda n: type(n).__name__
)
def test_smooth_passes_are_their_own_derivative(neuron):
    """Central differences of a step of 1e-6: 1e-4 of the slope."""

    def run(x):
        with using("numba"), differentiating(smooth=True, detach_reset=False):
            return scan(neuron, x, dt=DT)[0]

    currents = driven(neuron, (2,), 5, strength=0.5).requires_grad_()
    assert torch.autograd.gradcheck(run, (currents,), eps=1e-6 * float(neuron.rheobase), rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "slope"),
    [("lerp", ("1 - c", "c", "a - b")), pytest.param("where", (None, "1", "0"), marks=pytest.mark.slow)],
)
def test_a_wrong_slope_would_be_noticed(monkeypatch, kind, slope):
    """The comparison sees a lerp whose weight has the wrong sign, and clamped cells that listen."""
    slopes.cache_clear()
    monkeypatch.setitem(KINDS, kind, Kind(KINDS[kind].arity, KINDS[kind].code, None, slope))
    tau = torch.tensor(7.0, dtype=DOUBLE, requires_grad=True)
    cell = LIF(tau_mem=tau, t_refractory=1.0)
    monkeypatch.setattr(plans, "_PLANS", {})
    known = dict(STRUCTURES)
    STRUCTURES.clear()  # the structures there have their gradients already
    compiled._KERNELS.clear()
    try:
        with pytest.raises(AssertionError):
            held(cell, driven(cell), [tau], exact=False)
    finally:
        slopes.cache_clear()
        compiled._KERNELS.clear()
        STRUCTURES.clear()
        STRUCTURES.update(known)
