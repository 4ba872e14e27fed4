"""What an online rule refuses of a batch and of a model, in words."""

from __future__ import annotations

import pytest
import torch

import rules
from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.online import Online
from rules.models.admission import UnfitModel
from sandbox.neurons import LIF, learnable
from tests.rules.credit.online.nets import LOSS, assigned, batch, net


class Rounding(torch.nn.Module):
    """A model that turns its input into floating point before its layers see it."""

    def __init__(self, inner):
        super().__init__()
        self.layers, self.shape, self.offers = inner.layers, inner.shape, inner.offers
        self.inner = inner

    def forward(self, x, carry=None, record=False):
        return self.inner(x.double(), carry, record)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (
            torch.rand(20, 3, 5),
            ValueError,
            r"input has shape \(20, 3, 5\); this network wants \[T, B, 4\], time first",
        ),
        (torch.rand(3, 4), ValueError, r"input has shape \(3, 4\); this network wants \[T, B, 4\], time first"),
        (torch.ones(20, 3, 4, dtype=torch.int64), TypeError, r"dtype torch.int64; .*floating point: x.float\(\)"),
    ],
    ids=["width", "time", "whole numbers"],
)
@pytest.mark.parametrize("rule", ["eprop", "rtrl", "ottt", "three_factor"])
def test_an_input_that_the_model_refuses_in_its_words(rule, x, error, words):
    with pytest.raises(error, match=words):
        rules.Trainer(net(LIF(), (6,)), rule).step((x, torch.tensor([0, 1, 2])))


def test_an_input_that_a_model_would_take_and_its_layers_not():
    model = Rounding(net(LIF(), (6,)))
    with pytest.raises(ValueError, match=r"input has shape \(20, 3, 4\) and dtype torch.int64; .*\[T, B, 4\]"):
        assigned(Online(), model, batch()._replace(x=torch.ones(20, 3, 4, dtype=torch.int64)))


@pytest.mark.parametrize("lengths", [None, [3, 3, 3]])
def test_a_batch_of_which_nothing_is_asked(lengths):
    targets = torch.full((20, 3), -100)
    targets[5:] = -100 if lengths is None else 1
    given = Batch(batch().x, targets=targets, lengths=None if lengths is None else torch.tensor(lengths))
    for rule in ("eprop", "tet"):
        with pytest.raises(ValueError, match="every label of the batch is -100, .* there is nothing to learn from"):
            rules.Trainer(net(LIF(), (6,)), rule).step(given)


def test_constants_of_cells_that_are_to_be_learned():
    """Unless they are declared fixed, or another credit of a partition trains them."""
    name = "layers.0.cells.learned.raw.tau_mem"
    model, given = net(LIF(tau_mem=learnable(5.0)), (6,)), batch()
    with pytest.raises(UnfitModel, match=rf"{name} of Network would stay.*rules.make\('bptt'\) .*get_parameter"):
        rules.Trainer(model, "eprop").step(given)
    parts = ((Online(), ("*synapse*",)), (BPTT(), ("*raw*",)))
    rules.Trainer(model, rules.LearningRule(LOSS, rules.Partition(parts), rules.make("bptt").plasticity)).step(given)
    assert model.get_parameter(name).item() != 0
    model.get_parameter(name).requires_grad_(False)
    rules.Trainer(model, "eprop").step(given)
