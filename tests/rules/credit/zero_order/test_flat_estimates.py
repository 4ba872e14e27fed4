"""Flat estimators: unbiased in direction and scale, with the error of a single draw that theory predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from rules.check import toy
from rules.contract import Batch, Objective
from rules.credit.bptt import BPTT
from rules.credit.zero_order.flat.evolution import EvolutionStrategy, places
from rules.credit.zero_order.flat.forward_gradient import ForwardGradient
from rules.credit.zero_order.flat.moving import DIRECTIONS
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.flat.spsa import SPSA
from rules.credit.zero_order.sharing import seeds
from rules.objectives.readout import MeanCrossEntropy
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, dice, flat, inputs, mlp, rms_of


@dataclass(frozen=True)
class Height(Objective):
    """The mean output: linear in the weights of a single layer, so that no step is too large."""

    def __call__(self, run, batch):
        return run.output.mean()


def line(d, outputs=1, seed=0):
    """d weights, all of one layer."""
    model = nn.Sequential(nn.Linear(d, outputs, bias=False)).double()
    toy.fill(model, seed)
    return model


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(flat(a), flat(b), dim=0))


FLAT = {  # the rule with n draws, and the directions that it draws
    "spsa": (lambda n: SPSA(draws=n), "normal"),
    "spsa, forward": (lambda n: SPSA(draws=n, diff="forward"), "normal"),
    "spsa, signs": (lambda n: SPSA(draws=n, direction="rademacher"), "rademacher"),
    "forward gradient": (lambda n: ForwardGradient(draws=n), "normal"),
    "forward gradient, signs": (lambda n: ForwardGradient(draws=n, direction="rademacher"), "rademacher"),
    "evolution": (lambda n: EvolutionStrategy(population=2 * n, shaping="none"), "normal"),
    "spsa, in weights": (lambda n: SPSA(draws=n, step=1e-3, relative=False), "normal"),
    "evolution, in weights": (lambda n: EvolutionStrategy(2 * n, 0.02, shaping="none", relative=False), "normal"),
    "forward gradient, in weights": (lambda n: ForwardGradient(draws=n, relative=False), "normal"),
}


def scale_of(rule, model):
    """What each entry of a direction is multiplied by, in the order of `flat`."""
    held = dict(model.named_parameters())
    scales = rms_of(model, held) if rule.relative else dict.fromkeys(held, 1.0)
    return flat({name: torch.full_like(p, scales[name]) for name, p in held.items()}).detach()


def drawn(model, kind, n, seed=0):
    """Return the n directions of a step with a generator of this seed, each a dict like the gradient."""
    rng = dice(seed)
    seeds(2, rng)  # of the noise in the model, and in reading it
    found = []
    for number in seeds(n, rng):
        each = dice(number)
        found.append({name: DIRECTIONS[kind](p.detach(), each) for name, p in model.named_parameters()})
    return found


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_directions_have_unit_covariance(kind):
    """E[z z^T] = 1, its scale to 1.5 %: 100,000 draws of 4 numbers know each entry to 0.45 % or better."""
    z = DIRECTIONS[kind](torch.empty(100_000, 4, dtype=torch.float64), dice())
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(4, dtype=torch.float64), atol=0.015, rtol=0)


@pytest.mark.parametrize(("rule", "kind"), FLAT.values(), ids=FLAT)
def test_an_estimate_is_the_slope_along_each_direction_times_it(rule, kind):
    """`(1/n) sum <gradient, z> z`, with unit covariance: mean and scale are right. Exact where the loss is linear.

    1e-9: losses of order 1 in float64, divided by steps of at least 1e-3.
    """
    model, x = line(5, 2), inputs(4, 5)
    true, mine = (flat(assign(r, model, x, objective=Height()).grads) for r in (BPTT(), rule(3)))
    z = torch.stack([flat(direction) for direction in drawn(model, kind, 3)])  # [3, d]
    s = scale_of(rule(3), model)
    torch.testing.assert_close(mine, ((z * s) @ true) @ z / s / 3, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("rule", [SPSA(draws=2), SPSA(draws=2, diff="forward"), EvolutionStrategy(4, shaping="none")])
def test_where_the_loss_bends_the_bias_is_of_the_order_of_the_step(rule):
    """A step of 1e-6 leaves 1e-6 of bias at most and 1e-10 of rounding: directions through every parameter, in order."""
    name = "sigma" if isinstance(rule, EvolutionStrategy) else "step"
    rule = type(rule)(**{**vars(rule), name: 1e-6})
    model, x = mlp([3, 4, 2]), inputs(5, 3)
    true, mine = (flat(assign(r, model, x).grads) for r in (BPTT(), rule))
    order = sorted(dict(model.named_parameters()))
    z = torch.stack([torch.cat([d[n].flatten() for n in order]) for d in drawn(model, "normal", 2)])
    s = scale_of(rule, model)
    torch.testing.assert_close(mine, ((z * s) @ true) @ z / s / 2, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule, _ in FLAT.values()], ids=FLAT)
def test_the_mean_is_the_gradient(rule):
    """2 weights with a bend between them, 20,000 draws: the mean is known to 1.2 % or better."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh(), nn.Linear(1, 1, bias=False)).double()
    toy.fill(model, 3)
    x = inputs(2, 1)
    true, mine = (flat(assign(r, model, x).grads) for r in (BPTT(), rule(20_000)))
    assert float((mine - true).norm() / true.norm()) < 0.03
    assert float(mine @ true / true.square().sum()) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_evolution_without_pairs_is_unbiased():
    """The mean of the others as a baseline: 40,000 members of 2 weights, at a sigma that leaves 1 % of bias."""
    model, x = line(2), inputs(3, 2)
    rule = EvolutionStrategy(40_000, sigma=0.05, antithetic=False, shaping="none")
    true, mine = (flat(assign(r, model, x, objective=Height()).grads) for r in (BPTT(), rule))
    assert float((mine - true).norm() / true.norm()) < 0.03


