"""Measures against scikit-learn, over batches of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error, r2_score

import rules
from rules.measures import Accuracy, MultiLabel, Regression


def report(measure, answers, truth, sizes):
    """Add rows in batches of these sizes, and report."""
    for part in zip(torch.split(answers, sizes), torch.split(truth, sizes), strict=True):
        measure.add(*part)
    return measure.report()


SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 1)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 3), st.integers(0, 2**16), st.sampled_from([0.0, 1e6]))
def test_regression_is_that_of_scikit_learn(sizes, width, seed, offset):
    """A large mean shows a loss of precision; float64 sums of 25 terms of order 1e6 are right to 1e-9 of the spread."""
    rng = np.random.default_rng(seed)
    truth = offset + rng.standard_normal((sum(sizes), width))
    answers = truth + rng.standard_normal(truth.shape)
    found = report(Regression(), torch.tensor(answers), torch.tensor(truth), sizes)
    assert found["r2"] == pytest.approx(r2_score(truth, answers), rel=1e-6, abs=1e-8)
    assert found["rmse"] == pytest.approx(mean_squared_error(truth, answers) ** 0.5, rel=1e-9)


@pytest.mark.parametrize("answers", [[[2.0], [2.0]], [[2.0], [3.0]]], ids=["right", "wrong"])
def test_constant_truths_are_judged_as_in_scikit_learn(answers):
    truth = [[2.0], [2.0]]
    found = report(Regression(), torch.tensor(answers), torch.tensor(truth), 1)
    assert found["r2"] == r2_score(truth, answers)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(2, 4), st.integers(0, 2**16))  # scikit-learn takes one column for two classes
def test_multi_label_is_that_of_scikit_learn(sizes, width, seed):
    rng = np.random.default_rng(seed)
    logits, truth = rng.standard_normal((sum(sizes), width)), rng.random((sum(sizes), width)) < 0.4
    found = report(MultiLabel(), torch.tensor(logits), torch.tensor(truth).float(), sizes)
    assert found["f1"] == pytest.approx(f1_score(truth, logits > 0, average="micro", zero_division=0.0), rel=1e-12)
    assert found["exact_match"] == pytest.approx(np.mean((truth == (logits > 0)).all(1)), rel=1e-12)


def test_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, y = rng.standard_normal((23, 4)), rng.integers(0, 4, 23)
    found = report(Accuracy(), torch.tensor(scores), torch.tensor(y), 7)
    assert found == {"accuracy": accuracy_score(y, scores.argmax(1))}


@pytest.mark.parametrize("truth", [torch.zeros(3), torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64)])
def test_truths_that_are_not_classes_have_no_accuracy(truth):
    assert report(Accuracy(), torch.zeros(3, 2), truth, 2) == {}


@pytest.mark.parametrize("measure", [Accuracy, Regression, MultiLabel])
def test_nothing_added_is_nothing_reported(measure):
    assert measure().report() == {}


def test_ties_are_counted_one_by_one():
    """Scores of few values, many of them equal, against a count of each row's largest entries."""
    rng = np.random.default_rng(0)
    scores, y = rng.integers(0, 3, (50, 4)).astype(float), rng.integers(0, 4, 50)
    found = report(Accuracy(), torch.tensor(scores), torch.tensor(y), 7)
    assert found["ties"] == sum(list(row).count(max(row)) > 1 for row in scores.tolist()) / 50
    assert found["accuracy"] == accuracy_score(y, scores.argmax(1))


@pytest.mark.parametrize("objective", ["ce_mean", "ce_sum", "ce_max_mem", "ce_ttfs", "mse_count"])
def test_a_silent_network_says_that_its_answers_are_ties(objective):
    """It scores the share of class 0, 0.9 here, under every objective."""
    torch.manual_seed(0)
    trainer = rules.Trainer(torch.nn.Linear(3, 4), rules.make("bptt", objective=objective))
    torch.nn.init.zeros_(trainer.model.weight)
    torch.nn.init.zeros_(trainer.model.bias)
    y = torch.tensor([0] * 9 + [1])
    found = trainer.evaluate([(torch.rand(5, 10, 3), y)])
    assert (found["accuracy"], found["ties"]) == (0.9, 1.0)


def test_answers_without_a_tie_have_no_key():
    assert "ties" not in report(Accuracy(), torch.eye(3), torch.arange(3), 2)
