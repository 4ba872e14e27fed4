"""What the tests of the kernels share: a cache of their own, and both loops on the same currents."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest
import torch

from sandbox import simulate
from sandbox.kernels import using
from sandbox.neurons.cell import variables

DOUBLE = torch.float64


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """A folder for kernels that nobody has filled before, one for all processes of xdist."""
    several = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent / "kernels" if several else tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_KERNEL_CACHE", str(folder))
        yield


class Answer(NamedTuple):
    """What a loop computed: outputs, variables and gradients."""

    spikes: torch.Tensor
    variables: dict[str, torch.Tensor]
    gradients: list[torch.Tensor]


def driven(neuron, shape=(2, 3), steps=60, strength=6.0, dtype=DOUBLE):
    """Noisy currents about `strength` times the rheobase."""
    rng = torch.Generator().manual_seed(1)
    rheobase = torch.as_tensor(neuron.rheobase).detach().double().mean()
    return (rheobase.cpu() * (strength + 2 * torch.randn(steps, *shape, generator=rng, dtype=DOUBLE))).to(dtype)


def answer(mode, neuron, currents, dt=0.5, learned=(), memory=None):
    """One loop, with the gradients of a loss of everything for currents, first state and learned parameters."""
    x = currents.detach().clone().requires_grad_()
    start = neuron.initial_state(x.shape[1:], x.detach())
    names = tuple(name for name in variables(start))
    free = [name for name in names if name != "wait"]
    leaves = {name: getattr(start, name).detach().clone().requires_grad_() for name in free}
    weights = torch.linspace(0.5, 1.5, len(x), dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
    with using(mode, memory):
        run = simulate(neuron, x, dt, names, start._replace(**leaves))
    loss = (weights * run.spikes).sum()
    for name in free:
        loss = loss + (weights * torch.tanh(getattr(run, name) / 50)).sum()
    wanted = [x, *leaves.values(), *learned]
    found = torch.autograd.grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * len(wanted)
    found = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(wanted, found)]
    return Answer(run.spikes.detach(), {name: getattr(run, name).detach() for name in names}, found)


def agree(ours, plain, rtol):
    """Gradients within `rtol` of the largest."""
    for number, (a, b) in enumerate(zip(ours.gradients, plain.gradients)):
        torch.testing.assert_close(
            a, b, rtol=rtol, atol=rtol * float(b.abs().max()) if b.numel() else 0, msg=f"{number}"
        )
