"""A careful training step in plain PyTorch, the reference of the ratios."""

from __future__ import annotations

import math

import torch
from torch import nn


class Spike(torch.autograd.Function):
    """Heaviside forward, the arctangent surrogate (alpha = 2) backward."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx, error):
        (u,) = ctx.saved_tensors
        return error / (1 + (math.pi * u) ** 2)


class ByHand(nn.Module):
    """A network of leaky integrate-and-fire cells with a leaky read-out; a constant input is multiplied once."""

    def __init__(self, inputs: int, hidden: int, outputs: int, tau: float = 10.0) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)
        self.beta = math.exp(-1.0 / tau)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, samples = x.shape[:2]
        drive = self.first(x[0]).expand(steps, -1, -1) if x.stride(0) == 0 else self.first(x)
        v = x.new_zeros(samples, drive.shape[-1])
        spikes = []
        for current in drive.unbind(0):
            h = self.beta * v + (1 - self.beta) * current
            s = Spike.apply(h - 1.0)
            v = h * (1 - s.detach())
            spikes.append(s)
        drive = self.second(torch.stack(spikes))
        v = x.new_zeros(samples, drive.shape[-1])
        outputs = []
        for current in drive.unbind(0):
            v = self.beta * v + (1 - self.beta) * current
            outputs.append(v)
        return torch.stack(outputs)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    """One step of cross-entropy on the mean output."""
    optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(model(x).mean(0), y)
    loss.backward()
    optimizer.step()
    return loss.item()
