"""The kernels as torch sees them: transforms, compilation, threads, and what they cannot do."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import pytest
import torch

from sandbox import build, scan, simulate
from sandbox.kernels import using
from sandbox.kernels.launch import compiled
from sandbox.machine.compiled import settled
from sandbox.neurons import IN_BRIAN2, LIF, EscapeLIF, LeakyIntegrator, LIFState, learnable

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


@pytest.mark.parametrize(
    "neuron",
    [
        pytest.param(cls(), id=name, marks=[] if name in ("lif", "adex") else [pytest.mark.slow])
        for name, cls in IN_BRIAN2.items()
    ],
)
def test_second_derivatives_are_those_of_the_plain_loop(neuron, rng):
    """Of a penalty of the gradient; a second derivative magnifies roundings once more than a first: 1e-8 of the largest."""
    x = driven(neuron, (3,), 8).requires_grad_()
    weights = torch.rand(8, 3, generator=rng, dtype=DOUBLE)

    def run():
        spikes, end = scan(neuron, x, dt=0.1)
        (slope,) = torch.autograd.grad((weights * spikes).sum() + end[0].square().sum(), x, create_graph=True)
        (twice,) = torch.autograd.grad(slope.square().sum(), x)
        return slope.detach(), twice / twice.abs().max().clamp(min=1e-300)

    both(run, rtol=1e-8)


def test_a_second_derivative_of_a_learned_parameter_and_a_first_state(rng):
    x = 3 * torch.rand(9, 4, generator=rng, dtype=DOUBLE)
    tau = torch.tensor([5.0, 6.0, 7.0, 8.0], dtype=DOUBLE, requires_grad=True)
    v = torch.rand(4, generator=rng, dtype=DOUBLE, requires_grad=True)

    def run():
        spikes, end = scan(LIF(tau_mem=tau), x, LIFState(v))
        slopes = torch.autograd.grad(spikes.sum() + end.v.square().sum(), (tau, v), create_graph=True)
        return torch.autograd.grad(sum(slope.square().sum() for slope in slopes), (tau, v))

    both(run)


def test_a_first_state_that_was_changed_in_place_has_a_first_derivative_and_no_second(rng):
    x = torch.rand(9, 4, generator=rng, dtype=DOUBLE, requires_grad=True)
    v = torch.rand(4, generator=rng, dtype=DOUBLE)
    with using("numba"):
        _, end = scan(LIF(), x, LIFState(v))
        v.zero_()
        torch.autograd.grad(end.v.sum(), x, retain_graph=True)
        with pytest.raises(RuntimeError, match=r"state was changed in place .*: pass state.v.clone\(\)"):
            torch.autograd.grad(end.v.sum(), x, create_graph=True)


@pytest.mark.parametrize("neuron", [LIF(t_refractory=2.0), EscapeLIF(t_refractory=2.0)], ids=["lif", "escape"])
@pytest.mark.parametrize("free", ["current", "state", "nothing"])
def test_what_requires_a_gradient_is_what_does_in_the_plain_loop(neuron, free, rng):
    x = torch.rand(5, 3, generator=rng).requires_grad_(free == "current")
    start = neuron.initial_state((3,), x.detach())
    start = start._replace(v=start.v.clone().requires_grad_(free == "state"))
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            run = simulate(neuron, x, 1.0, ("v", "wait"), start)
            end = scan(neuron, x, start)[1]
        found.append([each.requires_grad for each in (run.spikes, run.v, run.wait, end.v, end.wait)])
    assert found[0] == found[1] == [free != "nothing", free != "nothing", False, free != "nothing", False]


def test_gradients_of_several_errors_at_once(rng):
    x = (3 * torch.rand(6, 5, generator=rng, dtype=DOUBLE)).requires_grad_()
    errors = torch.rand(4, 6, 5, generator=rng, dtype=DOUBLE)
    tau = torch.tensor(7.0, dtype=DOUBLE, requires_grad=True)
    both(lambda: torch.autograd.grad(scan(LIF(tau_mem=tau), x)[0], (x, tau), errors, is_grads_batched=True))


def test_gradients_within_gradients_of_torch_func_are_left_to_the_plain_loop(rng):
    x = 3 * torch.rand(6, 2, generator=rng, dtype=DOUBLE)

    def of(y):
        return torch.func.grad(lambda z: scan(LIF(), z)[1].v.square().sum())(y).square().sum()

    with using("plain"):
        want = torch.func.grad(of)(x)
    with using("auto"):
        torch.testing.assert_close(torch.func.grad(of)(x.expand(6, 2).repeat(1, 4000)[:, :2]), want)
    with using("numba"), pytest.raises(RuntimeError, match="gradients of gradients of torch.func"):
        torch.func.grad(of)(x)


def of_a_gradient(y):
    return torch.func.grad(lambda z: scan(LIF(), z)[1].v.square().sum())(y)


def of_each_sample(y):
    return torch.func.vmap(lambda z: scan(LIF(), z)[1].v.square(), in_dims=1)(y)


@pytest.mark.parametrize("inner", [of_a_gradient, of_each_sample])
@pytest.mark.parametrize("cells", [2, 8000])
def test_a_gradient_from_outside_of_a_transform_is_left_to_the_plain_loop(inner, cells, rng):
    """However many cells there are."""
    x = (3 * torch.rand(6, cells, generator=rng, dtype=DOUBLE)).requires_grad_()
    found = []
    for mode in ("plain", "auto"):
        with using(mode):
            (slope,) = torch.autograd.grad(inner(x).square().sum(), x, create_graph=True)
            found += [slope, *torch.autograd.grad(slope.square().sum(), x)]
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    with using("numba"), pytest.raises(RuntimeError, match="a gradient is wanted from outside of a transform"):
        inner(x)
    with using("numba"), torch.no_grad():
        of_each_sample(x)


def test_what_is_changed_in_place_before_the_backward_pass_is_noticed_or_does_not_count(rng):
    """Currents are read again; of a time constant the decay was computed before."""
    x = torch.rand(6, 2, generator=rng).requires_grad_()
    tau = torch.tensor(7.0, requires_grad=True)
    with using("numba"):
        v = scan(LIF(tau_mem=tau), x)[1].v.sum()
    want = torch.autograd.grad(v, tau, retain_graph=True)
    with torch.no_grad():
        tau.mul_(2)
    assert torch.equal(*torch.autograd.grad(v, tau, retain_graph=True), *want)
    with torch.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(v, tau)


def test_a_current_that_is_constant_in_time_has_a_gradient_for_each_step(rng):
    """Also where rows of a gradient are asked for, and not only their sum."""
    x = torch.rand(3, generator=rng, dtype=DOUBLE).expand(6, 3).detach().requires_grad_()
    both(lambda: torch.autograd.grad(scan(LIF(), x)[1].v.sum(), x))


def test_a_forked_child_waits_for_no_thread_of_its_parent():
    """The lock of the compiler is held by a thread that the child does not have."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with compiled._LOCK:
            held.set()
            done.wait()

    x = torch.ones(4, 2)
    with using("numba"):
        scan(LIF(), x)
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if not child:
        signal.alarm(30)
        with using("numba"):
            scan(LIF(), x)
            with compiled._LOCK:
                os._exit(0)
    _, status = os.waitpid(child, 0)
    done.set()
    holder.join()
    assert status == 0


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
