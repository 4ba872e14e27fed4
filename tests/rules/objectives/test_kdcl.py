"""Distillation over time steps: its terms against torch's own, what a teacher may be, and sums of steps."""

from __future__ import annotations

import collections
import copy
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import rules
from rules import Batch, Run
from rules.contract import lengths_of
from rules.models.admission import UnfitModel
from rules.objectives.distillation import CurriculumDistillation, SelfEnsemble
from sandbox import make_model
from sandbox.networks.rebinned import Rebinned, rebin

T, B, C = 5, 7, 3
Y = torch.arange(B) % C
X = torch.rand(T, B, 4, generator=torch.Generator().manual_seed(0))


def output(seed, steps=T):
    return torch.randn(steps, B, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Says(nn.Module):
    """A teacher that says the same to everything."""

    def __init__(self, said):
        super().__init__()
        self.said = nn.Parameter(said)

    def forward(self, x):
        return self.said


@pytest.mark.parametrize("tau", [1.0, 3.0])
@pytest.mark.parametrize("steps", [T, 9], ids=["as many steps", "more steps"])
def test_the_loss_is_that_of_the_authors(tau, steps):
    """CE of the summed probabilities, a second softmax inside, and half of tau^2 KL, mean over the batch."""
    mine, theirs = output(1), output(2, steps)
    p, q = (torch.softmax(each, -1).sum(0) for each in (mine, theirs))
    kl = F.kl_div(torch.log_softmax(p / tau, -1), torch.softmax(q / tau, -1), reduction="batchmean")
    wanted = F.cross_entropy(p, Y) + 0.5 * tau**2 * kl
    loss = CurriculumDistillation(Says(theirs), temperature=tau)
    batch = Batch(X, Y)
    torch.testing.assert_close(loss(Run(mine), batch), wanted)
    torch.testing.assert_close(loss.reported(Run(mine), batch), F.cross_entropy(p, Y))


def test_nothing_is_drawn_to_a_teacher_that_says_the_same():
    mine, batch = output(1), Batch(X, Y)
    fit = CurriculumDistillation()(Run(mine), batch)
    torch.testing.assert_close(CurriculumDistillation(Says(mine.clone()))(Run(mine), batch), fit)
    torch.testing.assert_close(CurriculumDistillation(Says(output(2)), share=0.0)(Run(mine), batch), fit)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_the_divergence_is_never_negative(seed, steps):
    drawn = CurriculumDistillation(Says(output(seed, steps))).drawn(Run(output(seed + 1)), Batch(X, Y))
    assert bool((drawn >= -1e-12).all())  # rounding of probabilities around 1


def test_the_teacher_learns_nothing_and_its_work_is_counted():
    teacher, network = nn.Sequential(nn.Linear(4, C), nn.Dropout(0.5)), nn.Sequential(nn.Linear(4, C))
    costs = []
    for known in (teacher, None):
        rule = rules.LearningRule(CurriculumDistillation(known), rules.BPTT(), rules.make("bptt").plasticity)
        costs.append(rules.Trainer(network, rule, health=None).step((X, Y)).cost.synaptic_operations)
    assert costs[0] - costs[1] == T * B * 4 * C
    assert all(p.grad is None for p in teacher.parameters())
    assert teacher.training


def test_steps_behind_the_end_are_not_summed():
    mine, theirs, lengths = output(1), output(2), torch.arange(B) % T + 1
    loss, batch = CurriculumDistillation(Says(theirs)), Batch(X, Y, lengths=lengths)
    before = loss(Run(mine), batch)
    for each in (mine, theirs):
        each[torch.arange(T)[:, None] >= lengths] = 7.0
    torch.testing.assert_close(CurriculumDistillation(Says(theirs))(Run(mine), batch), before)


@pytest.mark.parametrize(
    ("make", "batch", "message"),
    [
        (lambda: CurriculumDistillation(share=-1.0), None, "share=-1.0: give the weight of the divergence"),
        (lambda: CurriculumDistillation(temperature=0.0), None, "temperature=0.0: give a number above 0"),
        (lambda: CurriculumDistillation(Says(torch.zeros(T, B, C + 1))), Batch(X, Y), "the teacher knows 4 classes"),
        (lambda: CurriculumDistillation(Says(torch.zeros(T, B + 1, C))), Batch(X, Y), "answers for 8 samples"),
        (
            lambda: CurriculumDistillation(Says(torch.zeros(9, B, C))),
            Batch(X, Y, lengths=torch.full((B,), 3)),
            "the teacher answers at 9 steps of 5: the lengths",
        ),
        (
            lambda: CurriculumDistillation(Rebinned(BothWays(), 1)),
            Batch(X, Y, lengths=torch.full((B,), 3)),
            "the teacher, a Rebinned, would see what stands behind the end",
        ),
    ],
)
def test_teachers_and_options_that_do_not_fit(make, batch, message):
    with pytest.raises(ValueError, match=message):
        make()(Run(output(1).float()), batch)


class BothWays(nn.Linear):
    """Sees a whole sequence, and takes no lengths."""

    lacks: ClassVar = {"carry": "it sees a sequence from both ends"}

    def __init__(self):
        super().__init__(4, C)


def test_what_stands_behind_the_end_of_a_sequence_changes_nothing_in_bins():
    """Every sample alone, cut to its own length and filled up to a whole bin, gives the loss of the batch."""
    network, teacher = (make_model("spikescr", shape=(4,), classes=C, seed=n).eval() for n in (0, 1))
    student, wise = Rebinned(network, 3), Rebinned(teacher, 2)
    lengths = torch.tensor([12, 7, 6, 1, 8, 9, 3])
    x = (torch.rand(12, B, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    loss = CurriculumDistillation(wise)
    batch = Batch(x, Y, lengths=lengths)
    run = student(x, lengths=lengths)
    assert lengths_of(run, batch).tolist() == [4, 3, 2, 1, 3, 3, 1]
    found = CurriculumDistillation().each(run, batch) + 0.5 * loss.drawn(run, batch)
    torch.testing.assert_close(loss(run, batch), found.mean())
    for n, end in enumerate(lengths.tolist()):
        short = torch.cat([x[:end, n : n + 1], torch.zeros(-end % 3, 1, 4)])
        even = torch.cat([x[:end, n : n + 1], torch.zeros(-end % 2, 1, 4)])
        p, q = (torch.softmax(m(each).output, -1).sum(0) for m, each in ((student, short), (wise, even)))
        kl = F.kl_div(torch.log_softmax(p, -1), torch.softmax(q, -1), reduction="sum")
        torch.testing.assert_close(found[n], F.cross_entropy(p, Y[n : n + 1]) + 0.5 * kl, rtol=1e-4, atol=1e-5)


def test_the_teacher_sees_what_was_there_before_augmentation():
    heard = []

    class Listens(nn.Linear):
        def forward(self, x):
            heard.append(x)
            return super().forward(x)

    loss = CurriculumDistillation(Listens(4, C))
    loss(Run(output(1).float()), Batch(X + 1, Y, plain=X))
    assert torch.equal(heard[0], X)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_sums_of_steps_lose_no_event(factor, bins, seed):
    x = (torch.rand(factor * bins, 2, 3, generator=torch.Generator().manual_seed(seed)) < 0.3).float()
    summed = rebin(x, factor)
    assert summed.shape == (bins, 2, 3)
    assert torch.equal(summed.sum(0), x.sum(0))
    assert torch.equal(rebin(summed, bins), rebin(x, factor * bins))


def test_weights_of_many_steps_run_at_few():
    network = make_model("spikescr", shape=(4,), classes=C).eval()
    fine, coarse = Rebinned(network, 1), Rebinned(network, 3)
    x = (torch.rand(12, B, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert torch.equal(fine(x).output, network(x).output)
    assert torch.equal(coarse(x).output, network(rebin(x, 3)).output)
    assert torch.equal(fine(x).output, fine(x).output)  # nothing is left of a pass


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: rebin(x, 0), "12 steps cannot be summed by 0"),
        (lambda x: rebin(x, 5), "12 steps cannot be summed by 5: give a whole number that divides them"),
        (lambda x: Rebinned(nn.Linear(4, 3), 0), "factor=0: give the number of steps"),
        (lambda x: rebin(x.long(), 3), "x is torch.int64: whole numbers are tokens"),
        (lambda x: Rebinned(BothWays(), 3)(x, lengths=torch.ones(2)), "BothWays sees all bins of a sequence at once"),
    ],
)
def test_steps_that_cannot_be_summed(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(12, 2, 4))


def test_a_student_of_few_steps_learns_from_a_teacher_of_many():
    """Both see the same batch, each in bins of its own; the student begins with the teacher's weights."""
    rng = torch.Generator().manual_seed(0)
    shown = torch.rand(C, 12, 1, 6, generator=rng) < 0.4
    y = torch.arange(30) % C
    x = (shown[y].squeeze(2).transpose(0, 1) & (torch.rand(12, 30, 6, generator=rng) < 0.8)).float()
    teacher = Rebinned(make_model("spikescr", shape=(6,), classes=C, dropout=0.0), 1)
    first = rules.Trainer(teacher, rules.make("bptt", objective="kdcl", lr=0.01), health=None, seed=0)
    list(first.fit([(x, y)], 30))
    student = Rebinned(make_model("spikescr", shape=(6,), classes=C, dropout=0.0, seed=1), 3)
    student.load_state_dict(teacher.state_dict())
    rule = rules.make("bptt", lr=0.01)
    rule = rules.LearningRule(CurriculumDistillation(teacher), rule.credit, rule.plasticity)
    second = rules.Trainer(student, rule, health=None, seed=0)
    infos = list(second.fit([(x, y)], 30))
    assert infos[-1].loss < infos[0].loss
    assert second.evaluate([(x, y)])["accuracy"] > 0.9


@pytest.mark.parametrize("made", [CurriculumDistillation, SelfEnsemble])
@pytest.mark.parametrize("weight", [None, (10.0, 1.0, 0.5)])
def test_batches_in_parts_are_one_batch(made, weight):
    """The mean over parts, each with its amount, is the loss of the whole, also where classes have weights."""
    y = Y.clone()
    y[2] = -100
    mine, theirs = output(1), output(2)
    whole = made(teacher=Says(theirs), weight=weight)
    total = whole(Run(mine), Batch(X, y))
    amounts, losses = [], []
    for rows in (slice(0, 3), slice(3, B)):
        part, batch = made(teacher=Says(theirs[:, rows]), weight=weight), Batch(X[:, rows], y[rows])
        amounts.append(part.amount(batch))
        losses.append(amounts[-1] * part(Run(mine[:, rows]), batch))
    torch.testing.assert_close(sum(losses) / sum(amounts), total)


@pytest.mark.parametrize("name", ["node_perturbation", "coordinate_wise"])
@pytest.mark.parametrize("made", [CurriculumDistillation, SelfEnsemble])
def test_rules_that_want_a_loss_of_each_sample_ask_the_teacher_for_each(name, made):
    """The step is that of the same loss written without a fast way for single samples."""
    teacher = nn.Linear(4, C)
    steps = []
    for _ in range(2):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C))
        rule = replace(rules.make(name), objective=made(teacher=teacher))
        steps.append(rules.Trainer(model, rule, health=None, seed=0).step((X[0], Y)).loss)
        wanted = float(made(teacher=teacher)(Run(model(X[0])[None]), Batch(X[:1], Y)))
    assert steps[0] == steps[1]
    assert abs(steps[0] - wanted) < 0.5 * wanted  # the loss of the step, in front of its update


