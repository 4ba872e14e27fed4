"""Cells that compete: what they are made of, beside Brian2, and in a run that reads them by assignment."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.networks.models import diehl_cook
from sandbox.reference import to_brian2
from sandbox.runs.run import run
from sandbox.tasks.base import Task
from sandbox.tasks.digits import Digits

OPTIONS = {"lr": 0.05, "a_minus": 0.0, "pairing": "nearest", "homeostasis": 2.0, "target": 1.0, "normalise": True}


def test_weights_add_up_and_every_cell_inhibits_all_others():
    net = diehl_cook((1, 6, 6), cells=5, inhibition=40.0, drive=0.2)
    synapse, lateral = net.layers[0].synapse[1].weight, net.layers[0].cells.recurrent.weight
    torch.testing.assert_close(synapse.sum(1), torch.full((5,), 7.2))
    assert float(synapse.detach().min()) >= 0
    assert torch.equal(lateral, -40.0 * (1 - torch.eye(5)))
    assert not lateral.requires_grad


def test_a_spike_lifts_a_membrane_by_its_weight():
    net = diehl_cook((4,), cells=3).double()
    x = torch.zeros(1, 1, 4).double()
    x[0, 0, 2] = 1.0
    u = net(x, record=True).traces[0].u[0, 0]
    torch.testing.assert_close(u, net.layers[0].synapse.weight[:, 2] - 13.0)


def test_it_fires_as_in_brian2():
    net = diehl_cook((30,), cells=8, drive=0.8, seed=3)
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(200, 2, 30, generator=rng) < 0.1).double()
    report = to_brian2(net).compare(x)
    assert report.passed, str(report)
    assert 20 < float(net.double()(x).output.sum()) < 800


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": 1}, "cells=1: give at least 2, which compete"),
        ({"inhibition": 0.0}, "inhibition=0.0: give a number of mV above 0"),
        ({"drive": -1.0}, "drive=-1.0: give a number of mV above 0"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        diehl_cook(**options)


def competing(**more):
    return Experiment(
        task=Choice("digits"),
        encoder=Choice("poisson", {"steps": 40, "max_rate": 200.0}),
        network=NetworkConfig(model=Choice("diehl_cook", {"cells": 20, "drive": 0.6}), rate=None),
        rule=RuleConfig("stdp", OPTIONS, **more),
        epochs=1,
        batch_size=50,
    )


def test_a_run_reads_cells_before_each_evaluation(tmp_path):
    found = run(competing(), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    course = [line["validation_accuracy"] for line in lines]
    assert len(course) == 2
    assert found["test"]["accuracy"] > 0.25
    assert found["validation"]["accuracy"] == course[-1]
    assert found["test"]["accuracy_at_40"] == found["test"]["accuracy"]
    assert len({found["test"][f"accuracy_at_{n}"] for n in (1, 5, 10, 20, 40)}) > 3
    probed = run(competing(objective=Choice("probe")), tmp_path / "probe")
    assert probed["test"]["accuracy"] > 0.4
    assert probed["steps"] == found["steps"]


def test_a_run_learns_from_samples_without_labels(tmp_path):
    """A fifth of the digits has a label: the others change weights, and say nothing of accuracy."""
    whole = Digits().load().train
    y = torch.where(torch.arange(len(whole)) % 5 == 0, whole.y, -100)
    experiment = replace(competing(), task=Task.from_arrays(whole.x, y, name="partly"))
    found = run(experiment, tmp_path / "run")
    assert found["steps"] == -(-round(0.6 * len(whole)) // 50)
    assert found["test"]["samples"] == len(whole) // 5 // 5  # a fifth is tested, of which a fifth has a label
    assert found["test"]["accuracy"] > 0.2
