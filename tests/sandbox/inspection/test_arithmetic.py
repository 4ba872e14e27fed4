"""Operators inside of attention: found by kind where they are, and none where there are none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules import Batch
from rules.synapses import Product
from sandbox import make_model
from sandbox.inspection import arithmetic, inspect
from sandbox.networks.language import Size
from sandbox.networks.models.bispikclm import bispikclm
from sandbox.networks.models.transformer import transformer
from sandbox.networks.models.winner_take_all import wd_spikingformer

SMALL = Size(1, 16, 2, 2, 16)
TEXT = Batch(torch.randint(11, (8, 3), generator=torch.Generator().manual_seed(0)))


class Attention(nn.Module):
    """Attention that does one thing more to a product of bits."""

    def __init__(self, does):
        super().__init__()
        self.does = does
        self.product, self.norm = Product(), nn.LayerNorm(4)

    def forward(self, x):
        return self.does(self, self.product(x, x.mT))


BITS = Batch((torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float())


@pytest.mark.parametrize(
    ("does", "found"),
    [
        (lambda self, s: s, {}),
        (lambda self, s: s * 0.25, {}),
        (lambda self, s: s * torch.ones(4, 4, dtype=torch.bool).tril(), {}),
        (lambda self, s: s * 0.3, {"multiplications": ("mul",)}),
        (lambda self, s: s / 2, {"divisions": ("div",)}),
        (lambda self, s: s.clone().div_(3), {"divisions": ("div",)}),
        (lambda self, s: s.softmax(-1), {"exponentials": ("_softmax",)}),
        (lambda self, s: s.exp(), {"exponentials": ("exp",)}),
        (lambda self, s: self.norm(s), {"divisions": ("native_layer_norm",)}),
        (lambda self, s: s.mean(-1), {"divisions": ("mean",)}),
        (lambda self, s: s @ (s + s), {}),
        (lambda self, s: s @ s.cos(), {"multiplications": ("bmm",)}),
    ],
)
def test_each_kind_is_found(does, found):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(does)

        def forward(self, x):
            return self.attention(x).flatten(2).exp()  # outside of attention

    (seen,) = arithmetic(Model(), BITS)
    assert (seen.module, seen.found) == ("attention", found)


@pytest.mark.parametrize("form", ["bits", "integers"])
def test_softmax_free_attention_divides_and_multiplies_nothing(form):
    (found,) = arithmetic(bispikclm((), 11, SMALL, form=form), TEXT)
    assert found.module == "blocks.0.attention"
    assert not found.found
    assert str(found).endswith("no exponential, no division, no multiplication of numbers")


def test_other_attention_does():
    (numbers,) = arithmetic(transformer((), 11, SMALL), TEXT)
    assert {*numbers.found} == {"exponentials", "divisions", "multiplications"}
    (winners,) = arithmetic(wd_spikingformer((), 11, SMALL), TEXT)
    assert winners.found == {"divisions": ("native_layer_norm",)}  # that of each query, key and value


def test_parts_that_are_run_and_not_called_are_seen():
    model = make_model("spikformer").eval()
    found = arithmetic(model, Batch(torch.rand(2, 2, 1, 8, 8)))
    assert len(found) == 2
    assert not any("run" in vars(part) for part in model.modules())


def test_an_inspection_prints_it():
    shown = inspect(bispikclm((), 11, SMALL), TEXT)
    assert "arithmetic of attention, outside of neurons and synapses\n  blocks.0.attention: bits and" in str(shown)
    assert shown.facts()["attention"] == [{"module": "blocks.0.attention"}]
    assert f"mean of its 8 steps, or tokens: {shown.papers / 8 * 1e-6:.4g} uJ by the papers' formula" in str(shown)
    assert shown.facts()["ours_picojoules_of_a_step"] == shown.ours / 8
