"""Events and arrays of spikes are the same thing."""

from __future__ import annotations

import pytest
import torch

from sandbox import Events


@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 3), (0, 3), (4, 0, 3)])
def test_there_and_back(shape):
    spikes = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    events = Events.of(spikes)
    assert torch.equal(events.dense(shape), spikes)
    assert (events.sample is None) == (len(shape) == 2)
    assert events.step.dtype == events.cell.dtype == torch.int64


def test_samples_come_one_after_the_other():
    events = Events.of(torch.ones(2, 2, 1))
    assert events.sample.tolist() == [0, 0, 1, 1]
    assert events.step.tolist() == [0, 1, 0, 1]
