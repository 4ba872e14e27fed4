"""What a synapse makes of noise, and what noise says about its weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules.credit.feedback.products import answered, mirrored, reached

SYNAPSES = {
    "dense": (nn.Linear(5, 3), (5,)),
    "zeros": (nn.Conv2d(2, 3, 3, padding=1), (2, 4, 5)),
    "same": (nn.Conv2d(2, 3, (2, 3), padding="same"), (2, 4, 5)),
    "stride and groups": (nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), (2, 5, 5)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2), (2, 3, 3)),
    "reflect": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 4, 5)),
    "replicate": (nn.Conv2d(2, 3, 5, padding=2, padding_mode="replicate"), (2, 4, 5)),
    "replicate, same": (nn.Conv1d(2, 3, 4, padding="same", padding_mode="replicate"), (2, 6)),
    "circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 4, 5)),
    "circular, wider than the input": (nn.Conv1d(1, 2, 5, padding=2, padding_mode="circular"), (1, 3)),
    "reflect in space": (nn.Conv3d(1, 2, 3, padding=1, padding_mode="reflect"), (1, 3, 3, 3)),
}


@pytest.mark.parametrize("name", SYNAPSES)
def test_on_average_a_mirror_shows_the_weight(name):
    """The mean over noise is a sum over its entries alone, one by one; 1e-12: float64 sums of some hundred products."""
    module, features = SYNAPSES[name][0].double(), SYNAPSES[name][1]
    shape = torch.Size(reached(module, features))
    each = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    mean = len(each) * mirrored(module, each, answered(module, each)).detach()
    weight = module.weight.detach()
    assert float((mean - weight).norm() / weight.norm()) < 1e-12


@pytest.mark.parametrize("name", SYNAPSES)
def test_the_answer_has_the_shape_of_an_output(name):
    module, features = SYNAPSES[name][0].double(), SYNAPSES[name][1]
    x = torch.zeros(2, *features, dtype=torch.float64)
    assert answered(module, x.new_zeros(2, *reached(module, features))).shape == module(x).shape