def test_a_batch_that_goes_on_from_a_carry_has_no_teacher():
    batch = Batch(X, Y, carry=torch.zeros(1))
    with pytest.raises(ValueError, match="goes on from a carry, and the teacher would begin anew"):
        CurriculumDistillation(Says(output(2)))(Run(output(1)), batch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_teacher_of_another_precision(dtype):
    teacher, mine = nn.Linear(4, C), Run(output(1).float())
    wanted = CurriculumDistillation(teacher)(mine, Batch(X, Y))
    found = CurriculumDistillation(copy.deepcopy(teacher).to(dtype))(mine, Batch(X, Y))
    torch.testing.assert_close(found.float(), wanted, rtol=1e-6 if dtype == torch.float64 else 1e-2, atol=0)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (nn.Linear(5, C), "the teacher, a Linear, cannot take this batch: mat1 and mat2"),
        (Says(torch.full((T, B, C), torch.nan)), "the teacher, a Says, puts out NaN"),
    ],
)
def test_what_a_teacher_raises_names_it(teacher, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        CurriculumDistillation(teacher)(Run(output(1).float()), Batch(X, Y))


class BatchFirst(nn.Module):
    """A teacher that takes [B, T, features]."""

    def __init__(self):
        super().__init__()
        self.cells, self.last = nn.GRU(4, 6, batch_first=True), nn.Linear(6, C)

    def forward(self, x):
        return self.last(self.cells(x)[0])


class Doubles(nn.Linear):
    """A teacher that changes its input."""

    def forward(self, x):
        return super().forward(x.mul_(2))


class Pools(nn.Linear):
    """A teacher that averages over time."""

    def forward(self, x):
        return super().forward(x).mean(0)


@pytest.mark.parametrize(
    ("teacher", "lengths", "message"),
    [
        (BatchFirst(), None, "teacher: BatchFirst takes samples for time .* rules.adapt"),
        (Doubles(4, C), None, "teacher: Doubles changes its input in place"),
        (
            Pools(4, C),
            torch.full((B,), 3),
            "teacher: what stands behind the end of a sequence changes outputs of Pools",
        ),
    ],
)
def test_a_teacher_is_asked_before_the_first_step(teacher, lengths, message):
    rule = replace(rules.make("bptt"), objective=CurriculumDistillation(teacher))
    trainer = rules.Trainer(nn.Linear(4, C), rule, health=None)
    with pytest.raises(UnfitModel, match=message):
        trainer.step(Batch(X, Y, lengths=lengths))


def test_a_teacher_that_keeps_state_in_a_tuple_is_left_as_it_was():
    class Keeps(nn.Linear):
        def forward(self, x):
            self.mem[0].add_(1)
            return super().forward(x) + self.mem[0]

    teacher = Keeps(4, C)
    teacher.mem = (torch.zeros(1), collections.deque([torch.zeros(1)]))
    loss, mine = CurriculumDistillation(teacher), Run(output(1).float())
    assert float(loss(mine, Batch(X, Y))) == float(loss(mine, Batch(X, Y)))
    assert float(teacher.mem[0]) == 0
