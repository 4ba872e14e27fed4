"""Cross-entropies with class weights, classes that are left out, labels of steps, and padded sequences."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional as F

import rules
from rules import Batch, Run
from rules.diagnostics.latency import Latency
from rules.objectives import OBJECTIVES
from rules.objectives.labels import IGNORED

LENGTHS = torch.tensor([4, 2, 6])
TIGHT = {"rtol": 1e-12, "atol": 1e-12}  # float64 means of at most 18 terms of order one
WEIGHT = (0.2, 3.0, 1.5)
SCORES = {
    "ce_mean": lambda o: o.mean(0),
    "ce_sum": lambda o: o.sum(0),
    "ce_max_mem": lambda o: o.max(0).values,
    "ce_last": lambda o: o[-1],
}


def outputs():
    return torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", SCORES)
def test_weights_and_classes_left_out_are_those_of_torch(name):
    output, y = outputs(), torch.tensor([2, 1, 0])
    found = OBJECTIVES[name](weight=WEIGHT, ignore_index=1)(Run(output), Batch(output, y))
    wanted = F.cross_entropy(SCORES[name](output), y, torch.tensor(WEIGHT, dtype=torch.float64), ignore_index=1)
    torch.testing.assert_close(found, wanted, **TIGHT)


@pytest.mark.parametrize("name", SCORES)
def test_scores_leave_padding_out(name):
    output, y = outputs(), torch.tensor([2, 1, 0])
    objective, batch = OBJECTIVES[name](), Batch(output, y, lengths=LENGTHS)
    alone = torch.stack([SCORES[name](output[:n, b]) for b, n in enumerate(LENGTHS)])
    torch.testing.assert_close(objective(Run(output), batch), F.cross_entropy(alone, y), **TIGHT)
    torch.testing.assert_close(objective.answers(Run(output), batch)[0], alone, **TIGHT)


@pytest.mark.parametrize("name", ["ce_rate", "tet"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_labels_of_steps(name, padded):
    output = outputs()
    targets = torch.randint(3, (6, 3), generator=torch.Generator().manual_seed(1))
    targets[0, 0] = IGNORED
    options = {"lam": 0.25} if name == "tet" else {}
    lengths = LENGTHS if padded else torch.tensor([6, 6, 6])
    objective = OBJECTIVES[name](weight=WEIGHT, **options)
    batch = Batch(output, targets=targets, lengths=lengths if padded else None)
    places = [(t, b) for b, n in enumerate(lengths) for t in range(n)]
    rows, y = (torch.stack([a[t, b] for t, b in places]) for a in (output, targets))
    wanted = F.cross_entropy(rows, y, torch.tensor(WEIGHT, dtype=torch.float64))
    if name == "tet":
        wanted = 0.75 * wanted + 0.25 * (rows - 1).square().mean()
    torch.testing.assert_close(objective(Run(output), batch), wanted, **TIGHT)
    shown, truth = objective.answers(Run(output), batch)
    measure = objective.measure()
    measure.add(shown, truth)
    kept = y != IGNORED
    assert measure.report()["accuracy"] == (rows.argmax(1) == y)[kept].double().mean().item()


@pytest.mark.parametrize("name", ["ce_rate", "tet"])
def test_one_label_for_all_steps_of_padded_sequences(name):
    output, y = outputs(), torch.tensor([2, 1, 0])
    places = [(t, b) for b, n in enumerate(LENGTHS) for t in range(n)]
    rows = torch.stack([output[t, b] for t, b in places])
    wanted = F.cross_entropy(rows, torch.stack([y[b] for _, b in places]))
    found = OBJECTIVES[name](**({"lam": 0.0} if name == "tet" else {}))(Run(output), Batch(output, y, lengths=LENGTHS))
    torch.testing.assert_close(found, wanted, **TIGHT)


def test_a_trainer_reports_the_accuracy_over_steps():
    x = torch.randn(6, 10, 3, generator=torch.Generator().manual_seed(0))
    trainer = rules.Trainer(torch.nn.Sequential(torch.nn.Linear(3, 3)), rules.make("bptt", objective="ce_rate", lr=0.1))
    batch = (x, x.argmax(-1))
    for _ in trainer.fit([batch], epochs=100):
        pass
    found = trainer.evaluate([batch])
    by_hand = (trainer.model(x).argmax(-1) == x.argmax(-1)).double().mean().item()
    assert found["accuracy"] == pytest.approx(by_hand, rel=1e-12)
    assert found["accuracy"] > 0.9
    assert found["samples"] == 10


def test_latency_follows_the_measure():
    x = torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(0))
    trainer = rules.Trainer(torch.nn.Sequential(torch.nn.Linear(3, 1)), rules.make("bptt", objective="mse"))
    y = x.mean(0).sum(1)
    found = trainer.evaluate([(x[:, :6], y[:6]), (x[:, 6:], y[6:])], steps=[1, 4])
    short = trainer.evaluate([(x[:1], y)])
    assert found["r2_at_1"] == pytest.approx(short["r2"], rel=1e-5)  # float32 products
    assert found["r2_at_4"] == found["r2"]
    assert found["latency_drop"] == found["r2_at_4"] - found["r2_at_1"]


def test_latency_of_labels_of_steps_in_padded_sequences():
    """With k steps, the first k steps that count of every sequence are judged."""
    output, targets = outputs(), torch.randint(3, (6, 3), generator=torch.Generator().manual_seed(1))
    objective = OBJECTIVES["ce_rate"]()
    counted = Latency([1, 3, 6], objective)
    counted.add(Run(output), Batch(output, targets=targets, lengths=LENGTHS))
    for k in (1, 3, 6):
        places = [(t, b) for b, n in enumerate(LENGTHS.tolist()) for t in range(min(n, k))]
        hits = [bool(output[t, b].argmax() == targets[t, b]) for t, b in places]
        assert counted.report()[f"accuracy_at_{k}"] == sum(hits) / len(hits)


def test_a_loader_that_yields_nothing_but_the_class_left_out():
    output = outputs()
    with pytest.raises(ValueError, match=re.escape("every label of the batch is 0, which is left out")):
        OBJECTIVES["ce_mean"](ignore_index=0)(Run(output), Batch(output, torch.tensor([0, 0, 0])))


@pytest.mark.parametrize(
    ("batch", "options", "message"),
    [
        ({"targets": torch.zeros(6, 3).long()}, {}, 'one for each sample: use rules.make("bptt", objective="ce_rate")'),
        ({"y": torch.eye(3)}, {}, "for one-hot labels pass y.argmax(1), for several labels"),
        ({"y": torch.eye(3).long()}, {}, "for one-hot labels pass y.argmax(1)"),
        (
            {"y": torch.zeros(3, 1).long()},
            {},
            "labels have shape (3, 1); wanted one number for each of 3 samples: use ",
        ),
        ({"y": torch.tensor([-100, 0, 3])}, {}, "labels run from 0 to 3, but the output has 3 classes"),
        (
            {"y": torch.tensor([0, 1, 2])},
            {"weight": [1.0, 2.0]},
            "weight has 2 numbers, and the output 3 classes: give",
        ),
    ],
    ids=["of steps", "one-hot", "one-hot int64", "column", "beside those left out", "weight"],
)
def test_labels_that_do_not_fit_are_described(batch, options, message):
    output = outputs()
    with pytest.raises(ValueError, match=re.escape(message)):
        OBJECTIVES["ce_mean"](**options)(Run(output), Batch(output, **batch))


WHOLE = [
    *("mse_count", "mse_membrane", "ce_ttfs", "mse_ttfs", "van_rossum", "bit_error", "bce_probabilities"),
    "temporal_contrast",
]


@pytest.mark.parametrize("name", WHOLE)
def test_objectives_that_read_every_step_refuse_padding(name):
    output = torch.full((6, 3, 3), 0.5)
    with pytest.raises(
        ValueError, match=r"reads every step, and these sequences have different lengths: use .*ce_mean"
    ):
        OBJECTIVES[name]()(Run(output), Batch(output, torch.tensor([0, 1, 2]), lengths=LENGTHS))


@pytest.mark.parametrize("objective", ["ce_mean", "tet"])
def test_samples_without_a_class_are_not_counted(objective):
    """Two of four have class -100: they are no answers, and the accuracy is a share of the two others."""
    trainer = rules.Trainer(torch.nn.Sequential(torch.nn.Linear(2, 3)), rules.make("bptt", objective=objective))
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, -100, 1, -100])
    found, alone = trainer.evaluate([(x, y)]), trainer.evaluate([(x[::2], y[::2])])
    assert found["samples"] == 2
    assert found["accuracy"] == alone["accuracy"]
