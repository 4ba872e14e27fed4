"""Health while learning: every problem is found where it is, reported once, and changes no weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rules import Health, NonFinite, Trainer, Unhealthy, make
from rules.contract import Cost, Credit, Objective
from rules.diagnostics.health import check_credit, rms
from rules.diagnostics.monitor import KINDS, Monitor, fingerprint
from rules.plasticity import SGD
from rules.plasticity.memristor import DEVICES, Direct, MemristorOptimizer
from sandbox import build

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")
EVERY = Health(every=1)


def data(seed=0, samples=16):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 4, generator=rng)
    return x, (x[:, 0] > 0).long()


@pytest.mark.parametrize("factor", [1e-38, 1e-30, 1e-22, 1.0, 1e22, 1e38])
def test_the_size_of_a_gradient_follows_its_scale(factor):
    """Squares of float32 underflow below 1e-19: such a gradient was said to be absent."""
    g = torch.randn(40, generator=torch.Generator().manual_seed(0)) / 4
    assert rms(g * factor) == pytest.approx(float(g.double().square().mean().sqrt()) * factor, rel=1e-6)  # float32
    assert rms(torch.full((1000,), 300.0, dtype=torch.float16)) == 300.0  # whose square float16 does not hold
    assert (rms(torch.zeros(3)), rms(torch.zeros(0))) == (0.0, 0.0)


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def told(trainer, steps, batch=None):
    """Return what each step reported, by kind and place."""
    return [{(f.kind, f.where) for f in trainer.step(batch or data()).health} for _ in range(steps)]


def rule(lr):
    return replace(make("bptt"), plasticity=SGD(lr=lr))


def test_a_healthy_model_is_told_nothing():
    assert told(Trainer(perceptron(), rule(0.1), health=EVERY), 20) == [set()] * 20


def test_looks_come_at_the_first_step_and_then_every_so_many():
    assert [n for n in range(10) if Monitor(Health(every=4)).due(n)] == [0, 4, 8]
    assert [n for n in range(10) if Monitor(Health(every=0)).due(n)] == []


def test_weights_that_run_away_are_exploding():
    trainer = Trainer(perceptron(), rule(0.1), health=Health(every=1, exploding=50.0))
    trainer.step(data())
    with torch.no_grad():
        trainer.model[2].weight.mul_(1000)
    assert ("exploding", "2.weight") in told(trainer, 1)[0]


def test_a_rate_of_nothing_is_never_updated_and_told_once():
    found = told(Trainer(perceptron(), rule(1e-30), health=EVERY), 4)
    places = {("never updated", f"{layer}.{part}") for layer in (0, 2) for part in ("weight", "bias")}
    assert found == [set(), places, set(), set()]


def test_an_illness_that_comes_back_is_told_again():
    trainer = Trainer(perceptron(), rule(0.1), health=EVERY)
    trainer.step(data())
    x, y = data()
    found = told(trainer, 1, (0 * x, y)) + told(trainer, 1) + told(trainer, 1, (0 * x, y))
    assert [("without credit", "0.weight") in step for step in found] == [True, False, True]


def test_a_batch_without_an_error_is_no_illness():
    """A rule that learns from mistakes gives no credit to a batch without one; this is reported only at the start."""
    silenced = replace(rule(0.1), objective=Silenced())
    assert told(Trainer(perceptron(), silenced, health=EVERY), 1) != [set()]
    trainer = Trainer(perceptron(), rule(0.1), health=EVERY)
    trainer.step(data())
    trainer.rule = silenced
    assert told(trainer, 1) == [set()]


class Silenced(Objective):
    """A loss that no weight changes."""

    def __call__(self, run, batch):
        return 0 * run.output.sum()


def test_a_layer_that_falls_silent_later_is_found_then():
    torch.manual_seed(0)
    net = build((4,), 2, (8,))
    x = torch.rand(10, 16, 4, generator=torch.Generator().manual_seed(0))
    batch = x * 5, torch.arange(16) % 2
    trainer = Trainer(net, rule(1e-3), health=EVERY)
    assert told(trainer, 1, batch) == [set()]
    with torch.no_grad():
        net.layers[0].synapse.weight.zero_()
        net.layers[0].synapse.bias.fill_(-5.0)
    assert ("silent", "layers.0.cells") in told(trainer, 1, batch)[0]


def test_devices_at_their_bounds():
    trainer = Trainer(nn.Linear(4, 2), rule(0.1), health=EVERY)
    trainer.optimizer = MemristorOptimizer(trainer.parameters.values(), DEVICES["ideal"], Direct(), scale=1.0)
    assert not any(kind == "at its bounds" for kind, _ in told(trainer, 1)[0])
    for p in trainer.parameters.values():
        p.grad = torch.full_like(p, -1e3)
        p.grad.view(-1)[0] = 0.0
    trainer.optimizer.step()
    assert ("at its bounds", "weight") in told(trainer, 1)[0]


def test_what_is_learned_does_not_depend_on_looking():
    """A stochastic rule, noisy units and momentum: the same weights, random draws and losses."""
    runs = []
    for health in (Health(every=0), EVERY):
        torch.manual_seed(0)
        net = build((4,), 2, (8,))
        trainer = Trainer(net, make("spsa"), seed=3, health=health)
        batch = torch.rand(5, 16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 2
        losses = [trainer.step(batch).loss for _ in range(5)]
        runs.append((losses, [p.detach().clone() for p in net.parameters()], trainer.rng.get_state()))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][2], runs[1][2])
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))


def test_a_run_stops_for_what_it_was_told_to_and_before_anything_changes():
    net = perceptron()
    trainer = Trainer(net, rule(1e-30), health=Health(every=1, stop=("never updated",)))
    trainer.step(data())
    before = fingerprint(net[0].weight)
    with pytest.raises(Unhealthy, match=r"0.weight is never updated .*raise the learning rate"):
        trainer.step(data())
    assert fingerprint(net[0].weight) == before
    assert trainer.steps == 1


def test_a_nan_needs_no_look():
    trainer = Trainer(perceptron(), rule(0.1), health=Health(every=0))
    trainer.step(data())
    x, y = data()
    with pytest.raises(NonFinite):
        trainer.step((x * float("nan"), y))


def test_a_resumed_run_tells_nothing_twice():
    trainer, other = (Trainer(perceptron(), rule(1e-30), health=EVERY) for _ in range(2))
    assert told(trainer, 2)[1]
    other.load_state_dict(trainer.state_dict())
    assert told(other, 1) == [set()]


def test_every_kind_has_a_meaning():
    assert set(KINDS) >= {"silent", "saturated", "exploding", "vanishing", "never updated", "at its bounds"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"every": -1}, "every=-1: give the steps between two checks"),
        ({"silent": 1.5}, "silent=1.5: give a share between 0 and 1"),
        ({"exploding": 1.0}, "exploding=1.0: give a factor above 1"),
        ({"stop": ("silence",)}, "silent"),
    ],
)
def test_impossible_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        Health(**wrong)


def test_a_gradient_that_is_zero_by_algebra_is_told_from_one_that_vanishes():
    """Scores of a query all move by the same number with the bias of the keys, which a softmax does not see."""
    torch.manual_seed(0)
    query, key, value = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
    x = torch.randn(6, 4)
    output = torch.softmax(query(x) @ key(x).T, -1) @ value(x)
    grads = torch.autograd.grad(output.square().sum(), [key.bias, value.weight])
    parameters = {"key.bias": key.bias, "value.weight": value.weight}
    (found,) = check_credit(parameters, Credit(dict(zip(parameters, grads, strict=True)), (), 0.0, Cost()))
    assert (found.where, found.cause.split(",")[0]) == ("key.bias", "its gradient is 0 but for rounding")
    assert found.remedy.startswith("freeze it if the loss does not depend on it, as on a bias of keys before a softmax")
    small = {"key.bias": 1e-6 * grads[1][0], "value.weight": grads[1]}
    (found,) = check_credit(parameters, Credit(small, (), 0.0, Cost()))
    assert found.cause.startswith("its gradient is under 1e-05 of the largest one")
    assert found.remedy.startswith("use a wider surrogate")
