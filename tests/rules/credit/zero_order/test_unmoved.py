"""What a rule of weights and biases leaves as it is: said once, and never in the name of another cause."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import rules
from rules.synapses import synapses, synaptic_parameters

X, Y = torch.rand(5, 6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


class Attending(nn.Module):
    """Attention, whose weights no call shows, between two layers."""

    def __init__(self):
        super().__init__()
        self.inside, self.attention, self.head = nn.Linear(4, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        h = self.inside(x)
        return self.head(h + self.attention(h, h, h)[0])


def said(model, rule, steps=3):
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        trainer = rules.Trainer(model, rule)
        for _ in range(steps):
            trainer.step((X, Y))
    return trainer, [str(each.message) for each in found if issubclass(each.category, rules.HealthWarning)]


def test_a_weight_that_its_parent_uses_itself_is_no_synapse():
    model = Attending()
    assert list(synapses(model)) == ["inside", "head"]
    assert list(synaptic_parameters(model)) == ["inside.weight", "inside.bias", "head.weight", "head.bias"]
    encoder = nn.TransformerEncoderLayer(8, 2, 16)
    assert list(synapses(encoder)) == ["linear1", "linear2"]


def test_attention_is_named_once_and_not_as_without_credit():
    model = Attending()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer, found = said(model, "node_perturbation")
    assert [each for each in found if "NodePerturbation moves the weights and biases" in each] == found[:1] == found
    assert (
        "leaves attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out" in found[0]
    )
    assert 'rules.make("spsa")' in found[0]
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(trainer.parameters) == set(synaptic_parameters(model))


@pytest.mark.parametrize("rule", ["hzo", "layerwise_zo", "sequential_local"])
def test_layered_rules_name_what_they_leave(rule):
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
    _, found = said(model, rule)
    left = [each for each in found if "leaves 1.weight, 1.bias of Sequential as they are" in each]
    assert len(left) == 1


def test_what_moves_everything_or_is_frozen_says_nothing():
    norm = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    assert not said(norm, "spsa")[1]
    norm[1].requires_grad_(False)
    assert not any("as they are" in each for each in said(norm, "node_perturbation")[1])
    only = rules.make("node_perturbation")
    only = rules.LearningRule(only.objective, rules.Restricted(only.credit, only=("inside.*",)), only.plasticity)
    assert not any("as they are" in each for each in said(Attending(), only, 0)[1])


def test_the_product_of_an_attention_is_counted():
    """Three projections in, one out, and two products: as many multiply-accumulates as in the closed form."""
    model = Attending()
    credit = rules.BPTT().assign(model, rules.make("bptt").objective, rules.Batch(X, Y), (), torch.Generator())
    steps, samples, width = 5, 6, 8
    weights = steps * samples * (4 * width + 4 * width * width + width * 3)
    products = 2 * samples * steps * steps * width
    assert credit.cost.synaptic_operations == weights + products
