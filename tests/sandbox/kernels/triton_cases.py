"""Triton kernels in its interpreter, checked against the plain loop; `test_triton.py` runs this in its own process."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from rules.spikes.surrogate import differentiating
from sandbox import scan
from sandbox.kernels import using
from sandbox.kernels.launch import triton_call
from sandbox.kernels.write import triton_words
from sandbox.kernels.write.triton_words import WIDTH
from sandbox.networks.population import Population
from sandbox.neurons import ALIF, IN_BRIAN2, LIF, AdEx, EscapeLIF, StochasticBinary
from sandbox.neurons.firing import RESETS

from .conftest import DOUBLE, agree, answer, driven
from .kinds_at_once import hold_to_torch
from .test_against_the_plain_loop import DT, held, learned_cell, single
from .test_linearised import by_steps

QUICK = ("alif", "adex", "escape_lif")
STEPS, SHAPE = 6, (2, 5)  # fewer cells than a block has
by_triton = partial(held, mode="triton", exact=False)  # the interpreter before 3.8 rounds a fused product twice


def quick(names):
    return [
        pytest.param(cls(), id=name, marks=[] if name in names else [pytest.mark.slow])
        for name, cls in IN_BRIAN2.items()
    ]


@pytest.mark.parametrize("neuron", quick(QUICK))
def test_every_neuron_in_double_precision(neuron):
    ours = by_triton(neuron, driven(neuron, SHAPE, STEPS))
    assert any(g.any() for g in ours.gradients)


@pytest.mark.parametrize("neuron", quick(("lif",)))
def test_every_neuron_in_single_precision(neuron):
    """A cell without spikes puts out its membrane, which is compared with the others of its variables."""
    if neuron.spiking:
        single(neuron, "triton", 20)
    else:
        currents = driven(neuron, SHAPE, STEPS, dtype=torch.float32)
        plain, ours = (answer(mode, neuron, currents, DT) for mode in ("plain", "triton"))
        torch.testing.assert_close(ours.spikes, plain.spikes, rtol=1e-6, atol=1e-6)
        agree(ours, plain, 1e-4)


@pytest.mark.parametrize("neuron", quick(("alif",)))
def test_derivatives_of_every_step(neuron):
    if neuron.draws or not neuron.differentiable:
        pytest.skip("an online rule differentiates neither")
    cells, currents = Population(neuron, DT), driven(neuron, SHAPE, STEPS)
    carry = cells.rest(currents)
    with torch.no_grad(), using("triton"):
        output, _, local = cells.linearised(currents, carry)
        wanted, _, derivatives = by_steps(cells, currents, carry)
    for one, other in zip((output, *local), (wanted, *derivatives), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * float(other.abs().max()))


@pytest.mark.parametrize("neuron", quick(("lif",)))
@pytest.mark.parametrize("spread", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_learned_parameter_has_its_gradient(neuron, spread):
    """Of every other one for each cell, and of the others for all of them."""
    cell, learned = learned_cell(neuron, spread)
    by_triton(cell, driven(neuron, (2, 3), STEPS), learned)


@pytest.mark.slow
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("detach", [True, False])
def test_resets_detached_or_not(reset, detach):
    with differentiating(detach_reset=detach):
        neuron = ALIF(tau_mem=5.0, reset=reset, v_reset=-0.5, t_refractory=1.0)
        ours = by_triton(neuron, driven(neuron, SHAPE, 3 * STEPS, strength=4.0))
    assert ours.spikes.any()


@pytest.mark.parametrize("steps", [1, 7, pytest.param(23, marks=pytest.mark.slow)])
@pytest.mark.parametrize("memory", [None, 0])
def test_any_number_of_steps_and_blocks_with_all_states_kept_or_a_few(steps, memory):
    tau = torch.tensor(7.0, dtype=DOUBLE, requires_grad=True)
    cell = LIF(tau_mem=tau, t_refractory=1.0, reset="subtract")
    currents = driven(cell, (2 * WIDTH + 3,), steps, strength=4.0)
    plain, ours = (answer(mode, cell, currents, DT, [tau], memory) for mode in ("plain", "triton"))
    assert torch.equal(plain.spikes, ours.spikes)
    agree(ours, plain, 1e-10)


@pytest.mark.parametrize("neuron", [EscapeLIF(t_refractory=2.0), StochasticBinary()], ids=["escape", "binary"])
def test_noisy_neurons_draw_the_numbers_of_the_plain_loop(neuron):
    currents = driven(neuron, SHAPE, STEPS)
    state = neuron.initial_state(SHAPE, currents[0])._replace(key=torch.tensor(2**61 + 12345))
    found = []
    for mode in ("plain", "triton"):
        with using(mode):
            found.append(scan(neuron, currents, state))
    (a, end), (b, last) = found
    assert torch.equal(a, b)
    assert torch.equal(end.key, last.key)


@pytest.mark.parametrize(
    "neuron",
    [LIF(), *(pytest.param(n, marks=pytest.mark.slow) for n in (StochasticBinary(), AdEx()))],
    ids=lambda n: type(n).__name__,
)
def test_smooth_passes_are_those_of_the_plain_loop(neuron):
    """The smooth spike is an exponential or an arctangent, so to rounding."""
    currents = driven(neuron, SHAPE, STEPS, strength=0.5)
    with differentiating(smooth=True, detach_reset=False):
        plain, ours = (answer(mode, neuron, currents, DT) for mode in ("plain", "triton"))
    torch.testing.assert_close(ours.spikes, plain.spikes, rtol=1e-12, atol=1e-12)
    agree(ours, plain, 1e-10)


@pytest.mark.slow
def test_a_current_that_stands_still_and_one_of_another_layout():
    cell = LIF(tau_mem=5.0, t_refractory=1.0)
    currents = driven(cell, (4, 5), STEPS)
    by_triton(cell, currents[:1].expand(currents.shape))
    by_triton(cell, currents.transpose(1, 2))


@pytest.mark.slow
def test_samples_of_vmap_are_more_cells():
    x = driven(LIF(), (4, 3), STEPS)
    tau = torch.tensor(7.0, dtype=DOUBLE)

    def loss(tau, x):
        return (scan(LIF(tau_mem=tau), x)[0] * x).sum()

    found = []
    for mode in ("plain", "triton"):
        with using(mode):
            found.append(torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 1))(tau, x))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(DOUBLE, 1e-14), (torch.float32, 5e-6)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter's NumPy, for what is not finite
def test_every_kind_of_node_is_what_torch_computes(dtype, rtol):
    """To a few units in the last place."""
    with using("triton"):
        hold_to_torch(dtype, rtol)


def test_a_wrong_word_would_be_noticed(monkeypatch):
    monkeypatch.setitem(triton_words.CODES, "sub", "{1} - {0}")
    triton_call.kernel.cache_clear()
    try:
        with pytest.raises(AssertionError):
            by_triton(LIF(), driven(LIF(), SHAPE, STEPS))
    finally:
        triton_call.kernel.cache_clear()


@pytest.mark.slow
def test_under_torch_compile_one_operator_is_seen():
    cell = LIF(tau_mem=5.0, t_refractory=1.0)
    currents = driven(cell, (3,), STEPS)
    compiled = torch.compile(lambda x: scan(cell, x, dt=DT)[0], fullgraph=True, backend="aot_eager")
    with using("plain"):
        want = scan(cell, currents, dt=DT)[0]
    with using("triton"):
        assert torch.equal(compiled(currents), want)


def test_a_kernel_is_found_without_a_folder_to_keep_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SANDBOX_KERNEL_CACHE", str(tmp_path / "file"))
    triton_call.kernel.cache_clear()
    triton_call.store.imported.cache_clear()
    by_triton(LIF(tau_mem=5.0), driven(LIF(), SHAPE, STEPS))
