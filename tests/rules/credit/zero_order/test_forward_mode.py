"""The forward gradient says what to do where a model has an operation without a derivative in forward mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules


class Spike(torch.autograd.Function):
    """A spike function as other libraries write it: a backward pass alone."""

    @staticmethod
    def forward(ctx, u):
        return (u > 0).float()

    @staticmethod
    def backward(ctx, error):
        return error


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        return Spike.apply(self.inner(x))


def test_a_foreign_spike_function_is_named_with_a_way_out():
    trainer = rules.Trainer(Foreign(), "forward_gradient", seed=0)
    with pytest.raises(ValueError, match=r"an operation of Foreign cannot \(.*jvp.*\)\. Use spsa"):
        trainer.step((torch.rand(5, 4), torch.arange(5) % 3))
