"""The gradient is that of backpropagation, as closely as the step allows (P4.3, P4.4, P4.5, P4.10, P4.11, P4.12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import rules
from rules.check import check_rule, toy
from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.restricted import Restricted
from rules.credit.zero_order import HZO, LayerwiseZO, SequentialLocal
from rules.objectives import OBJECTIVES
from rules.plasticity import PLASTICITIES
from rules.recipes import LearningRule
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, deep, dice, drawn, error, flat, inputs, mlp

RULES = [HZO(), LayerwiseZO(), SequentialLocal()]
ids = lambda rule: type(rule).__name__  # noqa: E731


def held_to_the_contract(rule):
    return check_rule(LearningRule(OBJECTIVES["ce_mean"](), rule, PLASTICITIES["sgd"](lr=0.1)))


@pytest.mark.parametrize(
    "rule",
    [
        *RULES,
        *(
            pytest.param(rule, marks=pytest.mark.slow)
            for rule in (HZO(cut="post", branching=3), HZO(diff="forward"), HZO(times="shared"))
        ),
    ],
    ids=str,
)
def test_the_contract(rule):
    report = held_to_the_contract(rule)
    assert report.passed, report


@pytest.mark.slow  # two thousand draws
@pytest.mark.parametrize("probes", ["random", "normal", "scattered"])
def test_the_contract_for_random_probes(probes):
    rule = HZO(probes=probes, q=1)
    assert rule.claim == "unbiased"
    report = held_to_the_contract(rule)
    assert report.passed, report


def test_claims():
    assert HZO().claim == HZO(step=1e-5).claim == "exact"
    assert HZO(step=0.1).claim == HZO(diff="forward").claim == HZO(times="shared").claim == "descent"
    assert HZO(probes="random").claim == "unbiased"
    assert HZO(probes="random", step=0.1).claim == "descent"


@pytest.mark.parametrize("rule", RULES, ids=ids)
@pytest.mark.parametrize("eps", [1e-2, 1.0, 30.0])
def test_linear_networks_with_any_step(rule, eps):
    """P4.3: nothing is truncated, and what is rounded is 1e-16 of a signal over steps of 1e-2 of it."""
    model = deep(8, activation=nn.Identity)
    assert error(type(rule)(step=eps), model, inputs(8, 32)) < 1e-12


@pytest.mark.parametrize("rule", RULES, ids=ids)
@pytest.mark.parametrize(("diff", "order"), [("central", 2), ("forward", 1)])
def test_order_in_the_step(rule, diff, order):
    """P4.4, over two decades; rounding is far below in float64."""
    model, x = deep(4, width=8), inputs(4, 8)
    small, large = (error(type(rule)(diff=diff, step=eps), model, x) for eps in (1e-3, 1e-1))
    assert np.log10(large / small) / 2 == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("dtype", "eps", "bound"), [(torch.float64, 1e-4, 1e-12), (torch.float32, 1e-2, 1e-7)])
def test_sixteen_layers(dtype, eps, bound):
    """P4.5: one minus the cosine, computed in float64 from both gradients."""
    model, x = deep(16).to(dtype), inputs(16, 32).to(dtype)
    mine, true = (flat(assign(rule, model, x).grads).double() for rule in (HZO(step=eps), BPTT()))
    mine, true = mine / mine.norm(), true / true.norm()
    assert float((mine - true).square().sum() / 2) < bound  # 1 - cos, without its cancellation


@pytest.mark.parametrize("cut", ["pre", "post"])
@pytest.mark.parametrize("rule", RULES, ids=ids)
def test_default_step_in_float64(rule, cut):
    assert error(type(rule)(cut=cut), mlp([3, 6, 5, 4, 2]), inputs(5, 3)) < 1e-8


def test_layers_without_activation_between_or_with_three():
    model = drawn(
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Tanh(), nn.Linear(4, 2))
    )
    for cut in ("pre", "post"):
        assert error(HZO(cut=cut), model, inputs(5, 3)) < 1e-8


def test_an_activation_behind_the_last_layer():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Softmax(-1)))
    for cut in ("pre", "post"):
        assert error(HZO(cut=cut), model, inputs(5, 3)) < 1e-8


def test_an_activation_that_is_there_twice_and_a_nested_stack():
    squash = nn.Tanh()
    inner = nn.Sequential(nn.Linear(4, 4), squash, nn.Linear(4, 4), squash)
    model = drawn(nn.Sequential(nn.Linear(3, 4), squash, inner, nn.Linear(4, 2)))
    assert error(HZO(), model, inputs(5, 3)) < 1e-8


def test_a_weight_that_is_used_twice():
    shared = nn.Linear(4, 4)
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 2)))
    assert error(HZO(), model, inputs(5, 3)) < 1e-8


@pytest.mark.slow
def test_a_compiled_model_goes_by_its_own_names():
    model = torch.compile(mlp([3, 4, 2]))
    assert set(assign(HZO(), model, inputs(5, 3)).grads) == {name for name, _ in model.named_parameters()}


class Skip(nn.Module):
    """A residual block with weights on both branches."""

    def __init__(self, i, o):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(i, 3), nn.Tanh(), nn.Linear(3, o))
        self.shortcut = nn.Linear(i, o, bias=False)

    def forward(self, x):
        return torch.tanh(self.body(x) + self.shortcut(x))


@pytest.mark.parametrize("rule", RULES, ids=ids)
@pytest.mark.parametrize("cut", ["pre", "post"])
def test_residual_blocks(rule, cut):
    model = drawn(nn.Sequential(nn.Linear(3, 4), Skip(4, 5), nn.Tanh(), Skip(5, 4), nn.Linear(4, 2)))
    assert error(type(rule)(cut=cut), model, inputs(5, 3)) < 1e-8


class Each(nn.Module):
    """A block that is applied at every step."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    @property
    def folded(self):
        return self.block

    def forward(self, x):
        return self.block(x.flatten(0, 1)).unflatten(0, x.shape[:2])


