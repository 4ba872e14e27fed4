"""The cost of a run: directions by closed form, shares by hand, energy by the formula over layers."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import nn

from rules import Cost, Health, StepInfo, Trainer, make
from rules import processes as gathering
from rules.diagnostics.footprint import Footprint
from rules.diagnostics.work import Work
from rules.plasticity import Adam, Levels, Magnitude, Sign
from rules.plasticity.projected import Projected
from sandbox import build
from sandbox.ledger import NEUROMC, SCHEDULES, Bill, Schedule, Synapses, learning, training

SIZES = (8, 32, 16, 4)
B = 10
X = torch.randn(1, B, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(B) % 4


def mlp():
    torch.manual_seed(0)
    layers = [part for pair in zip(SIZES, SIZES[1:], strict=False) for part in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def cost_of(rule, model=None, x=X):
    return Trainer(model or mlp(), rule).step((x, Y)).cost


PAIRS = [B * a * b for a, b in zip(SIZES, SIZES[1:], strict=False)]


def test_the_way_back_by_closed_form():
    """Errors go down to the second layer, for the first's input is data; every weight is summed up."""
    cost = cost_of("bptt")
    assert cost.synaptic_operations == sum(PAIRS)
    assert cost.error_operations == sum(PAIRS[1:])
    assert cost.weight_operations == sum(PAIRS)
    assert cost.neuron_steps == B * sum(SIZES[1:])
    assert cost.multiplications == cost.synaptic_operations + cost.error_operations + cost.weight_operations


def test_a_frozen_hidden_layer_asks_for_no_errors():
    cost = cost_of("readout_only")
    assert (cost.error_operations, cost.weight_operations) == (0, PAIRS[-1])


WEIGHTS = sum(a * b + b for a, b in zip(SIZES, SIZES[1:], strict=False))
NODES = B * sum(SIZES[1:])
BY_HAND = {  # operations for errors, for weights, and normal numbers; each scale takes the square of a weight or a node
    "spsa": (0, (16 + 1) * WEIGHTS, 16 * WEIGHTS),  # sixteen directions of all weights, each times its slope
    "forward_gradient": (0, (8 + 1) * WEIGHTS, 8 * WEIGHTS),
    "evolution_strategy": (0, (16 + 1) * WEIGHTS, 16 * WEIGHTS),  # 32 networks are 16 directions
    "node_perturbation": ((8 + 1) * NODES, sum(PAIRS), 8 * NODES),  # eight noises of all nodes
    "hzo": (B * SIZES[3] * (SIZES[1] + SIZES[2]), sum(PAIRS), 0),  # a probe for each hidden unit, seen at the output
}


@pytest.mark.parametrize("rule", BY_HAND)
def test_forward_passes_have_no_way_back_and_rules_report_what_they_form_themselves(rule):
    cost = cost_of(rule)
    assert cost.backwards == 0
    assert (cost.error_operations, cost.weight_operations, cost.gaussian_draws) == BY_HAND[rule]
    assert cost.neuron_steps > B * sum(SIZES[1:])  # of more than one pass


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")  # few fire on such inputs
def test_bits_are_moved_as_often_as_numbers():
    """The dense counts of both directions do not depend on what a signal is made of."""
    net, x = build((8,), 4, (12,), seed=0), X.expand(5, B, 8).sigmoid()
    bits, numbers = cost_of(make("binary_stochastic", dead_zone=0.5), net, x), cost_of("bptt", net, x)
    for name in ("synaptic_operations", "error_operations", "weight_operations", "neuron_steps", "layer_evaluations"):
        assert getattr(bits, name) == getattr(numbers, name) > 0, name
    assert bits.multiplications < numbers.multiplications


def info(step, operations, *works, footprint=None):
    return StepInfo(step, 0, 0.0, Cost(synaptic_operations=operations), work=works, footprint=footprint)


def test_a_share_holds_until_the_next_look():
    bill = Bill()
    bill.add(info(1, 1000, Work("a", 60, 60, 0, 1.0), Work("b", 40, 0, 10, 0.25), footprint=Footprint(7, 9)))
    bill.add(info(2, 1000))
    bill.add(info(3, 1000, Work("a", 60, 30, 0, 0.5), Work("b", 40, 0, 0, 0.0)))
    facts = bill.facts()
    assert facts["effective_multiplications"] == 600 + 600 + 300
    assert facts["effective_accumulations"] == 100 + 100
    assert (facts["state_bytes"], bill.peak_bytes) == (7, 9)
    assert facts["synaptic_operations"] == 3000


def test_every_count_is_on_the_bill():
    assert asdict(Cost()).keys() < Bill().facts().keys()


