"""Published training settings at tiny scale: six epochs on the digits, with the papers' rates and shares."""

from __future__ import annotations

import pytest

from sandbox import recipe
from sandbox.runs.preparing import evaluation, prepare

CHANCE = 0.116  # of the most frequent class of the test samples
ABOVE = {"spikingformer_cifar10": 0.45, "sew_resnet_imagenet": 0.85, "spikformer_imagenet": 0.25}  # found: 67, 97, 40 %


@pytest.mark.slow(minutes=1)
@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
@pytest.mark.parametrize("name", ABOVE)
def test_a_short_run_learns(name):
    """Far above the most frequent class: a third below what one seed reached, so that other machines pass, too."""
    experiment = recipe(name).experiment("digits", size="tiny", epochs=6, batch_size=50)
    data = experiment.load(None)
    trainer, loader = prepare(experiment, data)
    for _ in trainer.fit(loader, 6):
        pass
    accuracy = trainer.evaluate(evaluation(experiment, data.test))["accuracy"]
    print(f"{name}: {100 * accuracy:.1f} %")
    assert accuracy > max(ABOVE[name], 2 * CHANCE)
