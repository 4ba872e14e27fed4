"""Read-outs of cells that learned without labels: by double loops, by scikit-learn, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rules
from rules.contract import Batch, Run, Trace
from rules.objectives.assignment import Assignment, Probe, heard
from rules.objectives.regularisers import RateL1, Sum
from sandbox import build
from sandbox.neurons import LIF


def recorded(samples=60, cells=7, classes=3, steps=11, seed=0):
    """Spikes of cells some of which prefer a class, one of which is silent, and the class of every sample."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, samples)
    chance = 0.1 + 0.5 * (np.arange(cells)[None] % classes == y[:, None])
    chance[:, -1] = 0.0
    spikes = (rng.random((steps, samples, cells)) < chance).astype(float)
    return torch.from_numpy(spikes), torch.from_numpy(y)


def fitted(read, spikes, y, size=17):
    parts = zip(spikes.split(size, 1), y.split(size), strict=True)
    read.fit((Run(x), Batch(x, labels)) for x, labels in parts)
    return read


def assigned(spikes, y, classes):
    """The class of each cell, None for a silent one, by loops over cells and classes."""
    found = []
    for cell in spikes.sum(0).numpy().T:
        means = [np.mean([n for n, label in zip(cell, y, strict=True) if label == k]) for k in range(classes)]
        found.append(int(np.argmax(means)) if cell.any() else None)
    return found


def test_each_cell_stands_for_the_class_that_it_answers_most():
    spikes, y = recorded()
    read = fitted(Assignment(), spikes, y)
    stands = assigned(spikes, y.tolist(), 3)
    assert stands[-1] is None
    assert {*stands[:-1]} == {0, 1, 2}
    rates = spikes.mean(0).numpy()
    wanted = [[np.mean([row[c] for c in range(7) if stands[c] == k]) for k in range(3)] for row in rates]
    np.testing.assert_allclose(read.scores(Run(spikes)).numpy(), wanted, rtol=1e-12)  # float64 means of 11 steps


def test_a_class_without_cells_has_no_evidence():
    spikes, y = recorded(classes=2)
    spikes[..., 1::2] = 0
    scores = fitted(Assignment(), spikes, y).scores(Run(spikes))
    assert bool(scores.any())
    assert bool((scores == 0).all(0).any())


def test_the_order_and_the_cut_of_batches_do_not_matter():
    spikes, y = recorded()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    one, other = fitted(Assignment(), spikes, y, 60), fitted(Assignment(), spikes[:, order], y[order], 7)
    torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=0)


def test_the_probe_is_logistic_regression():
    """scikit-learn minimises the sum of losses plus |W|^2 / (2 C) with an offset that is free."""
    linear = pytest.importorskip("sklearn.linear_model")
    spikes, y = recorded(samples=200)
    read = fitted(Probe(decay=0.01), spikes, y)
    rates = spikes.mean(0).numpy()
    scaled = rates / rates.std(0).max()
    model = linear.LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-10, max_iter=10_000).fit(scaled, y.numpy())
    mine = torch.softmax(read.scores(Run(spikes)), 1).numpy()
    np.testing.assert_allclose(mine, model.predict_proba(scaled), atol=1e-6)  # where both stop


def test_the_least_loss_has_no_gradient():
    spikes, y = recorded()
    read = fitted(Probe(decay=0.05), spikes, y)
    scale = spikes.mean(0).std(0, correction=0).max()
    weight = (read.weight * scale).requires_grad_()
    scores = spikes.mean(0) / scale @ weight + read.offset
    loss = nn.functional.cross_entropy(scores, y) + 0.025 * weight.square().sum()
    (slope,) = torch.autograd.grad(loss, weight)
    assert float(slope.abs().max()) < 1e-6
    assert float(weight.abs().max()) > 0.1


def test_steps_behind_the_end_of_a_sample_are_not_heard():
    spikes, y = recorded()
    lengths = torch.full((60,), 6)
    lengths[::2] = 11
    padded = spikes.clone()
    padded[6:, 1::2] = 1.0
    read = Assignment()
    read.fit([(Run(padded), Batch(padded, y, lengths=lengths))])
    other = Assignment()
    quiet = spikes.clone()
    quiet[6:, 1::2] = 0.0
    other.fit([(Run(quiet), Batch(quiet, y, lengths=lengths))])
    torch.testing.assert_close(read.weight, other.weight, rtol=0, atol=0)


