"""Batches with targets and y: the loss is of the steps that ask, accuracy of one decision for each sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rules import Batch, Run, Trainer, make
from rules.diagnostics.latency import Latency
from rules.objectives.labels import IGNORED
from rules.objectives.readout import TET, RateCrossEntropy


def masked(seed=0):
    """Outputs `[7, 5, 3]`, classes of samples, and targets that ask in some of the steps; sample 4 is never asked."""
    dice = torch.Generator().manual_seed(seed)
    output, y = torch.randn(7, 5, 3, generator=dice, dtype=torch.float64), torch.tensor([0, 2, 1, 2, 0])
    asked = torch.rand(7, 5, generator=dice) < 0.4
    asked[5], asked[:, 4] = True, False
    return output, y, torch.where(asked, y, IGNORED)


@pytest.mark.parametrize("objective", [RateCrossEntropy(), TET(lam=0.0)])
@pytest.mark.parametrize("lengths", [None, torch.tensor([7, 6, 6, 7, 7])])
def test_a_decision_for_each_trial_from_the_steps_that_ask(objective, lengths):
    output, y, targets = masked()
    batch, losses, means = Batch(output, y, None, targets, lengths), [], []
    for b in range(4):
        last = 7 if lengths is None else int(lengths[b])
        steps = [t for t in range(last) if targets[t, b] != IGNORED]
        losses += [F.cross_entropy(output[t, b], y[b]) for t in steps]
        means.append(sum(output[t, b] for t in steps) / len(steps))
    answers, truth = objective.answers(Run(output), batch)
    torch.testing.assert_close(answers, torch.stack(means), rtol=0, atol=1e-15)  # sums of at most seven numbers
    assert truth.tolist() == [0, 2, 1, 2]
    torch.testing.assert_close(objective(Run(output), batch), torch.stack(losses).mean(), rtol=0, atol=1e-14)


def test_steps_are_judged_one_by_one_without_y():
    output, _, targets = masked()
    answers, truth = RateCrossEntropy().answers(Run(output), Batch(output, targets=targets))
    kept = targets != IGNORED
    assert torch.equal(truth, targets[kept])
    assert torch.equal(answers, output[kept])


def test_samples_whose_class_is_left_out_do_not_count():
    output, y, targets = masked()
    y = torch.where(torch.arange(5) == 1, IGNORED, y)
    assert RateCrossEntropy().answers(Run(output), Batch(output, y, None, targets))[1].tolist() == [0, 1, 2]


def test_first_steps_that_nobody_asks_have_no_accuracy():
    output = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]], [[9.0, 0.0]]])
    counted = Latency([1, 2, 3], RateCrossEntropy())
    counted.add(Run(output), Batch(output, torch.tensor([1]), None, torch.tensor([[IGNORED], [1], [1]])))
    assert counted.report() == {"accuracy_at_2": 1.0, "accuracy_at_3": 0.0, "latency_drop": -1.0, "latency_area": 0.5}


class Sums(nn.Module):
    """A linear read-out of a sum over steps, which can be continued."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(3, 2, dtype=torch.float64)

    def forward(self, x, carry=None):
        sums = x.cumsum(0) + (0 if carry is None else carry)
        return Run(self.read(sums), sums[-1])


@pytest.mark.parametrize("objective", ["ce_rate", "mse"])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_windows_read_the_targets_of_the_whole_run(objective, window):
    """The read-out has no memory, so that cutting the gradient in time changes nothing, whatever the window."""
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, 3, generator=dice, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0])
    targets = y.expand(5, 4).clone() if objective == "ce_rate" else torch.randn(5, 4, 2, generator=dice).double()
    if objective == "ce_rate":
        targets[:3] = IGNORED  # whole windows without a question
    batch, found = Batch(x, y if objective == "ce_rate" else None, None, targets), []
    for size in (None, window):
        torch.manual_seed(0)
        trainer = Trainer(Sums(), make("bptt", objective=objective, window=size), seed=0)
        info = trainer.step(batch)
        found.append((info.loss, *(p.detach().clone() for p in trainer.model.parameters())))
    for whole, cut in zip(*found, strict=True):
        torch.testing.assert_close(torch.as_tensor(cut), torch.as_tensor(whole), rtol=0, atol=1e-12)