def test_the_baseline_of_a_small_population_does_not_shrink_the_estimate():
    """The mean of all, in place of the mean of the others, would take 1/n of it: here a half, of 2 members."""
    losses = torch.tensor([[1.0], [3.0]])
    assert EvolutionStrategy(2, antithetic=False, shaping="none").worth(losses).flatten().tolist() == [-2.0, 2.0]


@pytest.mark.parametrize("antithetic", [True, False])
def test_node_perturbation_is_unbiased(antithetic):
    """40,000 equal samples, each with noise of its own, of 5 nodes: the mean is known to 1.2 % in all, 0.7 % along."""
    model, x = mlp([3, 3, 2]), inputs(1, 3).expand(40_000, 3).contiguous()
    rule = NodePerturbation(draws=1, sigma=1e-3, antithetic=antithetic)
    true, mine = (flat(assign(r, model, x).grads) for r in (BPTT(), rule))
    assert float((mine - true).norm() / true.norm()) < 0.03
    assert float(mine @ true / true.square().sum()) == pytest.approx(1, abs=0.02)


def test_node_perturbation_in_time_is_unbiased():
    """Noise at every step, of leaky cells that remember it: 12 nodes at each of 4 steps, 20,000 samples, 1.6 % along."""
    model, batch = toy.leaky(spiking=False), toy.batch()
    x = batch.x[:, :1].expand(-1, 20_000, -1).contiguous()
    rule = NodePerturbation(draws=1, sigma=1e-3)
    true, mine = (flat(assign(r, model, x).grads) for r in (BPTT(), rule))
    assert float(mine @ true / true.square().sum()) == pytest.approx(1, abs=0.03)
    assert float((mine - true).norm() / true.norm()) < 0.08  # sqrt((48 + 1) / 20,000) is 5 %


