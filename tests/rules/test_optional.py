"""Names that a model has by accident are not taken for ours."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from rules import optional
from rules.optional import takes


def net(**attributes):
    """A Sequential with attributes of its own."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


class Shop(nn.Sequential):
    """Reads, runs and offers, in senses of its own."""

    offers = 3
    keywords = "sale"
    shape = "round"

    def read(self, path, lines=1):
        raise AssertionError(path)

    def find_layers(self, depth, width):
        raise AssertionError(depth)


class Runner(nn.Linear):
    def run(self, miles):
        raise AssertionError(miles)


class Carrier(nn.Module):
    """Its carry is a weight, and its record a name."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 2)

    def forward(self, x, carry=1.5, record="best"):
        return carry * self.line(x)


@pytest.mark.parametrize("rule", ["bptt", "hzo", "spsa", "node_perturbation", "tcl", "readout_only"])
def test_a_model_with_such_names_trains(rule):
    x, y = torch.rand(6, 3), torch.arange(6) % 2
    for model in (Shop(Runner(3, 4), nn.Tanh(), nn.Linear(4, 2)), net(offers=["apples"]), net(keywords=4)):
        assert rules.Trainer(model, rule).step((x, y)).step == 1


def test_an_argument_of_another_meaning_is_left_alone():
    assert not takes(Carrier(), "carry")
    assert not takes(Carrier(), "record")
    rules.Trainer(Carrier(), "bptt").step((torch.rand(6, 3), torch.arange(6) % 2))


def test_ours_are_still_taken():
    class Ours(nn.Module):
        offers = ("gradient", "layers")
        shape = (3,)
        keywords = frozenset({"record"})

        def read(self, signal, generator):
            return signal

        def run(self, x, carry, record):
            return x

        def forward(self, x, carry=None):
            return x

    model = Ours()
    assert optional.offers(model) == {"gradient", "features", "layers"}
    assert optional.shape_of(model) == (3,)
    assert optional.keywords_of(model) == {"record"}
    assert optional.reader_of(model) == model.read
    assert optional.recorder_of(model) == model.run


@pytest.mark.parametrize("said", [3, "gradient", ["apples"], {"gradient", "apples"}, [1]])
def test_what_is_no_need_is_not_offered(said):
    assert optional.offers(net(offers=said)) == {"gradient", "features", "layers", "chain"}
