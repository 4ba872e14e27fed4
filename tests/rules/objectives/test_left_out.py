"""Labels that are all left out, in one process and in a part of a team."""

from __future__ import annotations

import pytest
import torch

from rules.contract import Batch, Run
from rules.objectives.labels import labels
from rules.processes import Division, within


@pytest.mark.parametrize(
    ("division", "said"),
    [
        (None, "every label of the batch is -100, .* give batches"),
        (Division(None, 0, 2, 4), "this process's part of the batch"),
    ],
)
def test_no_label_at_all(division, said):
    run, batch = Run(torch.zeros(1, 2, 3)), Batch(torch.zeros(1, 2, 1), torch.tensor([-100, -100]))
    with within(division), pytest.raises(ValueError, match=said):
        labels(run, batch, -100)