@pytest.mark.parametrize("rule", RULES, ids=ids)
def test_a_block_of_every_step(rule):
    """Two convolutions beside each other, which take no time axis."""
    model = drawn(nn.Sequential(Each(Beside()), nn.Tanh(), nn.Flatten(2), nn.Linear(2 * 9, 2)))
    assert error(rule, model, inputs(3, 4, 1, 3, 3)) < 1e-8


class Beside(nn.Module):
    """The sum of two convolutions of the same image."""

    def __init__(self):
        super().__init__()
        self.near, self.far = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 1)

    def forward(self, x):
        return self.near(x) + torch.tanh(self.far(x))


def test_a_block_counts_every_weight_inside():
    model = drawn(nn.Sequential(nn.Linear(3, 4), Skip(4, 2)))
    units_inside = 3 + 2 + 2
    cost = assign(HZO(), model, inputs(5, 3)).cost
    assert cost.layer_evaluations == 4 + 2 * (4 * 3 + units_inside * 3)  # 4 weights, 3 of them in the block


def test_samples_do_not_know_each_other():
    """P4.10: what a sample adds is the same alone and in a batch; 1e-16 of rounding over a step of 1e-2."""
    model, x = mlp([3, 6, 5, 2]), inputs(7, 3)
    for rule in (HZO(step=1e-2), HZO(step=1e-2, diff="forward")):
        together = flat(assign(rule, model, x).grads)
        alone = torch.stack([flat(assign(rule, model, row[None]).grads) for row in x]).mean(0)
        torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-12)


@dataclass(frozen=True)
class BreadthFirst(HZO):
    """The same halves, all of one size before any smaller one, right to left."""

    def plan(self, depth):
        return iter(sorted(super().plan(depth), key=lambda pair: (pair[0] - pair[1], -pair[0])))


@pytest.mark.parametrize("probes", ["basis", "random", "scattered"])
def test_any_order_of_the_recursion(probes):
    """P4.11, to the last bit."""
    model, x = deep(8, width=6), inputs(3, 6)
    one, two = HZO(probes=probes), BreadthFirst(probes=probes)
    assert list(one.plan(8)) != list(two.plan(8))
    assert torch.equal(flat(assign(one, model, x).grads), flat(assign(two, model, x).grads))