def test_the_last_layer_that_fires_is_read():
    """A silent read-out without spikes puts out zeros, too, which are its membranes."""
    bits, numbers, nothing = torch.ones(2, 1, 3), torch.full((2, 1, 4), 0.3), torch.zeros(2, 1, 4)
    inner = Trace("inner", numbers, numbers, torch.zeros(2, 1, 5))
    last = Trace("last", numbers, numbers, bits)
    silent = Trace("silent", bits, nothing, nothing.clone())
    top = Trace("top", bits, numbers, numbers)
    assert heard(Run(numbers, traces=(inner, last, top))).equal(bits)
    assert heard(Run(nothing, traces=(inner, silent))).equal(inner.post)
    several = last._replace(post=3 * bits)
    assert heard(Run(numbers, traces=(inner, several))).equal(3 * bits)  # cells that count
    assert heard(Run(numbers)).equal(numbers)
    assert heard(Run(numbers[:1], traces=(inner, last, top))).equal(bits[:1])  # how an answer after one step is read


def test_a_trainer_fits_and_evaluates_without_moving_anything():
    spikes, y = recorded(cells=4)
    model = build((4,), 3, hidden=(8,), neuron=LIF(tau_mem=5.0, v_threshold=0.3), seed=1).double()
    trainer = rules.Trainer(model, rules.make("stdp"))
    trainer.begin((spikes, None))
    before = {name: p.clone() for name, p in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"Assignment has not been fitted: trainer\.fit_read_out\(loader\)"):
        trainer.evaluate([(spikes, y)])
    trainer.fit_read_out([(spikes, y)])
    assert trainer.evaluate([(spikes, y)])["accuracy"] > 0.5
    assert all(p.equal(before[name]) for name, p in model.state_dict().items())
    assert model.training
    other = rules.Trainer(
        build((4,), 3, hidden=(8,), neuron=LIF(tau_mem=5.0, v_threshold=0.3), seed=2).double(), rules.make("stdp")
    )
    other.begin((spikes, None))
    other.load_state_dict(trainer.state_dict())
    assert other.evaluate([(spikes, y)]) == trainer.evaluate([(spikes, y)])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, r"Assignment is fitted to samples with a class each, y of shape \[B\], and these have none"),
        (torch.zeros(60, 2), r"these have torch.float32 \(60, 2\): hand fit_read_out a loader of \(x, y\)"),
        (torch.full((60,), -100), r"every label is -100, which means none"),
        (torch.full((60,), -1), r"y holds -1: classes count from 0, and -100 stands for none"),
    ],
)
def test_labels_that_are_not_classes(y, message):
    spikes, _ = recorded()
    with pytest.raises(ValueError, match=message):
        Assignment().fit([(Run(spikes), Batch(spikes, y))])


def test_samples_without_a_label_are_left_out():
    spikes, y = recorded()
    some = torch.where(torch.arange(60) % 4 == 0, y, -100)
    one, other = fitted(Assignment(), spikes, some), fitted(Assignment(), spikes[:, ::4], y[::4])
    torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=0)


def test_nothing_to_fit_to():
    with pytest.raises(ValueError, match="fit_read_out got no batch: hand it the labelled samples once more"):
        Assignment().fit([])


def test_other_cells_than_in_the_fit():
    spikes, y = recorded()
    with pytest.raises(ValueError, match="was fitted to 7 cells, and this run has 5: fit it anew"):
        fitted(Assignment(), spikes, y).scores(Run(spikes[..., :5]))


def test_a_rule_without_a_read_out():
    trainer = rules.Trainer(nn.Sequential(nn.Linear(7, 3)), "bptt")
    with pytest.raises(
        ValueError, match="MeanCrossEntropy has no read-out to fit: make the rule with one, as in rules"
    ):
        trainer.fit_read_out([recorded()])


def test_a_rule_that_learns_from_a_loss_takes_no_read_out():
    with pytest.raises(ValueError, match="Probe judges what was learned without labels, and BPTT learns from a loss"):
        rules.make("bptt", objective="probe")


def test_penalties_that_nobody_asks():
    rule = rules.make("stdp")
    with pytest.raises(ValueError, match="STDP never asks its objective, so that 1 of its terms would change nothing"):
        rules.LearningRule(Sum((rule.objective, RateL1(0.1))), rule.credit, rule.plasticity)


def test_a_decay_below_0():
    with pytest.raises(ValueError, match="decay=-1: give 0 or more"):
        Probe(decay=-1)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_classes_of_other_whole_numbers(dtype):
    spikes, y = recorded()
    one, other = fitted(Assignment(), spikes, y), fitted(Assignment(), spikes, y.to(dtype))
    torch.testing.assert_close(one.weight, other.weight, rtol=0, atol=0)
