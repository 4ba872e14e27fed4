"""Which parameters are projected: by dimension, by place, by name."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import rules
from rules.plasticity import Levels, Magnitude, Sign, SoftThreshold
from tests.rules.plasticity.projected.small import batches, net, trainer, weight


def projected(made):
    return [name for name, p in made.parameters.items() if p in made.optimizer.state]


def test_ends_stay_in_full_precision_where_the_sources_say_so():
    assert projected(trainer(SoftThreshold(mu=0.1))) == ["0.weight", "2.weight", "4.weight"]
    assert projected(trainer(Magnitude())) == ["0.weight", "2.weight", "4.weight"]
    assert projected(trainer(Levels())) == ["2.weight"]
    assert projected(trainer(Sign())) == ["2.weight"]
    assert projected(trainer(Sign(ends=True))) == ["0.weight", "2.weight", "4.weight"]
    assert projected(trainer(SoftThreshold(mu=0.1, ends=False))) == ["2.weight"]


def test_kernels_are_projected_and_norms_are_not():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    optimizer = Sign(ends=True)(model.parameters())
    assert [p in optimizer.state for p in model.parameters()] == [True, False, False, False, True, False]
    assert len(model[0].weight[0].unique()) == 2


def test_names_and_patterns_stay_as_they_are():
    assert projected(trainer(Sign(ends=True, keep=["0.*", "4.weight"]))) == ["2.weight"]
    optimizer = Sign(ends=True, keep=["2.*"])(net().named_parameters())
    assert len(optimizer.state) == 2


def test_parameters_of_an_objective_stay_as_they_are():
    layers = [("0.weight", weight(3, 3)), ("1.weight", weight(3, 3)), ("objective.head.weight", weight(3, 3))]
    assert [p in Sign(ends=True)(layers).state for _, p in layers] == [True, True, False]


def test_a_single_matrix_is_neither_the_first_nor_the_last():
    assert len(Levels()([weight(3, 3)]).state) == 1


def test_a_rule_of_a_part_of_the_model_projects_that_part():
    assert projected(trainer(Sign(), "readout_only")) == ["4.weight"]


def test_groups_and_pairs_are_taken_as_torch_takes_them():
    a, b = weight(3, 3), weight(3, 3, seed=1)
    optimizer = Sign(ends=True, keep=["a"])([{"params": [("a", a)], "lr": 0.5}, {"params": [("b", b)]}])
    assert [p in optimizer.state for p in (a, b)] == [False, True]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 1e-3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trainer(Sign(keep=["hidden.*"])), "unknown parameter in keep 'hidden.*'"),
        (lambda: trainer(Sign(keep=["2.weihgt"])), "nearest: '2.weight'"),
        (lambda: Sign(keep=["a"])([weight(3, 3)]), "keep=['a'] with parameters that have no names: give pairs"),
        (lambda: trainer(Sign(keep=["*"])), "keep=['*'] leaves nothing to project"),
        (lambda: Sign()([weight(3, 3), weight(2, 3)]), "ends=False leaves nothing to project: the model has two"),
        (lambda: Sign()([nn.Parameter(torch.ones(3))]), "no parameter has two dimensions or more"),
        (lambda: Sign()([]), "optimizer got an empty parameter list"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_other_plasticities_are_called_as_before():
    seen = []

    def plasticity(parameters):
        held = list(parameters)
        seen.extend(held)
        return torch.optim.SGD(held, 0.1)

    made = trainer(plasticity)
    made.step(next(batches(1)))
    assert all(isinstance(p, nn.Parameter) for p in seen)


def test_lazy_models_are_projected_at_their_first_batch():
    model = nn.Sequential(nn.LazyLinear(12), nn.Tanh(), nn.Linear(12, 3))
    made = rules.Trainer(model, rules.compose("ce_mean", "bptt", "sign", plasticity_options={"ends": True}))
    made.step(next(batches(1)))
    assert projected(made) == ["0.weight", "2.weight"]


@pytest.mark.parametrize("kind", ["frozen", "tied"])
def test_the_first_and_the_last_are_those_of_the_model(kind):
    """Whether they learn, or are shared: of four matrices the two in the middle are projected."""
    layers = [nn.Linear(4, 4) for _ in range(4)]
    if kind == "tied":
        layers[3].weight = layers[0].weight
    model = nn.Sequential(*layers)
    if kind == "frozen":
        layers[0].weight.requires_grad_(False)
    made = rules.Trainer(model, rules.compose("ce_mean", "bptt", "sign"))
    made.step((torch.rand(5, 4), torch.tensor([0, 1, 2, 3, 0])))
    held = {id(p) for p in made.optimizer.state if "latent" in made.optimizer.state[p]}
    assert [name for name, p in model.named_parameters() if id(p) in held] == ["1.weight", "2.weight"]
