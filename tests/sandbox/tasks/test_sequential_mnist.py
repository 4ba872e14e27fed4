"""Sequential MNIST shows the images of MNIST in the order of reading."""

from __future__ import annotations

import pytest
import torch

from sandbox.tasks.checked import checked
from sandbox.tasks.mnist import MNISTSample
from sandbox.tasks.sequential_mnist import SequentialMNIST


@pytest.mark.parametrize(("by", "steps"), [("rows", 28), ("pixels", 784)])
def test_steps_are_the_image(by, steps):
    task, images = SequentialMNIST(by=by, sample=True), MNISTSample().load()
    data = checked(task.load(), "sequential_mnist")
    assert (task.memory, data.sequence, data.classes) == (steps, True, 10)
    for split, wanted in zip(data[:3], images[:3], strict=True):
        assert torch.equal(split.y, wanted.y)
        assert split.x.shape == (len(wanted), steps, 784 // steps)
    for row in range(28):
        for column in range(28):
            place = row * 28 + column
            step, feature = (row, column) if by == "rows" else (place, 0)
            assert data.test.x[3, step, feature] == images.test.x[3, 0, row, column]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "columns"}, "unknown by 'columns'; .*valid: rows, pixels"),
        ({"train": 0}, "train=0: give a number from 1 to 55000"),
        ({"train": 9, "sample": True}, "train=9 with sample=True: the sample has 600 to train; leave train out"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SequentialMNIST(**options)
