"""Neurons with several inputs: kernels and the plain loop compute the same, whatever the layout of the currents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from sandbox import scan, simulate, synapses
from sandbox.kernels import using
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.networks.population import Population
from sandbox.neurons import LIF
from sandbox.synapses import EventLinear
from sandbox.synapses.by_input import ByInput
from tests.sandbox.kernels.conftest import DOUBLE
from tests.sandbox.kernels.fuzz import LAYOUTS

b2 = pytest.importorskip("brian2")
STEPS, CELLS = 60, (2, 3)
COBA = {
    "equations": "dv/dt = (-v + ge * (3 - v) + gi * (-1 - v) + I) / (10*ms) : 1\ndge/dt = -ge / (3*ms) : 1\n"
    "dgi/dt = -gi / (6*ms) : 1",
    "threshold": "v > 1",
    "reset": "v = 0",
    "refractory": "1*ms",
    "inputs": {"I": "1", "excitation": "1", "inhibition": "1"},
    "jumps": {"excitation": "ge", "inhibition": "gi"},
    "method": "euler",
}
NOISY = {
    "equations": "dv/dt = (a - v) / (10*ms) + b * xi * (10*ms)**-0.5 : 1",
    "threshold": "v > 1",
    "reset": "v = 0",
    "inputs": {"a": "1", "b": "1"},
    "method": "euler",
}


def compiled(model):
    from sandbox.reference import from_brian2

    return from_brian2(**model)


def drive(neuron, *sizes, steps=STEPS, dtype=DOUBLE):
    rng = torch.Generator().manual_seed(4)
    shape = (steps, *CELLS, len(neuron.inputs))
    return (torch.rand(shape, generator=rng, dtype=DOUBLE) * torch.tensor(sizes, dtype=DOUBLE)).to(dtype)


@dataclass(frozen=True)
class Shunted(LIF):
    """A cell whose second input is a conductance."""

    inputs: ClassVar[tuple[str, ...]] = ("current", "shunt")

    def integrate(self, current, state, dt):
        g = 1 + current[..., 1]
        return state._replace(v=state.v + dt / self.tau_mem * (current[..., 0] - g * state.v))

    @property
    def rheobase(self):
        return torch.tensor([1.0, 1.0])


@dataclass(frozen=True)
class Together(Shunted):
    """A cell that adds its inputs up before it takes them apart."""

    def integrate(self, current, state, dt):
        return state._replace(v=state.v + 0.1 * current.sum(-1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_the_plain_loop_with_gradients(layout):
    """Spikes and variables bit for bit; gradients in another order of sums, 1e-12 of the largest."""
    neuron = compiled(COBA)
    currents = LAYOUTS[layout](drive(neuron, 2.0, 0.8, 0.1))
    plain, ours = (both(mode, neuron, currents) for mode in ("plain", "numba"))
    assert 0 < float(plain[0].sum()) < plain[0].numel()
    for a, b in zip(ours[:4], plain[:4], strict=True):
        assert torch.equal(a, b)
    for a, b in zip(ours[4:], plain[4:], strict=True):
        assert float(b.abs().max()) > 0
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * float(b.abs().max()))
    assert STRUCTURES


def both(mode, neuron, currents):
    x = currents.detach().clone().requires_grad_()
    start = neuron.initial_state(CELLS, x.detach())
    v = start.v.clone().requires_grad_()
    with using(mode):
        run = simulate(neuron, x, 0.5, ("v", "ge", "gi"), start._replace(v=v))
    loss = run.spikes.sum() + (run.v * run.ge).sum() + run.gi.square().sum()
    slopes = torch.autograd.grad(loss, (x, v))
    return [each.detach() for each in (run.spikes, run.v, run.ge, run.gi)] + list(slopes)


def test_each_input_has_its_own_gradient():
    """Against finite differences of the plain loop, of a membrane that does not fire."""
    neuron = compiled({**COBA, "threshold": "v > 100", "refractory": False})
    x = drive(neuron, 0.5, 0.4, 0.2, steps=8).requires_grad_()
    with using("numba"):
        assert torch.autograd.gradcheck(lambda currents: simulate(neuron, currents, 0.5, ("v",)).v, (x,))


@pytest.mark.parametrize("record", ["events", ("v",)])
def test_numbers_drawn_are_those_of_the_plain_loop(record):
    neuron = compiled(NOISY)
    currents = drive(neuron, 3.0, 1.0)
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            run = simulate(neuron, currents, 0.5, record, generator=torch.Generator().manual_seed(3))
            found.append(run.events.dense(DOUBLE) if record == "events" else torch.stack([run.spikes, run.v]))
    assert float(found[0].sum()) > 0
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cell_of_ones_own_takes_its_inputs_by_their_index(dtype):
    neuron = Shunted(tau_mem=5.0, t_refractory=1.0)
    currents = drive(neuron, 6.0, 1.0, dtype=dtype)
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            found.append(simulate(neuron, currents, 0.5, ("v",)))
    assert float(found[0].spikes.sum()) > 0
    assert torch.equal(found[0].v, found[1].v)
    assert torch.equal(found[0].spikes, found[1].spikes)


def test_a_step_that_reads_its_inputs_together_runs_in_the_plain_loop():
    neuron = Together()
    currents = drive(neuron, 1.0, 1.0)
    with using("numba"), pytest.raises(RuntimeError, match=r"together by aten.sum; take each by current\[..., i\]"):
        simulate(neuron, currents)
    with using("auto"):
        assert bool(simulate(neuron, currents, 1.0, ("v",)).v.isfinite().all())


def test_an_axis_of_another_size_is_refused():
    neuron = compiled(COBA)
    with using("numba"), pytest.raises(ValueError, match="currents end in an axis of 2; CompiledNeuron has 3 inputs"):
        simulate(neuron, drive(neuron, 1.0, 1.0, 1.0)[..., :2])


@pytest.mark.parametrize("way", ["grad", "vmap"])
def test_transforms_of_torch_func(way):
    neuron = compiled(COBA)
    currents = drive(neuron, 0.5, 0.4, 0.2)

    def run(x):
        return scan(neuron, x, dt=0.5)[1].v

    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            if way == "vmap":
                found.append(torch.func.vmap(run, in_dims=1)(currents))
            else:
                found.append(torch.func.grad(lambda x: run(x).square().sum())(currents))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)  # sums in another order
    assert float(found[0].abs().max()) > 0


def test_second_derivatives():
    neuron = compiled(COBA)
    x = drive(neuron, 0.5, 0.4, 0.2, steps=8).requires_grad_()
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            end = scan(neuron, x, dt=0.5)[1]
            (slope,) = torch.autograd.grad(end.v.square().sum(), x, create_graph=True)
            found += torch.autograd.grad(slope.square().sum(), x)
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)  # roundings, magnified twice


def test_learned_parameters_beside_several_inputs():
    tau = torch.tensor([5.0, 6.0, 7.0], dtype=DOUBLE, requires_grad=True)
    neuron = Shunted(tau_mem=tau)
    currents = drive(neuron, 6.0, 1.0)
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            run = simulate(neuron, currents, 0.5, ("v",))
            found += torch.autograd.grad(run.spikes.sum() + run.v.square().sum(), tau)
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=0)  # sums in another order


def population(synapse, bias, dtype=DOUBLE):
    """Cells that hear each other by their excitation and inhibition."""
    equations = COBA["equations"].replace(" + I", "")
    cell = compiled({**COBA, "inputs": {"excitation": "1", "inhibition": "1"}, "equations": equations})
    rng = torch.Generator().manual_seed(5)
    both = ByInput({name: synapse(CELLS[-1], CELLS[-1], bias=bias) for name in cell.inputs})
    for weight in both.parameters():
        weight.data = torch.rand(weight.shape, generator=rng)
    return Population(cell, 0.5, both).to(dtype)


RECURRENT = [(nn.Linear, True), (nn.Linear, False), (EventLinear, True)]


@pytest.mark.parametrize(("synapse", "bias"), RECURRENT, ids=["bias", "none", "events"])
def test_recurrent_cells_with_gradients_and_second_derivatives(synapse, bias):
    """Spikes bit for bit; gradients in another order of sums, and roundings that second derivatives magnify."""
    cells = population(synapse, bias)
    x = drive(cells.neuron, 2.0, 0.3, steps=12).requires_grad_()
    heard = torch.rand(CELLS, dtype=DOUBLE, generator=torch.Generator().manual_seed(6)).requires_grad_()
    state, _ = cells.rest(x)
    leaves = [x, heard, *cells.parameters()]
    weights = torch.rand(12, *CELLS, dtype=DOUBLE, generator=torch.Generator().manual_seed(7))
    found = []
    for mode in ("plain", "numba"):
        with using(mode), synapses.using("events" if synapse is EventLinear else "dense"):
            output, (end, _), membrane = cells(x, (state, heard), record=True)
            loss = (output * weights).sum() + end.ge.square().sum() + (membrane * weights).sum()
            slopes = torch.autograd.grad(loss, leaves, create_graph=True)
            twice = torch.autograd.grad(slopes[0].square().sum() + slopes[2].square().sum(), leaves)
        found.append((output.detach(), membrane.detach(), slopes, twice))
    (spikes, membrane, slopes, twice), ours = found
    assert 0 < float(spikes.sum()) < spikes.numel()
    assert torch.equal(ours[0], spikes)
    assert torch.equal(ours[1], membrane)
    for mine, theirs, rtol in ((ours[2], slopes, 1e-11), (ours[3], twice, 1e-9)):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))
            assert float(b.abs().max()) > 0


def test_gradients_of_recurrent_cells_without_a_graph_of_their_own():
    """By the kernel's own backward pass, of each leaf alone and of all."""
    cells = population(nn.Linear, True)
    x = drive(cells.neuron, 2.0, 0.3, steps=12)
    heard = torch.zeros(CELLS, dtype=DOUBLE)
    state, _ = cells.rest(x)
    found = []
    for mode in ("plain", "numba"):
        mine = []
        for names in (["x"], ["heard"], *[[name] for name, _ in cells.named_parameters()], None):
            free = {"x": x.clone(), "heard": heard.clone(), **dict(cells.named_parameters())}
            for name, leaf in free.items():
                leaf.requires_grad_(names is None or name in names)
            with using(mode):
                output, (end, _), _ = cells(free["x"], (state, free["heard"]))
            wanted = [leaf for leaf in free.values() if leaf.requires_grad]
            mine += torch.autograd.grad(output.sum() + end.gi.square().sum(), wanted)
        found.append(mine)
    assert all(float(each.abs().max()) > 0 for each in found[0])
    for a, b in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * float(b.abs().max()))


