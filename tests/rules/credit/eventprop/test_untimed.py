"""The finding that a loss counts the spikes of an output: it stays the same when they come in reverse."""

from __future__ import annotations

import pytest
import torch

import rules
from rules import Health
from rules.contract import Batch, Run
from rules.credit.eventprop.untimed import untimed
from rules.objectives import OBJECTIVES
from sandbox import build
from sandbox.neurons import CubaLIF, LeakyIntegrator

COUNTS = ("ce_mean", "ce_sum", "ce_rate", "tet", "ce_max_mem", "mse_count", "mse_membrane")
TIMES = ("ce_last", "ce_ttfs", "mse_ttfs", "van_rossum")
Y = torch.arange(8) % 3


def spikes(*shape, share=0.15):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < share).float()


def found(name, output, **parts):
    objective, batch = OBJECTIVES[name](), Batch(output, Y)
    return [
        each.kind for each in untimed("top", output, objective, batch._replace(**parts), objective(Run(output), batch))
    ]


@pytest.mark.parametrize(("name", "counts"), [*((name, True) for name in COUNTS), *((name, False) for name in TIMES)])
def test_losses_that_count_are_told_from_those_of_times(name, counts):
    assert found(name, spikes(20, 8, 3)) == ["without times"] * counts


def test_first_spikes_that_would_all_shift_alike_are_times():
    """A softmax of first spikes stays the same where all come later by as much."""
    once = torch.zeros(20, 8, 3)
    once[3, :, 0] = once[5, :, 1] = once[9, :, 2] = 1.0
    assert found("ce_ttfs", once) == []
    assert found("ce_mean", once) == ["without times"]


def test_silence_one_step_and_several_lengths_say_nothing():
    assert found("ce_mean", torch.zeros(20, 8, 3)) == []
    assert found("ce_mean", spikes(1, 8, 3)) == []
    assert found("ce_mean", spikes(20, 8, 3), lengths=torch.full((8,), 20)) == []


@pytest.mark.parametrize(
    ("readout", "objective", "kinds"),
    [(CubaLIF(), "ce_mean", 1), (CubaLIF(), "ce_ttfs", 0), (LeakyIntegrator(), "ce_mean", 0)],
)
def test_a_trainer_says_it_once_and_names_what_to_do(readout, objective, kinds):
    net = build((6,), 3, (10,), CubaLIF(), readout, seed=0)
    with torch.no_grad():
        for layer in net.layers:
            layer.synapse.weight.mul_(8.0)
    trainer = rules.Trainer(net, rules.make("eventprop", objective=objective), health=Health(every=1))
    said = [each for _ in range(2) for each in trainer.step((spikes(20, 8, 6, share=0.5), Y)).health]
    told = [each for each in said if each.kind == "without times"]
    assert len(told) == kinds
    for each in told:
        assert each.where == "layers.1"
        assert (
            "readout=sandbox.LeakyIntegrator(), on the command line --network.readout leaky_integrator" in each.remedy
        )
        assert "--rule.options '{objective: ce_ttfs}'" in each.remedy
