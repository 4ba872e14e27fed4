"""Few bits in a small residual network on MNIST: what levels, signs and the paper's gradient cost; three paired seeds."""

from __future__ import annotations

import statistics
from functools import lru_cache

import pytest

import rules
from sandbox.networks.models import ms_resnet
from sandbox.tasks import TASKS
from tests.conftest import WHOLE_MNIST

pytestmark = [
    pytest.mark.slow(minutes=4),
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::rules.HealthWarning"),
    WHOLE_MNIST,
]
STEPS, SAMPLES, EPOCHS, SEEDS = 2, 4000, 5, range(3)
LR = 0.05  # of 0.005, 0.02, 0.05 and 0.15 the best for full precision, on a seed of its own


@lru_cache
def images():
    """Return training and test images `[T, B, 1, 28, 28]` and their classes."""
    data = TASKS["mnist"]().load()
    parts = []
    for split, count in ((data.train, SAMPLES), (data.test, 1000)):
        x = split.x[:count].reshape(1, count, 1, 28, 28)
        parts += [x.expand(STEPS, -1, -1, -1, -1), split.y[:count]]
    return parts


@lru_cache
def accuracy(plasticity, seed, **options):
    """Return the test accuracy [%] of the tiny MS-ResNet; its first and last weights stay in full precision."""
    x, y, shown, answers = images()
    rule = rules.compose("ce_mean", "bptt", plasticity, plasticity_options={"lr": LR, **options})
    loader = [(x[:, i : i + 50], y[i : i + 50]) for i in range(0, SAMPLES, 50)]
    schedule = rules.Cosine(EPOCHS * len(loader))
    trainer = rules.Trainer(ms_resnet((1, 28, 28), 10, seed=seed), rule, seed=seed, schedule=schedule)
    list(trainer.fit(loader, EPOCHS))
    test = [(shown[:, i : i + 250], answers[i : i + 250]) for i in range(0, 1000, 250)]
    found = 100 * trainer.evaluate(test)["accuracy"]
    print(f"{plasticity} {options}, seed {seed}: {found:.1f} %")
    return found


def behind(plasticity, **options):
    """Return how far full precision is ahead, mean over seeds, in points."""
    return statistics.mean(accuracy("adam", seed) - accuracy(plasticity, seed, **options) for seed in SEEDS)


def test_four_bits_and_one_bit():
    """Four bits within 1 point of full precision, one bit within 5."""
    assert behind("levels", bits=4) <= 1
    assert behind("sign") <= 5


def test_what_it_costs_that_clipped_weights_no_longer_learn():
    """The gradient inside of gamma alone, as the paper's text may be read: behind that of all weights."""
    inside = accuracy("levels", 0, bits=4, gradient="inside")
    assert inside < accuracy("levels", 0, bits=4) - 1
