"""Perplexity and bits against NumPy, and in evaluations of a model, whatever is left out and however it is batched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules import Batch, Run, Trainer
from rules.perplexity import Perplexity

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")


class Letters(nn.Module):
    """A small model of characters: [L, B] tokens to [L, B, tokens] logits, with its state in the carry."""

    offers = frozenset({"gradient", "carry"})

    def __init__(self, size=5, width=8):
        super().__init__()
        self.embedding, self.cells, self.out = nn.Embedding(size, width), nn.GRU(width, width), nn.Linear(width, size)

    def forward(self, x, carry=None):
        hidden, carry = self.cells(self.embedding(x), carry)
        return Run(self.out(hidden), carry)


def by_hand(output, targets, lengths):
    """Nats and counts of each sample, in loops of float64."""
    steps, samples, _ = output.shape
    nats, counts = np.zeros(samples), np.zeros(samples, int)
    for t in range(steps):
        for b in range(samples):
            if targets[t, b] != -100 and (lengths is None or t < lengths[b]):
                o = output[t, b].astype(np.float64)
                nats[b] += np.log(np.exp(o - o.max()).sum()) + o.max() - o[targets[t, b]]
                counts[b] += 1
    return nats, counts


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans(), st.integers(0, 2**16))
def test_it_is_that_of_a_loop(steps, batches, padded, seed):
    rng, counted, nats, counts = np.random.default_rng(seed), Perplexity("byte"), [], []
    for samples in batches:
        output = rng.standard_normal((steps, samples, 3)).astype(np.float32)
        targets = rng.choice([0, 1, 2, -100], size=(steps, samples))
        lengths = rng.integers(1, steps + 1, size=samples) if padded else None
        given_lengths = None if lengths is None else torch.tensor(lengths)
        counted.see(Run(torch.tensor(output)), Batch(None, targets=torch.tensor(targets), lengths=given_lengths))
        of_batch = by_hand(output, targets, lengths)
        nats += list(of_batch[0])
        counts += list(of_batch[1])
    assert counted.counts == counts
    assert counted.nats == pytest.approx(nats, rel=1e-5, abs=1e-6)  # logits and their loss are float32
    report = counted.report()
    if sum(counts):
        mean = sum(nats) / sum(counts)
        assert report["perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
        assert report["bits_per_byte"] == pytest.approx(mean / math.log(2), rel=1e-5, abs=1e-6)
    else:
        assert report == {}


def test_an_evaluation_reports_it_beside_accuracy_and_loss():
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, (9, 6), generator=rng)
    targets = torch.where(torch.rand(8, 6, generator=rng) < 0.4, -100, tokens[1:])
    loader = [Batch(tokens[:8, part], targets=targets[:, part]) for part in (slice(0, 4), slice(4, 6))]
    trainer = Trainer(Letters(), rules.make("bptt", objective="ce_rate"), seed=0)
    plain = trainer.evaluate(loader)
    measure = Perplexity("character")
    found = trainer.evaluate(loader, measure=measure)
    assert found == {**plain, "perplexity": found["perplexity"], "bits_per_character": found["bits_per_character"]}
    assert found["perplexity"] == pytest.approx(math.exp(plain["loss"]), rel=1e-5)  # a float32 mean of each batch
    assert found["bits_per_character"] == pytest.approx(plain["loss"] / math.log(2), rel=1e-5)
    assert measure.counts == (targets != -100).sum(0).tolist()


def test_a_certain_error_is_infinite():
    counted = Perplexity()
    counted.see(Run(torch.tensor([[[1e4, 0.0]]])), Batch(None, targets=torch.tensor([[1]])))
    assert counted.report()["perplexity"] == math.inf
    assert counted.report()["bits_per_token"] == pytest.approx(1e4 / math.log(2))


def test_a_batch_without_targets_is_refused():
    with pytest.raises(ValueError, match=r"perplexity is of tokens that are predicted at each step: give rules\.Batch"):
        Perplexity().see(Run(torch.zeros(1, 1, 2)), Batch(None, torch.tensor([0])))
