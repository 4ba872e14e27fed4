"""Shortened runs of the published anchors (`experiments/reference_points.py`), which fail where a claim has broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.linear import linear_baseline
from sandbox.comparisons.references import references
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.runs.run import run
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def shortened(name: str, epochs: int) -> Experiment:
    """The run of `bptt` with the first seed, with fewer epochs."""
    content = yaml.safe_load((ROOT / "experiments" / "anchors" / f"{name}.yaml").read_text())
    content.pop("beside")
    plan: Comparison = from_dict(Comparison, content)
    (first, *_) = plan.experiments()["bptt"]
    return replace(first, epochs=epochs)


def published(experiment: Experiment) -> dict[str, float]:
    return {each.what: each.value for each in references(experiment.task.name, experiment.task.options)}


def test_yinyang_is_above_what_is_published_of_a_frozen_layer(tmp_path):
    """By more than the published deviation of its runs; five of thirty epochs."""
    experiment = shortened("yinyang_30", 5)
    (frozen,) = (each for each in references("yinyang") if "frozen" in each.what)
    assert 100 * run(experiment, tmp_path / "r")["test"]["accuracy"] > frozen.value + frozen.spread


def test_randman_is_half_way_from_a_linear_classifier_to_the_published_figure(tmp_path):
    """That figure is reached later: six of thirty epochs. Who does not use the hidden layer stays at the classifier."""
    experiment = shortened("randman", 6)
    (figure,) = published(experiment).values()
    linear = linear_baseline(experiment.load())
    assert linear < 60  # the classes are not to be told apart by single times
    assert 100 * run(experiment, tmp_path / "r")["test"]["accuracy"] > (linear + figure) / 2


@pytest.mark.parametrize(
    ("name", "what", "near"),
    [
        ("yinyang_30", "shallow network, 20 runs", 1.0),  # the published deviation
        ("mnist1d_mlp", "logistic regression", 1.5),  # a standard error of 32 % on 1,000 samples
    ],
)
def test_linear_classifiers_agree(name, what, near):
    experiment = shortened(name, 1)
    assert linear_baseline(experiment.load()) == pytest.approx(published(experiment)[what], abs=near)
