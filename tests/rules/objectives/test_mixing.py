"""Mixed samples against formulas by hand, torch's loss of soft labels, and properties of the draw."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import rules
from rules import Batch, Run
from rules.objectives import OBJECTIVES
from rules.objectives.mixing import Mixed, edges, halves
from rules.objectives.readout import CROSS_ENTROPIES, TET, MeanCrossEntropy


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


X, Y = torch.rand(1, 6, 2, 8, 8, generator=rng()), torch.arange(6) % 4


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_mixup_is_a_weighted_sum_of_two_samples(seed):
    """The partner is found by the class: all samples have different ones here."""
    y = torch.arange(6)
    seen = Mixed(cutmix=0.0).views(Batch(X.expand(3, *X.shape[1:]), y), rng(seed))
    lam = float(seen.y[0, 2])
    assert 0 <= lam <= 1
    partner = seen.y[:, 1].long()
    assert sorted(partner.tolist()) == list(range(6))
    assert torch.equal(seen.y[:, 0].long(), y)
    assert torch.equal(seen.x, (lam * X + (1 - lam) * X[:, partner]).expand(3, *X.shape[1:]))


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_cutmix_pastes_a_rectangle(seed):
    """The share of pixels that are the sample's own is lam, and the others lie in one rectangle of the partner."""
    y = torch.arange(6)
    seen = Mixed(mixup=0.0).views(Batch(X, y), rng(seed))
    partner = seen.y[:, 1].long()
    for b in range(6):
        own = (seen.x[0, b] == X[0, b]).all(0)
        if partner[b] == b:
            assert own.all()
            continue
        assert torch.equal(seen.x[0, b][:, ~own], X[0, partner[b]][:, ~own])
        assert float(own.double().mean()) == pytest.approx(float(seen.y[b, 2]))
        rows, columns = (~own).any(1), (~own).any(0)
        assert torch.equal(~own, rows[:, None] & columns[None])


def test_weights_have_the_distribution_of_beta():
    """Mean and variance of lam over 500 draws, alpha = 0.8: 1/2 and 1 / (4 (2 alpha + 1))."""
    mixed, batch = Mixed(cutmix=0.0), Batch(torch.zeros(1, 2, 1), torch.arange(2))
    found = torch.tensor([float(mixed.views(batch, rng(seed)).y[0, 2]) for seed in range(500)])
    variance = 1 / (4 * (2 * 0.8 + 1))
    assert abs(float(found.mean()) - 0.5) < 4 * math.sqrt(variance / 500)  # four standard errors
    assert float(found.var()) == pytest.approx(variance, rel=0.2)  # some four standard errors


