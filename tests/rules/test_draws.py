"""Random numbers for tensors on any device: the numbers of torch's own functions, in shapes of any number of axes."""

from __future__ import annotations

import pytest
import torch

from rules import draws
from rules.credit.zero_order.draws import normal_like, signs_like
from tests.elsewhere import DEVICE, Places


def rng():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_numbers_are_those_of_torch_in_any_shape(shape):
    like = torch.zeros((), dtype=torch.float64)
    kind = {"generator": rng(), "dtype": like.dtype}
    assert torch.equal(draws.uniform(shape, rng(), like), torch.rand(shape, **kind))
    assert torch.equal(draws.normal(shape, rng(), like), torch.randn(shape, **kind | {"generator": rng()}))
    assert torch.equal(draws.integers(0, 9, shape, rng(), like), torch.randint(0, 9, shape, generator=rng()))


@pytest.mark.parametrize("draw", [normal_like, signs_like])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_directions_are_the_same_on_every_device_and_in_every_precision(draw, shape):
    here = draw(torch.zeros(shape, dtype=torch.float64), rng())
    assert torch.equal(draw(torch.zeros(shape), rng()), here.float())
    with Places():
        there = draw(torch.zeros(shape, dtype=torch.float64).to(DEVICE), rng())
        assert there.device == DEVICE
        assert torch.equal(there.cpu(), here)


def test_without_a_generator_the_global_one_of_the_device_draws():
    torch.manual_seed(3)
    assert torch.equal(draws.uniform((4,), None, torch.zeros(1)), torch.rand(4, generator=rng()))
