"""Statistics of normalisations from one batch, and models that cannot be calibrated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules import Batch
from rules.diagnostics.health import firing_rates
from sandbox import calibrate, make_model
from sandbox.networks.calibration import settle


def test_statistics_of_one_input():
    """Mean and variance of each channel over the batch; in the next layer those of what training mode passes on."""
    first, second = nn.BatchNorm2d(3, momentum=0.2), nn.BatchNorm2d(3, momentum=None)
    model = nn.Sequential(first, nn.ReLU(), second)
    x = 3 + 2 * torch.rand(4, 3, 5, 5)
    settle(model, x)
    assert (first.momentum, second.momentum, model.training) == (0.2, None, True)
    variances, means = torch.var_mean(x, (0, 2, 3))
    assert torch.allclose(first.running_mean, means)
    assert torch.allclose(first.running_var, variances)
    passed = torch.relu(nn.functional.batch_norm(x, None, None, training=True))
    assert torch.allclose(second.running_mean, passed.mean((0, 2, 3)), atol=1e-6)


def test_models_with_branches_are_not_calibrated():
    with pytest.raises(ValueError, match=r"this is a Stack; where it has normalisations.*settle\(model, x\)"):
        calibrate(make_model("spikingformer"), torch.rand(4, 2, 1, 8, 8))


def test_health_sees_a_new_model_as_it_learns():
    """Running statistics of a model that is new silence it in evaluation mode; those of the batch do not."""
    model, batch = make_model("spikingformer").train(), Batch(torch.rand(4, 8, 1, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert min(firing_rates(model, batch).values()) == 0
    rates = firing_rates(model, batch, learning=True)
    assert min(rates.values()) > 0.02
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    model.parts[0].eval()
    first = next(module for module in model.parts[0].modules() if isinstance(module, nn.BatchNorm2d))
    firing_rates(model, batch, learning=True)
    assert not first.training
