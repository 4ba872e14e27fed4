"""The adjoint of the compiled loop against autograd through the plain one, in float64."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rules import Trainer
from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import LIF, NEURONS, Circuit, Connection, CubaLIF, Sparse, simulate_circuit
from sandbox.kernels import using

from .conftest import DOUBLE, wired

# factors of the currents of neurons that would not fire in the first 60 steps, and run for all 300
LATE = {"alpha_lif": 3, "qif": 3, "eif": 3, "hodgkin_huxley": 3, "traub_miles": 20}
LEARNING = [
    pytest.param(name, marks=pytest.mark.slow) for name, cls in NEURONS.items() if cls.spiking and cls.differentiable
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
    circuit, currents = wired(NEURONS[name](), dt=dt)
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


@pytest.mark.parametrize("learned", [(), (0,), (3,)], ids=["none", "one dense", "one sparse"])
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


def test_a_second_derivative_says_where_it_is():
    x = torch.ones(20, 2, dtype=DOUBLE, requires_grad=True)
    with using("numba"):
        v = simulate_circuit(Circuit(LIF(), 2), x, 1.0, ("v",)).v
    with pytest.raises(RuntimeError, match=r"second derivatives are not in the kernels: use .*using\('plain'\)"):
        torch.autograd.grad((v**2).sum(), x, create_graph=True)


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
@pytest.mark.parametrize("probability", [0.1, 1.0])
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
