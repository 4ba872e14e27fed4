"""The adjoint of the compiled loop against autograd through the plain one, in float64."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rules import Trainer
from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import LIF, Circuit, Connection, CubaLIF, Sparse, simulate_circuit
from sandbox.kernels import using
from sandbox.neurons import IN_BRIAN2

from .conftest import DOUBLE, wired

# factors of the currents of neurons that would not fire in the first 60 steps, and run for all 300
LATE = {"alpha_lif": 3, "qif": 3, "eif": 3, "hodgkin_huxley": 3, "traub_miles": 20}
LEARNING = [
    pytest.param(name, marks=pytest.mark.slow) for name, cls in IN_BRIAN2.items() if cls.spiking and cls.differentiable
]


def gradients(mode, circuit, currents, dt, record=("spikes", "v")):
    """Of a random loss of what is recorded, for the currents and for every connection."""
    x = currents.clone().requires_grad_()
    weights = [each.weights.detach().clone().requires_grad_() for each in circuit.connections]
    connections = [dataclasses.replace(c, weights=w) for c, w in zip(circuit.connections, weights)]
    with using(mode):
        found = simulate_circuit(dataclasses.replace(circuit, connections=connections), x, dt, record)
    rng = torch.Generator().manual_seed(5)
    loss = sum(
        (
            torch.randn(x.shape, generator=rng, dtype=DOUBLE) * getattr(found, name) / (1 if name == "spikes" else 50)
        ).sum()
        for name in record
    )
    grads = torch.autograd.grad(loss, [x, *weights])
    return [g.values() if g.layout == torch.sparse_csr else g for g in grads]


def agree(circuit, currents, dt, **how):
    plain, ours = (gradients(mode, circuit, currents, dt, **how) for mode in ("plain", "numba"))
    for a, b in zip(ours, plain):
        assert b.abs().max() > 0
        # sums of thousands of terms of both signs, in another order
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12 * float(b.abs().max()))
    return ours


@pytest.mark.parametrize("name", LEARNING)
def test_every_kind_of_connection_through_every_neuron(name):
    dt = {"hodgkin_huxley": 0.02, "traub_miles": 0.02}.get(name, 0.5)
    circuit, currents = wired(IN_BRIAN2[name](), dt=dt)
    agree(circuit, LATE[name] * currents if name in LATE else currents[:60], dt)


@pytest.mark.slow
@pytest.mark.parametrize("record", [("v",), ("spikes",)])
def test_of_one_variable_alone(record):
    circuit, currents = wired(CubaLIF(t_refractory=2.0, reset="subtract"), jump="i_syn")
    agree(circuit, currents[:60], 0.5, record=record)


@pytest.mark.slow
def test_through_the_reset_and_by_another_surrogate():
    circuit, currents = wired(LIF(reset="subtract"))
    with differentiating(surrogate=Surrogate("triangle"), detach_reset=False):
        moved = agree(circuit, currents[:60], 0.5)
    with using("numba"):
        usual = gradients("numba", circuit, currents[:60], 0.5)
    assert not torch.allclose(moved[0], usual[0])


def test_weights_outside_of_the_pattern_have_no_gradient():
    """A mask with a delay for each synapse, and a sparse matrix whose spikes jump over a reset."""
    circuit, currents = wired(LIF(t_refractory=1.0))
    masked, stored = circuit.connections[1], circuit.connections[3]
    grads = agree(Circuit(circuit.neuron, circuit.n, [masked, stored]), currents[:40], 0.5)
    assert (grads[1][~masked.mask] == 0).all()
    assert (grads[1][masked.mask] != 0).any()
    assert grads[2].shape == stored.weights.values().shape


def test_a_sparse_layer_is_trained_in_place():
    layer = Sparse(6, 6, 0.5, bias=False, generator=torch.Generator().manual_seed(0)).double()
    circuit = Circuit(LIF(), 6, [Connection(layer, delay=1.0)])
    currents = 3 * torch.rand(50, 2, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            spikes = simulate_circuit(circuit, currents, 1.0, ("spikes",)).spikes
        found += torch.autograd.grad(spikes.sum(), [layer.weight])
    assert found[0].any()
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "learned", [(), *(pytest.param(each, marks=pytest.mark.slow) for each in ((0,), (3,)))], ids=str
)
def test_weights_that_are_not_learned(learned):
    """Dense and sparse, with one delay and with several."""
    circuit, currents = wired(LIF(t_refractory=1.0))
    for number, each in enumerate(circuit.connections):
        each.weights.requires_grad_(number in learned)
    found = []
    for mode in ("plain", "numba"):
        x = currents[:40].clone().requires_grad_()
        with using(mode):
            v = simulate_circuit(circuit, x, 0.5, ("v",)).v
        found.append(torch.autograd.grad(v.square().sum(), [x, *(circuit.connections[n].weights for n in learned)]))
    for plain, ours in zip(*found, strict=True):
        plain, ours = (g.values() if g.layout == torch.sparse_csr else g for g in (plain, ours))
        assert plain.any()
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)


def test_a_gradient_with_a_learned_parameter_comes_from_the_plain_loop():
    tau = torch.full((2,), 20.0, dtype=DOUBLE, requires_grad=True)
    circuit = Circuit(LIF(tau_mem=tau), 2, [Connection(torch.ones(2, 2, dtype=DOUBLE))])
    with using("numba"), pytest.raises(RuntimeError, match="LIF cannot run in a kernel: a parameter of the neuron is"):
        simulate_circuit(circuit, torch.ones(5, 2, dtype=DOUBLE), 1.0, ("v",))
    with using("auto"):
        v = simulate_circuit(circuit, torch.ones(600, 2, dtype=DOUBLE), 1.0, ("v",)).v
    assert torch.autograd.grad(v.sum(), tau)[0].any()


def small():
    """A circuit with every kind of connection, its currents, and the dense weights: the only ones that are learned."""
    circuit, currents = wired(LIF(), n=5)
    x = currents[:60].clone().requires_grad_()
    dense = circuit.connections[0].weights.clone().requires_grad_()
    connections = [dataclasses.replace(circuit.connections[0], weights=dense), *circuit.connections[1:]]
    return dataclasses.replace(circuit, connections=connections), x, dense


def test_second_derivatives_and_those_of_several_errors_are_those_of_the_plain_loop():
    found = []
    for mode in ("plain", "numba"):
        circuit, x, weights = small()
        with using(mode), differentiating(surrogate=Surrogate("atan")):
            run = simulate_circuit(circuit, x, 0.5, ("v", "spikes"))
        loss = (x.detach() * run.spikes).sum() + (run.v / 50).square().sum()
        slopes = torch.autograd.grad(loss, (x, weights), create_graph=True)
        twice = torch.autograd.grad(sum(s.square().sum() for s in slopes), (x, weights), retain_graph=True)
        errors = torch.rand(3, *x.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
        batched = torch.autograd.grad(run.spikes, (x, weights), errors, is_grads_batched=True, retain_graph=True)
        each = torch.func.vmap(lambda e, s=run.spikes, x=x: torch.autograd.grad(s, x, e, retain_graph=True))(errors)
        found.append([*slopes, *twice, *batched, *each])
    for plain, ours in zip(*found, strict=True):
        assert plain.any()
        # a second derivative magnifies roundings once more than a first
        torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-10 * float(plain.abs().max()))


def test_what_is_changed_in_place_before_the_backward_pass_is_noticed():
    for number in (1, 2):
        given = small()
        with using("numba"):
            v = simulate_circuit(given[0], given[1], 0.5, ("v",)).v
        with torch.no_grad():
            given[number].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(v.sum(), given[number])


@pytest.mark.parametrize("free", ["current", "weights", "nothing"])
@pytest.mark.parametrize("delay", [0.0, 2.0, torch.tensor([[0.0, 1.0], [2.0, 0.0]])], ids=["at once", "late", "each"])
def test_what_requires_a_gradient_is_what_does_in_the_plain_loop(free, delay):
    x = torch.ones(3, 2, dtype=DOUBLE).requires_grad_(free == "current")
    weights = torch.ones(2, 2, dtype=DOUBLE).requires_grad_(free == "weights")
    circuit, found = Circuit(LIF(t_refractory=2.0), 2, [Connection(weights, kind="jump", delay=delay)]), []
    for mode in ("plain", "numba"):
        with using(mode):
            run = simulate_circuit(circuit, x, 1.0, ("v", "wait", "spikes"))
        found.append([each.requires_grad for each in (run.v, run.wait, run.spikes)])
    assert found[0] == found[1]
    assert found[0][:2] == [free != "nothing", False]


class Wrapped(torch.nn.Module):
    """A circuit between two layers, in a module of the user's."""

    def __init__(self, probability):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.into, self.out = torch.nn.Linear(4, 20), torch.nn.Linear(20, 3)
        self.recurrent = Sparse(20, 20, probability, bias=False, generator=rng)

    def forward(self, x):
        circuit = Circuit(LIF(tau_mem=5.0), 20, [Connection(self.recurrent, delay=1.0)])
        return self.out(simulate_circuit(circuit, 3 * self.into(x), 1.0, "spikes").spikes)


@pytest.mark.parametrize("mode", ["plain", "numba"])
@pytest.mark.parametrize("probability", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
def test_synapses_are_part_of_the_cost_of_training(mode, probability):
    """Each synapse in every step of every sample, forwards, for the errors, and for its gradient."""
    model = Wrapped(probability)
    batch = torch.rand(15, 6, 4), torch.arange(6) % 3
    with using(mode):
        cost = Trainer(model, "bptt", seed=0).step(batch).cost
    synapses, every = len(model.recurrent.weight), 15 * 6
    assert cost.synaptic_operations == every * (4 * 20 + synapses + 20 * 3)
    assert cost.error_operations == every * (synapses + 20 * 3)
    assert cost.weight_operations == every * (4 * 20 + synapses + 20 * 3)
