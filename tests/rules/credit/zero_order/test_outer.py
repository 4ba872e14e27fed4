"""Rules that form gradients as outer products refuse modules for which that is not the gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rules
from rules import Trainer
from rules.credit.zero_order import HZO, NodePerturbation
from rules.models.admission import UnfitModel
from sandbox import build

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")
X = torch.rand(16, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 3
WANTED = r"forms the gradient of .*weight.* autograd finds another one.*rules\.make\(\"spsa\"\)"


class Masked(nn.Linear):
    def __init__(self, a, b):
        super().__init__(a, b)
        self.register_buffer("mask", torch.arange(a * b).reshape(b, a) % 2.0)

    def forward(self, x):
        return F.linear(x, self.mask * self.weight, self.bias)


class Scaled(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight * 0.25, self.bias)


class Standardised(nn.Conv1d):
    def forward(self, x):
        w = self.weight
        return F.conv1d(x, (w - w.mean((1, 2), keepdim=True)) / w.std((1, 2), keepdim=True), self.bias)


class Same(nn.Linear):
    """A subclass that computes what it should."""

    def forward(self, x):
        return x @ self.weight.T + self.bias


class Tied(nn.Module):
    """An autoencoder's weight, used by a module and by a function."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 8), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(F.linear(torch.tanh(self.inner(x)), self.inner.weight.t()))


def stack(kind):
    return nn.Sequential(kind(4, 8), nn.Tanh(), nn.Linear(8, 3))


def hooked(before=False):
    model = stack(nn.Linear)
    if before:
        model[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    else:
        model[0].register_forward_hook(lambda module, inputs, z: z * 3)
    return model


def convolutional():
    return nn.Sequential(nn.Unflatten(1, (1, 4)), Standardised(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3))


WRONG = {
    "masked": lambda: stack(Masked),
    "scaled": lambda: stack(Scaled),
    "standardised": convolutional,
    "a hook behind": hooked,
    "a hook before": lambda: hooked(before=True),
}


@pytest.mark.parametrize("rule", ["hzo", "layerwise_zo", "sequential_local", "node_perturbation"])
@pytest.mark.parametrize("model", WRONG.values(), ids=WRONG)
def test_what_is_not_a_plain_product_is_refused(model, rule):
    model = model()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(UnfitModel, match=WANTED):
        Trainer(model, rule).step((X, Y))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_weight_that_is_used_twice_is_refused():
    with pytest.raises(UnfitModel, match=r"gradient of inner\.weight"):
        Trainer(Tied(), "node_perturbation").step((X, Y))


RIGHT = {
    "a subclass": lambda: stack(Same),
    "a hook that looks": lambda: looked_at(stack(nn.Linear)),
    "recurrent": lambda: build((4,), 3, hidden=("6r",)),
}


def looked_at(model):
    model[0].register_forward_hook(lambda module, inputs, z: None)
    return model


@pytest.mark.parametrize("rule", ["hzo", "node_perturbation"])
@pytest.mark.parametrize("model", RIGHT.values(), ids=RIGHT)
def test_what_is_one_is_admitted(model, rule):
    model = model()
    x = X.expand(5, 16, 4) if hasattr(model, "shape") else X
    before = [p.detach().clone() for p in model.parameters()]
    assert Trainer(model, rule).step((x, Y)).step == 1
    assert not all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_what_changes_an_output_in_place_does_not_deceive_the_comparison():
    trainer = Trainer(nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)), "node_perturbation")
    assert trainer.step((X, Y)).step == 1


def test_without_questions_nothing_is_compared():
    for credit in (HZO(), NodePerturbation()):
        rule = rules.LearningRule(rules.OBJECTIVES["ce_mean"](), credit, rules.make("spsa").plasticity)
        trainer = Trainer(stack(Scaled), rule, confirm=False)
        assert trainer.step((X, Y)).step == 1
        assert trainer.answers is None
