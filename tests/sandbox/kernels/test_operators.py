"""The kernels as torch sees them: transforms, compilation, threads, and what they cannot do."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from sandbox import build, scan
from sandbox.kernels import using
from sandbox.machine.compiled import settled
from sandbox.neurons import LIF, AdEx, LeakyIntegrator, learnable

from .conftest import DOUBLE, answer, driven


def both(f, rtol=1e-10):
    """What the plain loop and a kernel make of a function of nothing."""
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            found.append(f())
    plain, ours = found
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)


def loss(tau, x):
    spikes, state = scan(replace(LIF(), tau_mem=tau), x)
    return (spikes * x).sum() + state.v.square().sum()


def spikes_and_state(x):
    spikes, state = scan(LIF(tau_mem=5.0, t_refractory=2.0), x)
    return spikes, state.v, state.wait


@pytest.mark.parametrize("axis", [1, *(pytest.param(axis, marks=pytest.mark.slow) for axis in (0, 2))])
def test_vmap_over_any_axis(axis, rng):
    x = 3 * torch.rand(5, 4, 6, generator=rng, dtype=DOUBLE)
    both(lambda: torch.func.vmap(spikes_and_state, in_dims=axis)(x))


@pytest.mark.slow
def test_gradients_of_each_sample(rng):
    x, tau = 3 * torch.rand(5, 4, 6, generator=rng, dtype=DOUBLE), torch.tensor(7.0, dtype=DOUBLE)
    both(lambda: torch.func.grad(loss, argnums=(0, 1))(tau, x))
    both(lambda: torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 1))(tau, x))
    both(lambda: [torch.func.grad(lambda t: torch.func.vmap(loss, in_dims=(None, 1))(t, x).sum())(tau)])


def test_settled_is_the_word_that_torch_sets():
    def ours() -> None: ...
    def torchs() -> None: ...

    assert vars(settled(ours)) == vars(torch.compiler.assume_constant_result(torchs)) != {}


@pytest.mark.slow
def test_torch_compile_takes_a_scan_as_a_whole():
    cell = LIF(tau_mem=5.0, t_refractory=2.0)
    currents = driven(cell, (3,), 10)
    compiled = torch.compile(lambda x: scan(cell, x, dt=0.25), fullgraph=True, backend="aot_eager")
    gradients = []
    for mode, run in (("plain", lambda x: scan(cell, x, dt=0.25)), ("numba", compiled)):
        x = currents.clone().requires_grad_()
        with using(mode):
            spikes, state = run(x)
        gradients.append((spikes, state.v, *torch.autograd.grad((spikes * currents).sum() + state.v.sum(), x)))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_torch_compile_knows_one_neuron_from_another(rng):
    x = 3 * torch.rand(9, 4, generator=rng, dtype=DOUBLE)
    compiled = torch.compile(lambda cell, x: scan(cell, x)[0], fullgraph=True, backend="aot_eager")
    for tau in (5.0, 9.0):
        with using("numba"):
            assert torch.equal(compiled(LIF(tau_mem=tau), x), scan(LIF(tau_mem=tau), x)[0])


def test_a_second_derivative_says_that_there_is_none(rng):
    x = torch.rand(4, 2, generator=rng, requires_grad=True)
    with using("numba"):
        (slope,) = torch.autograd.grad(scan(AdEx(), x)[0].sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="second derivatives are not in the kernels: .*using"):
            slope.sum().backward()


def test_results_do_not_depend_on_the_number_of_threads(rng):
    """Five blocks and a bit; the gradient of a shared parameter is summed over all of them."""
    currents = 3 * torch.rand(6, 41, 131, generator=rng, dtype=DOUBLE)
    tau = torch.tensor(7.0, dtype=DOUBLE, requires_grad=True)
    answers = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        answers.append(answer("numba", LIF(tau_mem=tau), currents, learned=[tau]))
    for other in answers[1:]:
        assert torch.equal(answers[0].spikes, other.spikes)
        assert all(torch.equal(a, b) for a, b in zip(answers[0].gradients, other.gradients))


@pytest.mark.slow
def test_two_python_threads_at_once(rng):
    currents = 3 * torch.rand(6, 5000, generator=rng, dtype=DOUBLE)
    cells = [LIF(tau_mem=5.0), LIF(tau_mem=5.0, t_refractory=1.0, reset="subtract")]
    alone = [answer("numba", cell, currents) for cell in cells]
    found, errors = {}, []

    def work(i):
        try:
            torch.set_num_threads(2)
            found[i] = [answer("numba", cells[i % 2], currents) for _ in range(5)]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for i, answers in found.items():
        for each in answers:
            assert torch.equal(each.spikes, alone[i % 2].spikes)
            assert all(torch.equal(a, b) for a, b in zip(each.gradients, alone[i % 2].gradients))


@pytest.mark.parametrize("record", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_network_profits_and_learns_the_same(record, rng):
    """Layers without recurrence run in kernels, with traces and with learned time constants."""
    net = build(
        (4,), 3, (30,), neuron=LIF(tau_mem=learnable(5.0, (30,))), readout=LeakyIntegrator(tau_mem=5.0)
    ).double()
    x = 4 * torch.rand(20, 8, 4, generator=rng, dtype=DOUBLE)

    def run():
        result = net(x, record=record)
        return [
            result.output,
            *torch.autograd.grad(result.output.square().sum(), list(net.parameters())),
            *(trace.u for trace in result.traces),
        ]

    both(run)
