"""Losses of numbers against torch's functions, written out for every place, with and without padding."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, mean_squared_error, r2_score
from torch import nn
from torch.nn import functional as F

import rules
from rules import Batch, Run
from rules.credit.zero_order.flat.alone import losses_alone
from rules.objectives import OBJECTIVES, Sum
from rules.objectives.fitted import Huber, MeanSquaredError, MultiLabelCrossEntropy
from rules.objectives.regularisers import RateL1

LENGTHS = [4, 2, 6]
TIGHT = {"rel": 1e-12, "abs": 1e-12}  # float64 means of at most 36 terms of order one
COSTS = {
    "mse": F.mse_loss,
    "huber": lambda o, y: F.huber_loss(o, y, delta=1.0),
    "bce": F.binary_cross_entropy_with_logits,
}
PLACES = {
    "mean": lambda output, n: output[:n].mean(0),
    "last": lambda output, n: output[n - 1],
}


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sequences(padded):
    return LENGTHS if padded else [6, 6, 6]


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("name", COSTS)
def test_one_output_a_sample_is_compared(name, at, padded):
    output, y = 4 * random(6, 3, 2), random(3, 2, seed=1)
    batch = Batch(output, y, lengths=torch.tensor(LENGTHS) if padded else None)
    found = OBJECTIVES[name](at=at)(Run(output), batch)
    shown = torch.stack([PLACES[at](output[:, b], n) for b, n in enumerate(sequences(padded))])
    assert found.item() == pytest.approx(COSTS[name](shown, y).item(), **TIGHT)


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", COSTS)
def test_every_step_is_compared_with_its_target(name, padded):
    output, targets = 4 * random(6, 3, 2), random(6, 3, 2, seed=1)
    batch = Batch(output, targets=targets, lengths=torch.tensor(LENGTHS) if padded else None)
    pairs = [(output[t, b], targets[t, b]) for b, n in enumerate(sequences(padded)) for t in range(n)]
    shown, wanted = (torch.stack(side) for side in zip(*pairs, strict=True))
    assert OBJECTIVES[name]()(Run(output), batch).item() == pytest.approx(COSTS[name](shown, wanted).item(), **TIGHT)


@pytest.mark.parametrize("name", COSTS)
def test_every_step_is_compared_with_the_answer_of_the_sample(name):
    output, y = 4 * random(6, 3, 2), random(3, 2, seed=1)
    found = OBJECTIVES[name](at="step")(Run(output), Batch(output, y))
    assert found.item() == pytest.approx(np.mean([COSTS[name](step, y).item() for step in output]), **TIGHT)


@pytest.mark.parametrize("name", COSTS)
def test_a_column_may_be_left_out(name):
    """[B] beside an output [B, 1] must not be spread to [B, B]."""
    output, y = random(6, 3, 1), random(3, seed=1)
    objective = OBJECTIVES[name]()
    assert objective(Run(output), Batch(output, y)) == objective(Run(output), Batch(output, y[:, None]))
    assert objective(Run(output), Batch(output, y)).item() == pytest.approx(
        COSTS[name](output.mean(0)[:, 0], y).item(), **TIGHT
    )


def test_delta_is_where_the_loss_becomes_linear():
    output, y = 4 * random(1, 3, 2), random(3, 2, seed=1)
    found = Huber(delta=0.3)(Run(output), Batch(output, y))
    assert found.item() == pytest.approx(F.huber_loss(output[0], y, delta=0.3).item(), **TIGHT)


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_measures_are_those_of_scikit_learn(padded):
    output, targets, lengths = random(6, 3, 2), random(6, 3, 2, seed=1), torch.tensor(LENGTHS)
    batch = Batch(output, targets=targets, lengths=lengths if padded else None)
    rows = [(t, b) for b, n in enumerate(sequences(padded)) for t in range(n)]
    shown, wanted = (np.array([a[t, b].tolist() for t, b in rows]) for a in (output, targets))

    def found(objective, batch, output):
        measure = objective.measure()
        measure.add(*objective.answers(Run(output), batch))
        return measure.report()

    numbers = found(MeanSquaredError(), batch, output)
    assert numbers["r2"] == pytest.approx(r2_score(wanted, shown), **TIGHT)
    assert numbers["rmse"] == pytest.approx(mean_squared_error(wanted, shown) ** 0.5, **TIGHT)
    bits = batch._replace(targets=(targets > 0.5).double())
    labels = found(Sum((MultiLabelCrossEntropy(), RateL1())), bits, output - 0.5)
    assert labels["f1"] == pytest.approx(f1_score(wanted > 0.5, shown > 0.5, average="micro"), **TIGHT)


def regression(count=64):
    x = random(count, 3).float()
    return x, (x @ torch.tensor([1.0, -2.0, 0.5]))[:, None]


@pytest.mark.parametrize("rule", ["bptt", "hzo", "spsa", "node_perturbation", "readout_only"])
def test_rules_learn_numbers_and_report_what_suits(rule):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
    trainer = rules.Trainer(model, rules.make(rule, objective="mse", lr=0.03), seed=0)
    before = trainer.evaluate([regression()])
    for _ in trainer.fit([regression()], epochs=60):
        pass
    after = trainer.evaluate([regression()])
    assert set(after) == {"r2", "rmse", "loss", "samples"}
    assert after["loss"] == pytest.approx(after["rmse"] ** 2, rel=1e-5)  # float32 means of 64 terms
    assert after["r2"] > max(before["r2"], 0.5)


def test_several_labels_are_learned():
    torch.manual_seed(0)
    x = random(64, 3).float()
    y = (x > 0.5).float()
    trainer = rules.Trainer(nn.Sequential(nn.Linear(3, 3)), rules.make("bptt", objective="bce", lr=0.2), seed=0)
    for _ in trainer.fit([(x, y)], epochs=100):
        pass
    found = trainer.evaluate([(x[:30], y[:30]), (x[30:], y[30:])])
    assert set(found) == {"f1", "exact_match", "loss", "samples"}
    assert found["f1"] > 0.9


@pytest.mark.parametrize("at", ["mean", "last", "step"])
@pytest.mark.parametrize("name", COSTS)
def test_the_loss_of_each_sample_alone(name, at):
    """In one call for all samples, as node perturbation wants it, with answers of samples and of steps."""
    output, lengths = 4 * random(6, 3, 2), torch.tensor(LENGTHS)
    objective = OBJECTIVES[name](at=at)
    for batch in (
        Batch(output, random(3, 2, seed=1), lengths=lengths),
        Batch({"a": output, "b": output[0]}, targets=random(6, 3, 2, seed=1), lengths=lengths),
    ):
        (found,) = losses_alone(objective, Run(output), batch)
        for b in range(3):
            one = Batch(
                output[:, b : b + 1],
                None if batch.y is None else batch.y[b : b + 1],
                None,
                None if batch.targets is None else batch.targets[:, b : b + 1],
                lengths[b : b + 1],
            )
            assert found[b].item() == pytest.approx(objective(Run(output[:, b : b + 1]), one).item(), **TIGHT)


@pytest.mark.parametrize("rule", ["node_perturbation", "spsa", "hzo", "bptt"])
def test_rules_learn_targets_of_steps(rule):
    torch.manual_seed(0)
    x = random(5, 20, 3).float()
    batch = (x, x.cumsum(0).sum(2))
    trainer = rules.Trainer(
        nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 1)), rules.make(rule, objective="mse", lr=0.002)
    )
    before = trainer.evaluate([batch])["loss"]
    for _ in trainer.fit([batch], epochs=20):
        pass
    assert trainer.evaluate([batch])["loss"] < before


class OwnError(rules.Objective):
    """An objective of four lines, which says nothing of measures."""

    def __call__(self, run, batch):
        return (run.output.mean(0) - batch.y).square().mean()


def test_an_objective_of_ones_own_reports_the_loss_alone_where_there_are_no_classes():
    rule = rules.LearningRule(OwnError(), rules.BPTT(), rules.make("bptt").plasticity)
    trainer = rules.Trainer(nn.Linear(3, 1), rule)
    assert set(trainer.evaluate([regression()])) == {"loss", "samples"}
    assert trainer.step(regression()).samples == 64


@pytest.mark.parametrize(
    ("name", "answers", "message"),
    [
        ("mse", {}, "needs y or targets: let the loader yield (x, y)"),
        ("mse", {"y": torch.zeros(3)}, "shape (3,) do not fit the output (6, 3, 2): give [3, 2], one number for each"),
        ("mse", {"y": torch.tensor([0, 1, 1])}, 'class numbers use rules.make("bptt", objective="ce_mean")'),
        ("mse", {"targets": torch.zeros(6, 3)}, "give [6, 3, 2], one number for each output, or one output to the"),
        ("bce", {"y": torch.tensor([0, 1, 1])}, 'for one class a sample use "ce_mean", or "bce_probabilities"'),
        ("bce", {"y": torch.full((3, 2), 2.0)}, "answers run from 2 to 2, and each label is there or not: give 0 or 1"),
    ],
)
def test_answers_that_do_not_fit_are_described(name, answers, message):
    output = torch.zeros(6, 3, 2)
    with pytest.raises(ValueError, match=re.escape(message)):
        OBJECTIVES[name]()(Run(output), Batch(output, **answers))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MeanSquaredError(at="end"), "unknown at 'end'; .* mean, last, step"),
        (lambda: Huber(delta=0.0), "delta=0.0: give an error above 0"),
    ],
)
def test_bad_settings_are_described(build, message):
    with pytest.raises(ValueError, match=message):
        build()
