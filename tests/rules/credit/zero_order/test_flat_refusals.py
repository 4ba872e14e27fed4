"""What flat rules refuse, each with what was given, what was wanted, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from rules.check import toy
from rules.contract import Batch, MissingNeed, Objective
from rules.credit.zero_order.flat.coordinate_wise import CoordinateWise
from rules.credit.zero_order.flat.evolution import EvolutionStrategy
from rules.credit.zero_order.flat.forward_gradient import ForwardGradient
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.flat.spsa import SPSA
from rules.diagnostics.nonfinite import NonFinite
from rules.objectives import OBJECTIVES, REGULARISERS
from rules.objectives.fitted import Fitted
from tests.rules.credit.zero_order.nets import assign, drawn, inputs, mlp

RULES = {rule.__name__: rule for rule in (SPSA, EvolutionStrategy, ForwardGradient, NodePerturbation, CoordinateWise)}


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (SPSA, {"draws": 0}, "draws=0: give a whole number, at least 1"),
        (SPSA, {"step": 0.0}, "step=0.0: give a number above 0"),
        (SPSA, {"step": float("nan")}, "step=nan: give a finite number"),
        (SPSA, {"diff": "centre"}, "unknown diff 'centre'; nearest: 'central'"),
        (SPSA, {"direction": "gaussian"}, "unknown direction 'gaussian'; .*valid: normal, rademacher"),
        (ForwardGradient, {"draws": -1}, "draws=-1: give a whole number"),
        (ForwardGradient, {"direction": "norma"}, "unknown direction 'norma'; nearest: 'normal'"),
        (NodePerturbation, {"draws": 0}, "draws=0: give a whole number"),
        (NodePerturbation, {"sigma": -0.1}, "sigma=-0.1: give a number above 0"),
        (
            CoordinateWise,
            {"sparsity": 1.0},
            "sparsity=1.0: give the share of weights that is left out, from 0 to below 1",
        ),
        (CoordinateWise, {"sparsity": -0.1}, "sparsity=-0.1: give the share"),
        (CoordinateWise, {"step": -1.0}, "step=-1.0: give a number above 0"),
        (CoordinateWise, {"diff": "forwards"}, "unknown diff 'forwards'; nearest: 'forward'"),
        (CoordinateWise, {"subset": "fix"}, "unknown subset 'fix'; nearest: 'fixed'"),
        (
            EvolutionStrategy,
            {"population": 7},
            r"population=7: antithetic pairs need an even number; give 8, or antithetic=False",
        ),
        (EvolutionStrategy, {"population": 1, "antithetic": False}, "population=1: give at least 2"),
        (EvolutionStrategy, {"population": 0}, "population=0: give at least 2"),
        (EvolutionStrategy, {"sigma": 0}, "sigma=0.0: give a number above 0"),
        (SPSA, {"relative": False}, "relative=False without step: absolute units have no default, so give step"),
        (EvolutionStrategy, {"relative": False}, "relative=False without sigma: absolute units have no default"),
        (NodePerturbation, {"relative": False}, "relative=False without sigma: absolute units have no default"),
        (CoordinateWise, {"relative": False}, "relative=False without step: absolute units have no default"),
        (EvolutionStrategy, {"shaping": "ranks"}, "unknown shaping 'ranks'; nearest: 'rank'"),
    ],
)
def test_impossible_settings(rule, options, message):
    with pytest.raises(ValueError, match=message):
        rule(**options)


def level(dtype):
    """A model whose weights, and signals on ones, are 1."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False)).to(dtype)
    nn.init.ones_(model[0].weight)
    return model


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, "1.2e-07"), (torch.float64, "2.2e-16")])
@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (SPSA(step=1e-20), "step=1e-20: such a step vanishes in {} beside weights of up to 1 in 0.weight"),
        (EvolutionStrategy(sigma=1e-20), "sigma=1e-20: such a step vanishes in {} beside weights of up to 1"),
        (CoordinateWise(step=1e-20), "step=1e-20: such a step vanishes in {} beside weights of up to 1"),
        (NodePerturbation(sigma=1e-20), "sigma=1e-20: such noise vanishes in {} beside signals of up to 1"),
    ],
)
def test_a_step_that_vanishes(rule, what, dtype, bound):
    with pytest.raises(ValueError, match=f"{what.format(dtype)}.*give more than {bound}"):
        assign(rule, level(dtype), torch.ones(2, 1, dtype=dtype))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            nn.BatchNorm1d(4),
            r"1 is batch normalisation in training mode, whose statistics every probe would change, .*\.eval",
        ),
        (nn.Dropout(0.5), "1 is dropout in training mode, which draws a new mask for every probe"),
    ],
)
def test_models_that_do_not_stand_still(rule, stage, message):
    model = drawn(nn.Sequential(nn.Linear(3, 4), stage, nn.Linear(4, 2))).train()
    with pytest.raises(ValueError, match=message):
        assign(rule(), model, inputs(5, 3))
    assert assign(rule(), model.eval(), inputs(5, 3)).grads