def test_what_requires_a_gradient_is_what_does_in_the_plain_loop():
    cells = population(nn.Linear, False)
    x = drive(cells.neuron, 2.0, 0.3, steps=5)
    found = []
    for mode in ("plain", "numba"):
        for chosen in (0, 1):
            for number, weight in enumerate(cells.parameters()):
                weight.requires_grad_(number == chosen)
            with using(mode):
                output, (end, _), _ = cells(x)
            found.append([t.requires_grad for t in (output, end.v, end.ge, end.gi)])
    assert found[:2] == found[2:]


def test_synapses_of_which_some_have_a_bias_run_in_the_plain_loop():
    cells = population(nn.Linear, False)
    cells.recurrent.inputs["inhibition"] = nn.Linear(CELLS[-1], CELLS[-1]).double()
    x = drive(cells.neuron, 2.0, 0.3, steps=5)
    with using("numba"), pytest.raises(RuntimeError, match="some have a bias, and some have none"):
        cells(x)
    with using("auto"):
        assert cells(x)[0].shape == x.shape[:-1]


def test_a_hook_on_the_synapses_runs_in_every_step():
    cells, seen = population(nn.Linear, False), []
    cells.recurrent.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = drive(cells.neuron, 2.0, 0.3, steps=5)
    with using("numba"), pytest.raises(RuntimeError, match="a hook reads the recurrent synapses"):
        cells(x)
    with using("auto"):
        cells(x)
    assert len(seen) == 5
