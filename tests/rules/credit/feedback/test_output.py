"""What leaves the output, which rows a synapse gets, and what cannot be matched."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import rules
from rules.credit.bptt import BPTT
from rules.credit.feedback.output import Sent, shares
from rules.forward import fold
from tests.rules.credit.feedback.nets import OBJECTIVE, STEPS, assign, located, made, same, static


class Called(nn.Module):
    """The same network, its synapses called on the whole sequence, on folded rows, step by step, or batch-first."""

    def __init__(self, how):
        super().__init__()
        self.stack, self.how = static(), how

    def forward(self, x):
        if self.how == "stepped":
            return torch.stack([self.stack(now) for now in x])
        if self.how == "turned":
            return self.stack(x.transpose(0, 1)).transpose(0, 1)
        return fold(self.stack, x) if self.how == "folded" else self.stack(x)


@pytest.mark.parametrize("kind", ["dfa", "sdfa", "drtp"])
@pytest.mark.parametrize("how", ["folded", "stepped"])
def test_rows_find_their_error_however_a_synapse_is_called(how, kind):
    """1e-12 of the largest entry: sums in another order."""
    _, batch = made("static, in time")
    want, got = Called("whole"), Called(how)
    first, state = located(want, batch, kind)
    second, _ = located(got, batch, kind)
    assert first.found == second.found
    same(assign(second, got, batch, state).grads, assign(first, want, batch, state).grads, 1e-12)


@pytest.mark.parametrize("credit", [BPTT(window=2), BPTT(checkpoint=3)], ids=["window", "checkpoint"])
def test_pieces_in_time_find_their_part_of_the_error(credit):
    """Without memory between steps a window cuts nothing, and neither does a checkpoint."""
    _, batch = made("static, in time")
    model = Carried()
    whole, state = located(model, batch, "dfa")
    cut, _ = located(model, batch, "dfa", credit)
    same(assign(cut, model, batch, state).grads, assign(whole, model, batch, state).grads, 1e-12)


class Carried(Called):
    """The same, and it takes a carry."""

    def __init__(self):
        super().__init__("whole")

    def forward(self, x, carry=None):
        return rules.Run(self.stack(x), ())


def test_samples_first_are_refused():
    _, batch = made("static, in time")
    with pytest.raises(
        ValueError, match=r"'stack.2' sees 1 inputs of shape \(4, 7, 6\) in a pass of 7 steps and 4 sam"
    ):
        located(Called("turned"), batch, "dfa")
    found, state = located(Called("whole"), batch, "dfa")
    with pytest.raises(
        ValueError, match=r"'stack.4' was called on an input \(4, 7, 6\), .* time first; rules.make\('fa'\)"
    ):
        assign(found, Called("turned"), batch, state)
    part = batch._replace(x=batch.x[:1].expand(3, -1, -1))
    assert assign(found, Called("whole"), part, state).grads  # another number of steps is fine


def test_a_loss_that_does_not_use_the_output_is_refused():
    model, batch = made("static, in time")
    found, state = located(model, batch, "dfa")
    with pytest.raises(ValueError, match="no error left the output before '4' asked for it: 'dfa' sends the error of"):
        assign(found, model, batch, state, Features())


@dataclass(frozen=True)
class Features(rules.Objective):
    """A loss of the last layer's traces alone."""

    needs = frozenset({"layers"})

    def __call__(self, run, batch):
        return run.traces[-1].post.square().mean()


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        ({"y": torch.rand(4, 3)}, r"torch.float32 of shape \(4, 3\)"),
        ({"y": None, "targets": torch.rand(7, 4, 3)}, r"\(7, 4, 3\)"),
    ],
)
def test_labels_that_are_not_classes_are_refused(answers, seen):
    model, batch = made("static, in time")
    found, state = located(model, batch, "drtp")
    given = batch._replace(**answers)
    with pytest.raises(ValueError, match=rf"'drtp' sends the class of each sample.*{seen}: use rules.make\('dfa'\)"):
        assign(found, model, given, state, rules.OBJECTIVES["mse"]())


@pytest.mark.parametrize("kind", ["dfa", "sdfa", "drtp"])
def test_steps_that_do_not_count_get_nothing(kind):
    """Two sequences, one of them padded, beside each of them alone: a mean over both."""
    model, batch = made("static, in time")
    found, state = located(model, batch, kind)
    lengths = torch.tensor([STEPS, 3])
    both = rules.Batch(batch.x[:, :2], batch.y[:2], lengths=lengths)
    alone = [rules.Batch(batch.x[:length, n : n + 1], batch.y[n : n + 1]) for n, length in enumerate([STEPS, 3])]
    got = assign(found, model, both, state).grads
    parts = [assign(found, model, each, state).grads for each in alone]
    same(got, {name: (parts[0][name] + parts[1][name]) / 2 for name in got}, 1e-12)
    assert shares(torch.zeros(STEPS, 2, 3), lengths).sum() == pytest.approx(1.0)


def test_labels_of_steps_are_sent_at_their_step_and_ignored_ones_are_not():
    targets = torch.tensor([[0, 2], [-100, 1]])
    sent = Sent("drtp", rules.Batch(torch.zeros(2, 2, 1), targets=targets)).signal(torch.zeros(2, 2, 3))
    want = torch.tensor([[[1.0, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0]]]) / 4
    assert torch.equal(sent, want)
    assert OBJECTIVE.needs == {"labels"}