@pytest.mark.parametrize("rate", [0.05, 1.0])
def test_energy_by_the_formula_over_layers(rate):
    """One backward pass for one forward pass, no zero error, errors that do not travel in time: the same number."""
    steps, layers = 20, [Synapses(8, 32, 20, B, spikes=rate), Synapses(32, 4, 20, B, spikes=rate)]
    pairs = [B * steps * layer.inputs * layer.outputs for layer in layers]
    counted = Cost(
        forwards=1,
        backwards=1,
        synaptic_operations=sum(pairs),
        error_operations=pairs[1],
        weight_operations=sum(pairs),
        neuron_steps=B * steps * 36,
    )
    assert learning(counted, 0, rate * sum(pairs)) == pytest.approx(training(layers, Schedule()))


def test_energy_of_forward_passes_alone():
    """Three passes, none back: the schedule with two probes."""
    layer = Synapses(8, 32, 20, B)
    pairs = B * 20 * 8 * 32
    counted = Cost(forwards=3, synaptic_operations=3 * pairs, neuron_steps=3 * B * 20 * 32)
    wanted = training([layer], Schedule(backward=0.0, weight=0.0, probes=2.0))
    assert learning(counted, 0, 3 * pairs) == pytest.approx(wanted)
    assert SCHEDULES["forward passes alone"].backward == 0


def test_a_graded_input_multiplies():
    counted = Cost(forwards=1, synaptic_operations=1000)
    assert learning(counted, 1000, 0).forward == pytest.approx(1000 * NEUROMC.mac)


def test_a_run_of_the_trainer_fills_the_bill():
    """A spiking net: its graded input multiplies, its spikes accumulate, and silent ones are not paid for."""
    trainer = Trainer(build((8,), 4, (12,), seed=0), make("bptt"), health=Health(every=2))
    bill = Bill()
    for step in range(4):
        told = trainer.step((X.expand(5, B, 8) * 5, Y))
        assert bool(told.work) == (step % 2 == 0)
        bill.add(told)
    facts = bill.facts()
    assert facts["effective_multiplications"] == 4 * 5 * B * 8 * 12
    assert 0 < facts["effective_accumulations"] < 4 * 5 * B * 12 * 4
    assert facts["state_bytes"] > 5 * B * 12 * 4
    assert facts["energy_nanojoules"] > 0


@pytest.mark.parametrize(
    ("plasticity", "bits", "nonzero"),
    [
        (Adam(), 32 * (96 + 12 + 48 + 4), 160),
        (Levels(bits=4, ends=True), 4 * 96 + 32 * 12 + 4 * 48 + 32 * 4 + 32 * 16, 160),
        (Sign(ends=True), 96 + 32 * 12 + 48 + 32 * 4 + 32 * 16, 160),
        (Magnitude(0.75, ends=True), 32 * 160, 36 + 16),
    ],
    ids=["adam", "levels", "sign", "magnitude"],
)
def test_the_size_of_a_model(plasticity, bits, nonzero):
    """8-12-4 with biases: a scale for each output, biases in full; zeros take their bits."""
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    optimizer = plasticity([*model.named_parameters()] if isinstance(plasticity, Projected) else model.parameters())
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    bill = Bill()
    bill.size(model, optimizer)
    assert (bill.model_bits, bill.nonzero_parameters) == (bits, nonzero)
    again = Bill()
    again.load_state_dict(bill.state_dict())
    assert again.facts() == bill.facts()


def test_bytes_between_processes_are_counted(monkeypatch):
    """Two processes, one of them silent: what is passed to `torch.distributed` is what is counted."""
    monkeypatch.setattr(gathering, "processes", lambda: 2)
    monkeypatch.setattr(gathering, "rank", lambda: 0)
    monkeypatch.setattr(gathering.dist, "all_reduce", lambda x, group: None)
    monkeypatch.setattr(gathering.dist, "all_gather", lambda parts, x, group: [part.copy_(x) for part in parts])
    with gathering.Traffic() as traffic:
        gathering.summed(torch.zeros(10, dtype=torch.float64))
        assert traffic.bytes == 80
        x = torch.zeros(6, 5, requires_grad=True)
        gathering.gathered(x).sum().backward()
    assert traffic.bytes == 80 + 8 + 6 * 5 * 4 + 2 * 6 * 5 * 4  # a size, the rows, and the errors of all rows
    gathering.summed(torch.zeros(10))
    assert traffic.bytes == 80 + 8 + 6 * 5 * 4 + 2 * 6 * 5 * 4


def test_alone_nothing_is_communicated():
    assert cost_of("spsa").bytes_communicated == 0