def test_chunks_change_nothing_but_rounding():
    model, x = mlp([3, 16, 16, 2]), inputs(4, 3)
    for probes in ("basis", "random"):
        whole = flat(assign(HZO(probes=probes), model, x).grads)
        pieces = flat(assign(HZO(probes=probes, memory=20_000), model, x).grads)
        torch.testing.assert_close(whole, pieces, atol=1e-9, rtol=1e-9)  # 1e-16 over a step of 6e-6


class Numpy(nn.Module):
    """A stage that leaves torch."""

    def forward(self, x):
        return torch.from_numpy(np.tanh(x.numpy()))


def test_black_boxes():
    """P4.12: no graph anywhere, through rounding to a hundredth with a step of a third, and through numpy."""
    twin = mlp([3, 6, 5, 2])
    stages = [toy.Rounded(3, 6), Numpy(), toy.Rounded(6, 5), Numpy(), toy.Rounded(5, 2)]
    model = drawn(nn.Sequential(*stages))
    x = inputs(16, 3)
    with torch.no_grad():
        mine = assign(HZO(step=0.3), model, x)
    true = assign(BPTT(), twin, x).grads
    assert all(not g.requires_grad for g in mine.grads.values())
    assert float(torch.cosine_similarity(flat(mine.grads), flat(true), 0)) > 0.99


def test_a_sign_inside_gives_a_direction_down():
    class Sign(nn.Module):
        def forward(self, x):
            return torch.sign(x)

    model, x = drawn(nn.Sequential(nn.Linear(3, 30), Sign(), nn.Linear(30, 2))), inputs(64, 3)
    credit = assign(HZO(step=0.5), model, x)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.sub_(0.02 * credit.grads[name])
    assert assign(HZO(step=0.5), model, x).loss < credit.loss


def test_it_composes_and_trains():
    x, y = inputs(64, 2).float(), torch.zeros(64, dtype=torch.int64)
    y[x[:, 0] > 0] = 1
    model = mlp([2, 8, 8, 2]).float()
    rule = LearningRule(OBJECTIVES["ce_mean"](), HZO(), PLASTICITIES["sgd"](lr=0.5))
    trainer = rules.Trainer(model, rule, seed=0)
    losses = [trainer.step(Batch(x, y)).loss for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    restricted = Restricted(HZO())
    credit = assign(restricted, model, x, y)
    assert credit.grads.keys() == {"4.weight", "4.bias"}
    assert credit.cost.layer_evaluations == 3  # the layers below are not evaluated


def test_an_objective_with_parameters_of_its_own_learns_too():
    class Scaled(rules.Objective, nn.Module):
        def __init__(self):
            nn.Module.__init__(self)
            self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def __call__(self, run, batch):
            return (self.scale * run.output).square().mean()

    model, objective = mlp([3, 4, 2]), Scaled()
    mine, true = (assign(rule, model, inputs(5, 3), objective=objective).grads for rule in (HZO(), BPTT()))
    assert mine.keys() == true.keys()
    torch.testing.assert_close(flat(mine), flat(true), atol=1e-8, rtol=1e-8)


def test_a_sequence_without_memory_needs_no_probe_for_each_time():
    model = mlp([3, 4, 2])
    credit = assign(HZO(), model, inputs(6, 5, 3))
    assert credit.info["probes"] == 4
    assert error(HZO(), model, inputs(6, 5, 3)) < 1e-8


def test_what_is_between_bare_layers_is_the_models_own():
    model, batch = toy.leaky(spiking=False), toy.batch()
    for rule in RULES:
        mine = rule.assign(model, QUADRATIC, batch, rule.init(model, dice()), dice()).grads
        true = BPTT().assign(model, QUADRATIC, batch, (), dice()).grads
        torch.testing.assert_close(flat(mine), flat(true), atol=1e-8, rtol=1e-8)