def test_both_kinds_are_drawn_at_their_share():
    """Of 400 batches a quarter is pasted, within four standard errors; pasted pixels are those of one image."""
    mixed, pasted = Mixed(share=0.25), 0
    for seed in range(400):
        seen = mixed.views(Batch(X, torch.arange(6)), rng(seed))
        partner = seen.y[:, 1].long()
        pasted += bool(((seen.x == X) | (seen.x == X[:, partner])).all())
    assert abs(pasted / 400 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_soft_labels(smoothing):
    """Oracle: torch's cross-entropy of class probabilities."""
    mixed = Mixed(label_smoothing=smoothing)
    seen = mixed.views(Batch(X, Y), rng(1))
    output = torch.randn(1, 6, 4, generator=rng(2), dtype=torch.float64)
    soft = seen.y[:, 2:] * F.one_hot(seen.y[:, 0].long(), 4) + (1 - seen.y[:, 2:]) * F.one_hot(seen.y[:, 1].long(), 4)
    wanted = F.cross_entropy(output[0], soft, label_smoothing=smoothing)
    assert mixed(Run(output), seen) == pytest.approx(wanted)
    assert mixed.each(Run(output), seen).mean() == pytest.approx(wanted)


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_label_smoothing_of_every_cross_entropy(name):
    """Linear in the target: (1 - e) loss + e times the mean of the losses of all classes."""
    output = torch.randn(5, 6, 4, generator=rng(2), dtype=torch.float64)
    run, batch, e = Run(output), Batch(X, Y), 0.3
    plain, smooth = CROSS_ENTROPIES[name](), CROSS_ENTROPIES[name](label_smoothing=e)
    each = [plain(run, batch._replace(y=torch.full_like(Y, c))) for c in range(4)]
    assert smooth(run, batch) == pytest.approx((1 - e) * plain(run, batch) + e * sum(each) / 4)
    alone = smooth.each(run, batch)
    if alone is not None:
        assert alone.mean() == pytest.approx(smooth(run, batch) if name != "tet" else alone.mean())


def test_evaluation_sees_whole_samples():
    """The reported loss of an evaluation is that of the inner loss, and accuracy that of the model."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(128, 4))
    batch = (X[0], Y)
    reports = [
        rules.Trainer(model, rules.make("bptt", objective=objective)).evaluate([batch])
        for objective in (Mixed(), MeanCrossEntropy())
    ]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("rule", ["bptt", "dfa", "spsa"])
def test_rules_learn_from_it(rule):
    from sandbox import build

    trainer = rules.Trainer(build((2, 8, 8), 4, (10,), seed=0), rules.make(rule, objective="mixed"), seed=0)
    told = [trainer.step((X.expand(4, *X.shape[1:]), Y)) for _ in range(3)]
    assert all(math.isfinite(each.loss) for each in told)


def test_another_loss_inside():
    tet = Mixed(TET(lam=0.5), cutmix=0.0)
    seen = tet.views(Batch(X.expand(5, *X.shape[1:]), Y), rng(3))
    run = Run(torch.randn(5, 6, 4, generator=rng(2)))
    (a, first), (b, second) = halves(seen)
    assert a + b == 1
    assert tet(run, seen) == pytest.approx(a * TET(lam=0.5)(run, first) + b * TET(lam=0.5)(run, second))
    assert OBJECTIVES["mixed"] is Mixed


def test_accuracy_is_that_of_the_heavier_class():
    batch = Batch(X, torch.tensor([[0.0, 1.0, 0.3]] * 6))
    assert Mixed().answers(Run(torch.zeros(1, 6, 4)), batch)[1].tolist() == [1] * 6


def test_inputs_that_are_constant_in_time_stay_so():
    for mixed in (Mixed(mixup=0.0), Mixed(cutmix=0.0)):
        assert mixed.views(Batch(X.expand(7, *X.shape[1:]), Y), rng()).x.stride(0) == 0


def test_inputs_without_time_are_mixed_as_those_of_one_step():
    for mixed in (Mixed(mixup=0.0), Mixed(cutmix=0.0)):
        timed = mixed.views(Batch(X, Y), rng(5))
        alone = dataclasses.replace(mixed, timed=False).views(Batch(X[0], Y), rng(5))
        assert torch.equal(timed.x[0], alone.x)
        assert torch.equal(timed.y, alone.y)


def test_what_the_inner_loss_needs_is_asked_for():
    assert Mixed().needs == MeanCrossEntropy().needs
    contrast = OBJECTIVES["temporal_contrast"]()
    assert Mixed(contrast).needs == contrast.needs | {"labels"}
    whole = Batch(X.expand(4, *X.shape[1:]), Y, lengths=torch.full((6,), 4))
    assert Mixed().views(whole, rng()).x.shape == whole.x.shape


def test_vectors_are_blended_alone_by_default():
    x = torch.rand(4, 6, 3)
    for seed in range(20):
        seen = Mixed().views(Batch(x, torch.arange(6)), rng(seed))
        lam, partner = float(seen.y[0, 2]), seen.y[:, 1].long()
        assert torch.equal(seen.x, lam * x + (1 - lam) * x[:, partner])


def test_a_rectangle_is_cut_off_at_edges():
    assert [edges(8, 1.0, centre) for centre in (0, 4, 7)] == [(0, 4), (0, 8), (3, 8)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixed(mixup=-1.0), "mixup=-1.0: give alpha of a Beta distribution, or 0 for none"),
        (lambda: Mixed(mixup=0.0, cutmix=0.0), "nothing would be mixed"),
        (lambda: Mixed(share=2.0), "share=2.0: give a probability"),
        (lambda: Mixed("ce_men"), "unknown loss of Mixed 'ce_men'; nearest: 'ce_mean'"),
        (lambda: Mixed(TET(), label_smoothing=0.1), "label_smoothing belongs to a loss by name"),
        (lambda: MeanCrossEntropy(label_smoothing=1.5), "label_smoothing=1.5: give a share, from 0 to 1"),
        (
            lambda: Mixed().views(Batch(X.expand(5, *X.shape[1:]), Y, lengths=Y + 1), rng()),
            "different lengths: use the loss itself",
        ),
        (lambda: Mixed().views(Batch(X, torch.zeros(6, 2)), rng()), r"one class for each sample, y \[B\]"),
        (lambda: Mixed(cutmix=1.0).views(Batch(torch.rand(4, 6, 3), Y), rng()), "CutMix wants images"),
        (lambda: Mixed(mixup=0.0).views(Batch(torch.rand(4, 6, 3), Y), rng()), "mixup=0: CutMix is for images"),
        (lambda: Mixed().views(Batch(torch.rand(6, 2, 8, 8), Y), rng()), r"6 samples.*axis 1.*set timed to False"),
        (lambda: Mixed(cutmix=0.0).views(Batch(torch.rand(6, 6), Y), rng()), "behind time"),
        (lambda: Mixed(timed=False).views(Batch(torch.rand(4, 2, 8, 8), Y), rng()), "6 samples.*on axis 0"),
        (lambda: Mixed().views(Batch(X, Y.float() + 0.5), rng()), "torch.float32; Mixed wants class numbers"),
        (lambda: Mixed(cutmix=0.0).views(Batch((X, X), Y), rng()), "one tensor of real numbers"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
