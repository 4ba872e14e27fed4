"""What cannot be probed is refused, with the name of the stage and what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rules.check import toy
from rules.contract import Batch, MissingNeed
from rules.credit.zero_order import HZO, orthogonal_
from rules.diagnostics.nonfinite import NonFinite
from rules.objectives import REGULARISERS
from rules.trainer import Trainer
from tests.rules.credit.zero_order.nets import assign, dice, drawn, inputs, mlp


def around(stage):
    """A model with this stage in the middle."""
    return drawn(nn.Sequential(nn.Linear(3, 4), stage, nn.Linear(4, 2)))


class Stage(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def squared_in_place(x):
    x.numpy()[...] **= 2  # torch does not see it
    return x


def only_small(x):
    if len(x) > 5:
        raise MemoryError("the chip has five inputs")
    return x


STAGES = {
    "train-mode batch norm": (
        nn.BatchNorm1d(4),
        ValueError,
        r"1 is batch normalisation in training mode, .* couples the samples.*nn.GroupNorm or nn.LayerNorm",
    ),
    "dropout": (nn.Dropout(0.5), ValueError, r"1 is dropout in training mode, .* fixed mask"),
    "in place": (nn.ReLU(inplace=True), ValueError, r"stage '1' \(ReLU\) changes its input in place, .*inplace=False"),
    "in place, out of sight": (Stage(squared_in_place), ValueError, r"stage '1' \(Stage\) changes its input in place"),
    "raises": (
        Stage(lambda x: 1 / 0),
        RuntimeError,
        r"stage '1' \(Stage\) raised ZeroDivisionError on an input of shape \(5, 4\): division by zero",
    ),
    "raises when probed": (
        Stage(only_small),
        RuntimeError,
        r"stage '1' \(Stage\) raised MemoryError .*the chip has five inputs",
    ),
    "no tensor": (
        Stage(lambda x: x.numpy()),
        TypeError,
        r"stage '1' \(Stage\) returned ndarray; a stage must return one tensor",
    ),
    "loses the batch": (
        Stage(lambda x: x.mean(0, keepdim=True)),
        ValueError,
        r"stage '1' \(Stage\) turns \(5, 4\) into \(1, 4\): \(5,\), time and batch, must stay in front",
    ),
    "wrong shape when probed": (
        Stage(lambda x: x[:5]),
        ValueError,
        r"stage '1' \(Stage\) gave shape \(5, 4\) for \d+ samples where .* treat each sample alone",
    ),
    "NaN in a probe": (
        Stage(lambda x: torch.where(torch.arange(len(x))[:, None] < 5, x, np.nan)),
        NonFinite,
        r"a probe of 1..2 gave a NaN or an infinity; lower step",
    ),
}


@pytest.mark.parametrize(("stage", "kind", "message"), STAGES.values(), ids=STAGES)
def test_stages(stage, kind, message):
    with pytest.raises(kind, match=message):
        assign(HZO(), around(stage), inputs(5, 3))


def test_frozen_norms_and_dropout_are_welcome():
    for stage in (nn.BatchNorm1d(4), nn.Dropout(0.5)):
        assert assign(HZO(), around(stage).eval(), inputs(5, 3)).grads
    assert assign(HZO(), around(nn.Dropout(0.0)), inputs(5, 3)).grads


def test_a_model_without_stages():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(MissingNeed, match="let rules.adapt\\(model\\) find its layers, or give it `layers`"):
        assign(HZO(), Plain().double(), inputs(5, 3))
    with pytest.raises(ValueError, match="Sequential has no nn.Linear or convolution among its layers"):
        assign(HZO(), nn.Sequential(nn.Tanh()), inputs(5, 3))


def test_layers_that_are_not_the_model():
    class Doubling(nn.Module):
        offers = frozenset({"layers"})

        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)])

        def forward(self, x):
            for layer in self.layers:
                x = 2 * layer(x)
            return x

    with pytest.raises(
        ValueError, match="the layers of Doubling, one after the other, give .* `layers` must contain every operation"
    ):
        assign(HZO(), drawn(Doubling()), inputs(5, 3))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, "1.2e-07"), (torch.float64, "2.2e-16")])
def test_a_step_that_vanishes(dtype, bound):
    """The bound is that of the precision times the largest signal over the rms; here all signals are alike."""
    model = mlp([3, 4, 2]).to(dtype)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(1.0)
    with pytest.raises(ValueError, match=rf"step=1e-20: in 1..2 such a step vanishes in {dtype} .* more than {bound}"):
        assign(HZO(step=1e-20), model, inputs(5, 3).to(dtype))


def test_memory_for_less_than_one_probe():
    with pytest.raises(
        ValueError, match=r"memory=100 bytes hold no probe of 1..2: one takes about [\d,]+ bytes; raise"
    ):
        assign(HZO(memory=100), mlp([3, 4, 2]), inputs(5, 3))


def test_objectives_that_look_inside():
    with pytest.raises(
        ValueError, match=r"RateL1.* depends on hidden layers, but HZO knows only the error at the output"
    ):
        assign(HZO(), mlp([3, 4, 2]), inputs(5, 3), objective=REGULARISERS["rate_l1"]())


def test_a_carry():
    batch = Batch(inputs(4, 5, 3), None, (torch.zeros(5),))
    with pytest.raises(ValueError, match="HZO runs parts of a model from rest: give it whole sequences and no carry"):
        HZO().assign(mlp([3, 4, 2]), toy.Quadratic(), batch, False, dice())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diff": "centre"}, "unknown diff 'centre'; nearest: 'central'"),
        ({"probes": "bases"}, "unknown probes 'bases'; nearest: 'basis'"),
        ({"cut": "behind"}, "unknown cut 'behind'; valid: pre, post"),
        ({"times": "all"}, "unknown times 'all'; .*valid: each, shared"),
        ({"q": 0}, "q=0: give a whole number, at least 1"),
        ({"repeats": 0}, "repeats=0: give a whole number"),
        ({"step": 0.0}, "step=0.0: give a step above 0"),
        ({"branching": 1}, "branching=1: a segment is cut into at least 2 parts"),
        ({"min_segment": 0}, "min_segment=0: give a number of layers"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ValueError, match=message):
        HZO(**options)


def test_weights_inside_a_block_that_lose_the_samples():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.a(x) + self.b(x.mean(0, keepdim=True))

    with pytest.raises(ValueError, match=r"a Linear inside a block gives shape \(1, 4\) for 1 steps of 5 samples"):
        assign(HZO(), around(Mixed()), inputs(5, 3))


def test_the_trainer_asks_before_the_first_step():
    from rules.objectives import OBJECTIVES
    from rules.plasticity import PLASTICITIES
    from rules.recipes import LearningRule

    rule = LearningRule(OBJECTIVES["ce_mean"](), HZO(), PLASTICITIES["sgd"](lr=0.1))
    with pytest.raises(MissingNeed, match="layers"):
        Trainer(nn.Linear(3, 2), rule)


def test_delta_orthogonal_wants_a_centre():
    with pytest.raises(ValueError, match="0 Conv2d.*: a delta-orthogonal weight needs an odd kernel"):
        orthogonal_(nn.Sequential(nn.Conv2d(1, 1, 2)), dice())
