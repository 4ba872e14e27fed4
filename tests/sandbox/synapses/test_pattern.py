"""Patterns of sparse synapses."""

from __future__ import annotations

import pytest
import torch

from sandbox.synapses.pattern import pattern


@pytest.mark.parametrize(
    ("pre", "post", "message"),
    [
        ([0, 0], [1, 1], "the synapse from cell 0 to cell 1 appears twice; add up its weights: "),
        (
            [0, 4],
            [1, 1],
            r"pre\[1\] is 4, and there are 4 such cells; wanted 0 to 3: keep = \(pre >= 0\) & \(pre < 4\)",
        ),
        ([0, 1], [1, -3], r"post\[1\] is -3, and there are 2 such cells; wanted 0 to 1"),
        ([0, 1], [1], "2 presynaptic and 1 postsynaptic cells; give one of each for a synapse"),
        ([0.0, 1.0], [1, 1], r"pre is torch.float32 of shape \(2,\); wanted whole numbers \[synapses\]: pre.long\(\)"),
    ],
)
def test_bad_input(pre, post, message):
    with pytest.raises(ValueError, match=message):
        pattern(torch.tensor(pre), torch.tensor(post), (2, 4))


def test_the_rows_of_a_cell_are_together():
    found = pattern(torch.tensor([3, 0, 3]), torch.tensor([1, 1, 0]), (2, 4))
    assert found.order.tolist() == [1, 2, 0]
    assert found.start.tolist() == [0, 1, 1, 1, 3]
