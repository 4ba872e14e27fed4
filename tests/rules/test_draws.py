"""Random numbers for tensors of any shape."""

from __future__ import annotations

import pytest
import torch

from rules.draws import normal, uniform


@pytest.mark.parametrize(("draw", "torchs"), [(uniform, torch.rand), (normal, torch.randn)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_they_are_those_of_torch_in_every_shape(draw, torchs, shape):
    """A learned leak is a parameter without axes."""
    like = torch.zeros(1, dtype=torch.float64)
    mine = draw(shape, torch.Generator().manual_seed(0), like)
    assert torch.equal(mine, torchs(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
