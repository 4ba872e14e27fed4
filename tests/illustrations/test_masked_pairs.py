"""Masked reconstruction and contrast of two streams: the three terms, the masks, and what models learn."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest
import torch

import rules
from tests.illustrations.scripts import page, rng, script

T, B = 8, 5


@pytest.fixture(scope="module")
def seen():
    """Views of a batch, and a run of random numbers, in float64."""
    masked = script("masked_pairs")
    x = masked.sentences(B, rng())
    batch = rules.Batch({"eeg": x["eeg"].double(), "words": x["words"]})
    output = torch.randn(T, 1, masked.CHANNELS + masked.WORDS + 2 * masked.WIDTH, generator=rng(1)).double()
    codes = torch.randn(1, B, output.shape[-1], generator=rng(2)).double()
    return masked.MaskedPairs().views(batch, rng(3)), rules.Run(output + codes), batch


def test_reconstructions_are_judged_where_steps_are_hidden_alone(seen):
    masked, (views, run, batch) = script("masked_pairs"), seen
    errors, said = [], []
    for t in range(T):
        for b in range(B):
            if bool((views.x["eeg"][t, b] == 0).all()):
                wrong = [float(run.output[t, b, c] - batch.x["eeg"][t, b, c]) ** 2 for c in range(masked.CHANNELS)]
                errors.append(sum(wrong) / masked.CHANNELS)
            if int(views.x["words"][t, b]) == masked.HIDDEN:
                logits = [float(run.output[t, b, masked.CHANNELS + w]) for w in range(masked.WORDS)]
                said.append(log(sum(map(exp, logits))) - logits[int(batch.x["words"][t, b])])
    restored, words, _ = masked.MaskedPairs().terms(run, views)
    assert len(errors) not in (0, T * B)
    assert len(said) not in (0, T * B)
    assert float(restored) == pytest.approx(sum(errors) / len(errors), rel=1e-12)  # float64
    assert float(words) == pytest.approx(sum(said) / len(said), rel=1e-12)


def test_the_contrast_asks_in_both_directions(seen):
    masked, (views, run, _) = script("masked_pairs"), seen
    at = masked.CHANNELS + masked.WORDS
    codes = [
        [[float(v) for v in run.output[0, b, at + s * masked.WIDTH :][: masked.WIDTH]] for b in range(B)]
        for s in (0, 1)
    ]

    def similar(a, b):
        length = sum(v * v for v in a) ** 0.5 * sum(v * v for v in b) ** 0.5
        return sum(v * w for v, w in zip(a, b)) / length / 0.1

    wanted = 0.0
    for own, other in (codes, codes[::-1]):
        for k in range(B):
            row = [similar(own[k], other[j]) for j in range(B)]
            wanted += (log(sum(map(exp, row))) - row[k]) / B / 2
    *_, contrast = masked.MaskedPairs().terms(run, views)
    assert float(contrast) == pytest.approx(wanted, rel=1e-12)  # float64


def test_what_is_hidden_is_in_the_targets_alone(seen):
    masked, (views, _, batch) = script("masked_pairs"), seen
    gone_eeg, gone_words = views.targets[..., -2] > 0, views.targets[..., -1] > 0
    assert bool((views.x["eeg"][gone_eeg] == 0).all())
    assert bool((views.x["words"][gone_words] == masked.HIDDEN).all())
    assert torch.equal(views.x["eeg"][~gone_eeg], batch.x["eeg"][~gone_eeg])
    assert torch.equal(views.x["words"][~gone_words], batch.x["words"][~gone_words])
    assert torch.equal(views.targets[..., : masked.CHANNELS], batch.x["eeg"])
    assert not torch.equal(gone_eeg, gone_words)


def test_the_share_of_hidden_steps_is_as_asked():
    masked = script("masked_pairs")
    batch = rules.Batch(masked.sentences(2000, rng()))
    told = masked.MaskedPairs(hidden=0.3).views(batch, rng(1)).targets
    assert float(told[..., -2:].mean()) == pytest.approx(0.3, abs=0.01)  # 4 standard errors


def test_a_model_finds_sentences_and_restores_words():
    """By chance 0.031 and 0.121; a quarter of the training, and margins of five standard errors."""
    masked = script("masked_pairs")
    rule, _ = masked.RULES["bptt"]
    found = masked.measured(masked.learned(rule, 2))
    assert found["found"] > 0.2
    assert found["words"] > masked.frequent() + 0.1
    assert found["recording"] < 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("fa", 0.3), ("spsa", 0.07)])
def test_other_rules_find_sentences_beyond_chance(name, least):
    masked = script("masked_pairs")
    assert masked.measured(masked.learned(*masked.RULES[name]))["found"] > least


REFUSED = {
    "node_perturbation": "MaskedPairs.* is not a mean over samples: .*use SPSA",
    "dfa": r"one row for each step of each sample.*rules.make\('fa'\)",
    "hzo": "needs what TwoStreams does not offer.*\n.*nn.Sequential.*rules.adapt",
    "readout_only": r"is not one module.*rules.Restricted\(rules.BPTT\(\), only=",
    "drtp": r"labels: .*yield \(x, y\)",
    "eprop": "sees the whole sequence",
}


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")  # node_perturbation leaves embeddings
@pytest.mark.parametrize("name", REFUSED)
def test_what_the_page_says_is_refused(name):
    masked = script("masked_pairs")
    assert f"| `{name}` |" in page("masked_pairs")
    with pytest.raises((ValueError, TypeError), match=REFUSED[name]):
        rules.Trainer(masked.TwoStreams(), replace(rules.make(name), objective=masked.MaskedPairs())).step(
            masked.loader(1, 0)[0]
        )


def test_the_page_says_how_many_parameters_there_are():
    count = sum(p.numel() for p in script("masked_pairs").TwoStreams().parameters())
    assert f"{count:,} parameters" in page("masked_pairs")
