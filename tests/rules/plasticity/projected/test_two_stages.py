"""Two stages of one model: full precision with a teacher, then signs of the same weights without weight decay."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import rules
from rules.objectives import SelfEnsemble
from rules.plasticity import Adam, Sign
from sandbox.networks.models import ms_resnet
from sandbox.networks.parts import Stack, Stateless

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")

T, B, SHAPE, LR = 2, 12, (1, 8, 8), 0.02


def samples(seed):
    """Images of three classes, each with noise of its own, at every step."""
    y = torch.arange(B) % 3
    patterns = torch.rand(3, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = torch.rand(B, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    return (patterns[y] + 0.3 * noise).expand(T, B, *SHAPE), y


LOADER = [samples(seed) for seed in range(3)]


def ann():
    """A convolutional network of rectified units, the same at every step."""
    torch.manual_seed(1)
    parts = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 3)]
    return Stack([Stateless(nn.Sequential(*parts))], SHAPE).double()


@pytest.fixture(name="stages")
def _stages():
    """A teacher that has learned, the model after the first stage, and the rule of the second."""
    teacher = ann()
    trainer = rules.Trainer(teacher, rules.make("bptt", lr=0.01))
    list(trainer.fit(LOADER, 4))
    assert trainer.evaluate(LOADER)["accuracy"] == 1.0
    model, taught = ms_resnet(SHAPE, 3, around="each").double(), SelfEnsemble(lam=0.5, temperature=2.0, teacher=teacher)
    first = rules.Trainer(model, rules.LearningRule(taught, rules.BPTT(), Adam(lr=LR, weight_decay=1e-3)))
    list(first.fit(LOADER, 2))
    return teacher, model, rules.LearningRule(taught, rules.BPTT(), Sign(lr=LR))


def test_the_second_stage_starts_from_the_weights_of_the_first(stages):
    """They are the latent ones; shown are their signs times the mean magnitude of a channel, but for both ends."""
    _, model, rule = stages
    before = copy.deepcopy(model.state_dict())
    trainer = rules.Trainer(model, rule)
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    *_, last = weights
    inside = {name: p for name, p in weights.items() if name != last and not name.startswith("parts.0.")}
    assert len(inside) == 6  # four convolutions of 3 x 3, two shortcuts that change the shape
    for name, p in inside.items():
        latent = before.pop(name)
        alpha = latent.abs().mean((1, 2, 3), keepdim=True)
        assert torch.equal(trainer.optimizer.held(p), latent)
        assert torch.equal(p.detach(), alpha * torch.where(latent >= 0, 1.0, -1.0).double())
    now = model.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.items())  # running statistics, too


def test_the_second_stage_is_adam_on_latent_weights_without_decay(stages):
    """Three updates written out, with torch's own Adam; in float64 up to the order of summation."""
    teacher, model, rule = stages
    twin = copy.deepcopy(model).train()
    latent = {name: p.detach().clone().requires_grad_() for name, p in twin.named_parameters()}
    matrices = [name for name, p in latent.items() if p.ndim > 1]
    binary = set(matrices[1:-1])
    optimizer = torch.optim.Adam(latent.values(), lr=LR)
    learned = [p.detach().clone() for p in teacher.parameters()]
    trainer = rules.Trainer(model, rule)
    for x, y in LOADER:
        trainer.step((x, y))
        shown = {
            name: (p.abs().mean((1, 2, 3), keepdim=True) * p.sign()).detach() + p - p.detach() if name in binary else p
            for name, p in latent.items()
        }
        output = functional_call(twin, shown, (x,)).output
        with torch.no_grad():
            said = torch.softmax(teacher.eval()(x).output.mean(0) / 2, -1)
        drawn = sum(F.kl_div(torch.log_softmax(o / 2, -1), said, reduction="batchmean") for o in output) / T
        optimizer.zero_grad()
        (0.5 * F.cross_entropy(output.mean(0), y) + 0.5 * 4 * drawn).backward()
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.allclose(trainer.optimizer.held(p) if name in binary else p, latent[name], rtol=0, atol=1e-9), name
    assert all(torch.equal(a, b) for a, b in zip(learned, teacher.parameters()))


def test_the_model_of_one_bit_has_learned(stages):
    _, model, rule = stages
    trainer = rules.Trainer(model, rule)
    before = trainer.evaluate(LOADER)["loss"]
    list(trainer.fit(LOADER, 10))
    assert trainer.evaluate(LOADER)["loss"] < 0.7 * before
    assert {len(row.unique()) for p in trainer.optimizer.state for row in p.flatten(1)} == {2}