@pytest.mark.parametrize(("d", "n", "times"), [(20, 10, 40), (100, 25, 8), (400, 100, 2)])
def test_cosine_law_of_spsa(d, n, times):
    """`cos = sqrt(n / (n + d + 1))`; a cosine scatters by less than 1 / sqrt(d), so the mean is known to 4 %."""
    model, x = line(d), inputs(1, d)
    true = assign(BPTT(), model, x, objective=Height()).grads
    found = [cosine(assign(SPSA(draws=n), model, x, objective=Height(), seed=s).grads, true) for s in range(times)]
    assert sum(found) / times == pytest.approx(math.sqrt(n / (n + d + 1)), rel=0.1)


def test_cosine_of_a_single_draw():
    """`E|cos| = sqrt(2 / (pi d))`; |cos| scatters by 0.76 of its mean, so 600 draws know that to 3 %."""
    d, model, x = 50, line(50), inputs(1, 50)
    true = assign(BPTT(), model, x, objective=Height()).grads
    found = [abs(cosine(assign(SPSA(), model, x, objective=Height(), seed=s).grads, true)) for s in range(600)]
    assert sum(found) / len(found) == pytest.approx(math.sqrt(2 / (math.pi * d)), rel=0.1)


@pytest.mark.parametrize(("nodes", "n"), [(5, 3), (20, 10), (80, 100)])
def test_cosine_law_of_node_perturbation(nodes, n):
    """With nodes for weights: each of 60 samples sees a column of its own, which is its error; the mean to 2 %."""
    samples = torch.eye(60, dtype=torch.float64)
    model = line(60, nodes)
    true, mine = (assign(r, model, samples).grads["0.weight"] for r in (BPTT(), NodePerturbation(n, sigma=1e-3)))
    found = torch.nn.functional.cosine_similarity(mine, true, dim=0).mean()
    assert float(found) == pytest.approx(math.sqrt(n / (n + nodes + 1)), rel=0.1)


@dataclass(frozen=True)
class Bent(Objective):
    """The quadratic loss, bent by something that keeps order."""

    bend: object

    def __call__(self, run, batch):
        return self.bend(QUADRATIC(run, batch))


@pytest.mark.parametrize("bend", [torch.exp, torch.log, lambda loss: 1e6 * loss**3 - 7])
@pytest.mark.parametrize("antithetic", [True, False])
def test_ranks_do_not_see_what_keeps_order(bend, antithetic):
    model, x = mlp([3, 4, 2]), inputs(5, 3)
    rule = EvolutionStrategy(8, antithetic=antithetic)
    one, two = (flat(assign(rule, model, x, objective=o).grads) for o in (QUADRATIC, Bent(bend)))
    assert torch.equal(one, two)
    other = assign(EvolutionStrategy(8, antithetic=antithetic, shaping="none"), model, x, objective=Bent(bend)).grads
    assert not torch.allclose(flat(other), one)


def test_places():
    assert places(torch.tensor([[3.0, 1.0], [2.0, 9.0]])).tolist() == [
        pytest.approx([1 / 6, -0.5]),
        pytest.approx([-1 / 6, 0.5]),
    ]
    assert places(torch.full((4,), 2.0)).tolist() == [0.0] * 4


class Joined(nn.Module):
    """Two streams with as many steps as each has, joined to one step."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.top = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.double()
        toy.fill(self, 0)

    def forward(self, x):
        return self.top((torch.tanh(self.a(x[0])).mean(0) + torch.tanh(self.b(x[1])).mean(0))[None])


def test_nodes_of_streams_of_different_length_get_the_gradient():
    """Noise of 4,000 draws on 18 nodes leaves an error of about sqrt(19 / 4000) = 0.07, and batches average."""
    rng, model = torch.Generator().manual_seed(0), Joined()
    x = tuple(torch.randn(steps, 9, size, generator=rng).double() for steps, size in ((3, 3), (5, 2)))
    batch = Batch(x, torch.arange(9) % 2)
    found = NodePerturbation(draws=4000).assign(model, MeanCrossEntropy(), batch, (), dice(0)).grads
    wanted = BPTT().assign(model, MeanCrossEntropy(), batch, (), dice(0)).grads
    assert found.keys() == wanted.keys()
    assert cosine(found, wanted) > 0.98
    assert float(flat(found).norm() / flat(wanted).norm()) == pytest.approx(1, abs=0.1)