def test_all_normalisations_are_named_at_once():
    parts = [part for _ in range(6) for part in (nn.Linear(4, 4), nn.BatchNorm1d(4))]
    with pytest.raises(
        ValueError, match=r"1, 3, 5, 7 and 2 more are batch normalisation in training mode, .*put them all"
    ):
        assign(SPSA(), drawn(nn.Sequential(*parts)).train(), inputs(5, 4))


class Moody(nn.Module):
    """Gives NaN from its second pass on."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return x if self.passes == 1 else x * torch.nan


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (SPSA(), "probe 0 of 1 gave a loss of nan; lower step=0.01, the learning rate or the input scale"),
        (EvolutionStrategy(), "probe 0 of 8 gave a loss of nan; lower sigma=0.1"),
        (NodePerturbation(), "probe 0 of 8 gave a loss of nan; lower sigma=0.01"),
        (CoordinateWise(), "gave a loss of nan; lower step"),
        (ForwardGradient(draws=2), "probe 1 of 2 gave a loss of nan; lower the weights"),
    ],
)
def test_a_nan_in_a_probe(rule, message):
    model = drawn(nn.Sequential(nn.Linear(3, 4), Moody(), nn.Linear(4, 2)))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(NonFinite, match=message):
        assign(rule, model, inputs(5, 3))
    assert all(map(torch.equal, before, model.parameters()))


WITHIN = {"positives": "class_same_t", "negatives": "same_t_only"}  # a sample alone has no partner
COMPARING = {
    "contrast": (OBJECTIVES["temporal_contrast"](), "is not a mean over samples: alone they have"),
    "contrast within steps": (OBJECTIVES["temporal_contrast"](**WITHIN), "is not a mean over samples: alone they have"),
    "penalty on mean counts": (REGULARISERS["rate_penalty"](), "RatePenalty.* is not a mean over samples"),
}


@pytest.mark.parametrize(("objective", "message"), COMPARING.values(), ids=COMPARING)
def test_node_perturbation_wants_a_loss_of_each_sample(objective, message):
    batch = toy.batch()
    with pytest.raises(ValueError, match=f"(?s){message}.*use SPSA, or an objective that does not compare samples"):
        NodePerturbation().assign(toy.leaky(spiking=True), objective, batch, (), torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class OfOnes(Objective):
    """The mean output of samples of class 1: of a sample of class 0 alone a division by zero."""

    def __call__(self, run, batch):
        return run.output.mean(0).sum(1) @ batch.y.double() / batch.y.sum()


def test_node_perturbation_says_which_sample_has_no_loss_alone():
    batch = toy.batch()._replace(y=torch.tensor([1, 1, 0, 1, 0]))
    batch = batch._replace(x=batch.x[:, :5])
    message = "OfOnes.* for the batch, and nan for sample 2 alone; .*total / count.clamp.min=1., or use SPSA"
    with pytest.raises(ValueError, match=message):
        NodePerturbation(1).assign(toy.leaky(spiking=True), OfOnes(), batch, (), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [*OBJECTIVES, "rate_l1", "membrane"])
def test_means_over_samples_are_welcome(name):
    if "contrast" in name or name in ("bce_probabilities", "van_rossum", "assignment", "probe"):
        return  # compares samples, wants outputs of another kind, or teaches nothing
    objective, batch = {**OBJECTIVES, **REGULARISERS}[name](), toy.batch()
    if isinstance(objective, Fitted):
        batch = batch._replace(y=torch.nn.functional.one_hot(batch.y, 2).double())
    rng = torch.Generator().manual_seed(0)
    assert NodePerturbation(1).assign(toy.leaky(spiking=True), objective, batch, (), rng).grads


def test_node_perturbation_without_nodes():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 2))

        def forward(self, x):
            return x @ self.weight

    with pytest.raises(ValueError, match="Bare called no nn.Linear or convolution that learns: .* use SPSA"):
        assign(NodePerturbation(), Bare(), torch.ones(4, 3))


def test_a_model_that_vmap_cannot_run():
    class Outside(nn.Linear):
        def forward(self, x):
            return torch.from_numpy(x.detach().numpy() @ self.weight.detach().numpy().T)

    model = drawn(nn.Sequential(Outside(3, 2, bias=False)))
    with pytest.raises(
        RuntimeError, match=r"Sequential cannot be run as 6 copies at once .*CoordinateWise\(together=False\)"
    ):
        assign(CoordinateWise(), model, inputs(4, 3))
    for rule in (SPSA(), EvolutionStrategy(), NodePerturbation(), CoordinateWise(together=False)):
        assert assign(rule, model, inputs(4, 3)).grads["0.weight"].abs().sum() > 0


def test_memory_for_less_than_one_copy():
    with pytest.raises(ValueError, match=r"memory=100 bytes hold no copy: one takes about [\d,]+ bytes; raise memory"):
        assign(CoordinateWise(memory=100), mlp([3, 4, 2]), inputs(5, 3))


def test_a_forward_gradient_wants_a_gradient():
    model = toy.smooth(frozenset({"layers"}))
    with pytest.raises(MissingNeed, match="ForwardGradient.* needs what Static does not offer"):
        ForwardGradient().assign(model, toy.Quadratic(), Batch(toy.batch().x), (), torch.Generator())
