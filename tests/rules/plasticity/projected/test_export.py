"""Exports: plain models of the shown weights, equal bit for bit, and their size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rules.plasticity import Levels, Magnitude
from rules.plasticity.projected import exported, model_size
from tests.rules.plasticity.projected.small import FOUR, batches, net, trainer


@pytest.mark.parametrize("name", FOUR)
def test_an_exported_model_puts_out_the_same_bits(name):
    made = trainer(replace(FOUR[name], ends=True))
    *learned, (x, _) = batches(13)
    for batch in learned:
        made.step(batch)
    plain = exported(made.model, made.optimizer)
    assert torch.equal(plain(x), made.model(x))
    assert {type(p) for p in plain.parameters()} == {nn.Parameter}
    made.step(learned[0])
    assert not torch.equal(plain(x), made.model(x))


def test_an_exported_model_is_projected_where_weights_were_loaded_and_refused_where_they_were_written_later():
    made = trainer(Levels(bits=2))
    other = trainer(Levels(bits=2), model=net(seed=4)).model
    made.model.load_state_dict(net(seed=4).state_dict())
    assert torch.equal(exported(made.model, made.optimizer)[2].weight, other[2].weight)
    made.step(next(batches(1)))
    with torch.no_grad():
        made.model[2].weight.fill_(9.0)
    for act in (exported, model_size):
        with pytest.raises(ValueError, match="2.weight: changed by somebody else"):
            act(made.model, made.optimizer)


@pytest.mark.parametrize("act", [exported, model_size])
def test_an_optimizer_that_projects_nothing_of_a_model_is_refused(act):
    model = net()
    with pytest.raises(ValueError, match="SGD projects no weights: give the optimizer of a projected plasticity"):
        act(model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(ValueError, match="none of the weights .* belong to the Sequential: give the model that it"):
        act(model, Levels()(net().parameters()))


def test_the_size_is_quantised_weights_scales_and_the_rest():
    model = net()  # 6-12-12-3
    full = 32 * (6 * 12 + 12 + 12 * 12 + 12 + 12 * 3 + 3)
    size = model_size(model, Levels(bits=4)(model.parameters()))
    assert size.full == full
    assert size.bits == full - 144 * 32 + 144 * 4 + 12 * 32


@pytest.mark.parametrize(
    ("per", "scale", "scales"), [("channel", "mean", 12), ("layer", "max", 1), ("channel", "none", 0)]
)
def test_scales_are_counted(per, scale, scales):
    model = net()
    size = model_size(model, Levels(bits=8, per=per, scale=scale)(model.parameters()))
    assert size.bits == size.full - 144 * 24 + 32 * scales


def test_weights_that_are_zero_are_counted_apart():
    model = net()
    size = model_size(model, Magnitude(0.75)(model.parameters()))
    assert size.bits == size.full
    assert (size.weights, size.nonzero) == (252, 63)
