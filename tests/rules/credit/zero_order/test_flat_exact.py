"""What is exact in flat rules: slopes, coordinates, the cost, and the restored weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rules.check import toy
from rules.contract import Batch, Objective
from rules.credit.bptt import BPTT
from rules.credit.zero_order.flat.coordinate_wise import CoordinateWise
from rules.credit.zero_order.flat.evolution import EvolutionStrategy
from rules.credit.zero_order.flat.forward_gradient import ForwardGradient
from rules.credit.zero_order.flat.moving import DIRECTIONS
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.flat.spsa import SPSA
from rules.credit.zero_order.sharing import seeds
from rules.objectives import OBJECTIVES
from rules.objectives.temporal_contrast import TemporalContrast
from rules.spikes.bits import StochasticBits
from rules.spikes.surrogate import Surrogate
from sandbox import LIF, LeakyIntegrator, build
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, dice, drawn, flat, inputs, mlp, rms_of
from tests.rules.credit.zero_order.test_memory import peak

X, Y = toy.batch().x, toy.batch().y
SPIKES = LIF(tau_mem=3.0, surrogate=Surrogate("sigmoid"))


def conv():
    """A convolutional network in float64."""
    return drawn(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 2)))


def spiking(hidden=("5r", 4), readout=None):
    return build((3,), 2, hidden, SPIKES, readout or LeakyIntegrator(), seed=1).double().eval()


MODELS = {
    "smooth": (toy.smooth, X),
    "leaky": (lambda: toy.leaky(spiking=False), X),
    "spiking": (lambda: toy.leaky(spiking=True), X),
    "recurrent": (spiking, 3 * X),
    "convolution": (conv, inputs(3, 1, 4, 4)),
}


def slope_along(rule, model, x, objective, y=None, seed=0):
    """`<gradient of BPTT, z> z` for the direction of a step with this generator."""
    rng = dice(seed)
    views = objective.views(Batch(x, y), rng)
    seeds(2, rng)
    each = dice(seeds(1, rng)[0])
    true = BPTT().assign(model, objective, views, (), dice(9)).grads
    z = {name: DIRECTIONS[rule.direction](p.detach(), each) for name, p in model.named_parameters()}
    scales = rms_of(model, dict(model.named_parameters())) if rule.relative else dict.fromkeys(z, 1.0)
    along = sum((true[name] * scales[name] * z[name]).sum() for name in true)
    return {name: along * z[name] / scales[name] for name in z}


@pytest.mark.parametrize(("make", "x"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_forward_gradient_is_autograds_slope(make, x, direction):
    """Spikes with their surrogates, resets without; 1e-10 of rounding in float64, of slopes up to 100."""
    model, rule = make(), ForwardGradient(direction=direction)
    mine = assign(rule, model, x).grads
    wanted = slope_along(rule, model, x, QUADRATIC)
    assert float(flat(wanted).norm()) > 0
    torch.testing.assert_close(flat(mine), flat(wanted), atol=1e-10, rtol=1e-10)


class Elsewhere(nn.Module):
    """A weight that is used outside of its layer too, a layer that sees the input twice, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.frozen = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(3, 5)
        self.frozen.weight.requires_grad_(False)

    def forward(self, x):
        h = torch.tanh(self.one(x)) * self.two(x) + self.frozen(x)
        return (h @ self.one.weight + self.two(x) @ self.frozen.weight)[..., :2]


LATER = {**MODELS, "elsewhere": (lambda: drawn(Elsewhere()), X)}


@pytest.mark.parametrize(("make", "x"), LATER.values(), ids=LATER)
def test_later_directions_meet_the_products_of_the_first(make, x):
    model, rule, rng = make(), ForwardGradient(draws=3), dice()
    mine = assign(rule, model, x)
    seeds(2, rng)
    true, wanted = assign(BPTT(), model, x).grads, {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for number in seeds(3, rng):
        each = dice(number)
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        z = {name: DIRECTIONS["normal"](p.detach(), each) for name, p in learned.items()}
        scales = rms_of(model, learned)
        along = sum((true[name] * scales[name] * z[name]).sum() for name in true)
        for name in z:
            wanted[name] += along * z[name] / scales[name] / 3
    assert mine.cost.layer_evaluations_done < mine.cost.layer_evaluations or "conv" in str(model).lower()
    torch.testing.assert_close(flat(mine.grads), flat({n: wanted[n] for n in mine.grads}), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("objective", ["ce_mean", "tet", "mse_count", "ce_ttfs"])
def test_objectives_are_differentiated_by_autograd(objective):
    """Those of first spikes, which have no forward mode, included."""
    model, rule, goal = spiking((6,), SPIKES), ForwardGradient(), OBJECTIVES[objective]()
    mine = assign(rule, model, 3 * X, Y, objective=goal).grads
    wanted = slope_along(rule, model, 3 * X, goal, Y)
    torch.testing.assert_close(flat(mine), flat(wanted), atol=1e-10, rtol=1e-10)


def test_stochastic_surrogates_draw_from_the_rules_dice():
    model = toy.leaky(spiking=True)
    model.surrogate = Surrogate("sso")
    one, two = (flat(assign(ForwardGradient(), model, X).grads) for _ in range(2))
    assert torch.equal(one, two)
    assert one.abs().sum() > 0


@pytest.mark.parametrize(("make", "x"), MODELS.values(), ids=MODELS)
def test_coordinates_together_are_coordinates_in_turn(make, x):
    """1e-9: the same losses, of order 1, up to the order of sums, over steps of 6e-6."""
    model = make()
    one, two = (flat(assign(CoordinateWise(together=t, sparsity=0.6), model, x).grads) for t in (True, False))
    torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)


def test_stochastic_units_draw_the_same_for_every_coordinate():
    model = drawn(nn.Sequential(nn.Linear(3, 4), StochasticBits(), nn.Linear(4, 2)))
    one, two = (flat(assign(CoordinateWise(together=t), model, X).grads) for t in (True, False))
    torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)
    true = assign(BPTT(), model, X).grads["2.weight"]  # the bits do not move with a step so small
    rule = CoordinateWise()
    assert assign(rule, model, X).grads["2.weight"].shape == true.shape
    assert float(one.abs().sum()) > 0


@pytest.mark.parametrize(("diff", "error"), [("central", 1e-8), ("forward", 1e-5)])
@pytest.mark.parametrize("make", ["smooth", "leaky", "convolution"])
def test_coordinates_are_the_gradient(make, diff, error):
    """Central: 6e-6 squared, and 1e-16 over 6e-6 of rounding. Forward: 1.5e-8 times a curvature up to some hundreds."""
    build_, x = MODELS[make]
    model = build_()
    true, mine = (flat(assign(r, model, x).grads) for r in (BPTT(), CoordinateWise(diff=diff)))
    assert float((mine - true).norm() / true.norm()) < error


@pytest.mark.parametrize(("step", "slope"), [(1e-2, 1e-1), (1e-3, 1e-2)])
def test_the_error_of_coordinates_is_of_the_order_of_the_difference(step, slope):
    model, x = mlp([3, 4, 2]), inputs(5, 3)
    true = flat(assign(BPTT(), model, x).grads)
    for diff, order in (("central", 2), ("forward", 1)):
        far, near = (
            float((flat(assign(CoordinateWise(s, diff), model, x).grads) - true).norm()) for s in (step, step / 10)
        )
        assert far / near == pytest.approx(10**order, rel=slope)


def test_a_redrawn_subset_is_scaled_and_a_fixed_one_is_not():
    model, x = mlp([3, 4, 2]), inputs(5, 3)  # 26 weights
    whole = flat(assign(CoordinateWise(), model, x).grads)
    rule = CoordinateWise(sparsity=0.75)
    one, two = (flat(assign(rule, model, x, seed=s).grads) for s in (0, 1))
    for mine in (one, two):
        here = mine != 0
        assert int(here.sum()) == 26 - int(0.75 * 26)
        torch.testing.assert_close(mine[here], whole[here] * 26 / 7)
    assert not torch.equal(one != 0, two != 0)
    fixed = replace(rule, subset="fixed")
    one, two = (flat(assign(fixed, model, x, seed=s).grads) for s in (0, 1))
    assert torch.equal(one, two)
    torch.testing.assert_close(one[one != 0], whole[one != 0])
    other = flat(assign(replace(fixed, seed=1), model, x).grads)
    assert not torch.equal(one != 0, other != 0)


def test_every_coordinate_has_its_turn_equally_often():
    """5 of 20, 4,000 times: each 1,000 times, +- 27; five such deviations."""
    rng = dice()
    turns = torch.zeros(20)
    for _ in range(4000):
        turns[CoordinateWise(sparsity=0.75).chosen(20, 5, rng)] += 1
    assert float((turns - 1000).abs().max()) < 5 * 27


def test_copies_stay_within_their_bound_on_memory():
    """The bound beyond what a single pass takes; with more memory, more at a time."""
    model, x = mlp([30, 40, 10]), inputs(20, 30)
    plain = peak(lambda: assign(CoordinateWise(sparsity=0.9, together=False), model, x))
    found = [peak(lambda m=m: assign(CoordinateWise(sparsity=0.9, memory=m), model, x)) for m in (1e6, 4e6)]
    assert found[0] < found[1]
    assert found[0] < plain + 1e6
    assert found[1] < plain + 4e6


def test_spsa_holds_no_second_copy_beside_the_gradient():
    """Deeper networks take the gradient's memory more, and nothing else."""

    def extra(depth):
        model = mlp([64] * depth)
        weights = 8 * sum(p.numel() for p in model.parameters())
        return peak(lambda: assign(SPSA(draws=2), model, inputs(2, 64))) - weights

    assert extra(16) == pytest.approx(extra(4), abs=2 * 8 * 64 * 64)  # one direction, in the making


BILLS = {  # passes of 3 layers that a step on 6 samples takes
    "spsa": (SPSA(draws=3), 6),
    "spsa, forward": (SPSA(draws=3, diff="forward"), 4),
    "evolution": (EvolutionStrategy(6), 6),
    "evolution, alone": (EvolutionStrategy(5, antithetic=False), 5),
    "nodes": (NodePerturbation(draws=3), 7),
    "nodes, forward": (NodePerturbation(draws=3, antithetic=False), 4),
    "coordinates": (CoordinateWise(), 2 * 62 + 1),
    "coordinates, forward": (CoordinateWise(diff="forward"), 62 + 1),
    "coordinates, in turn": (CoordinateWise(sparsity=0.9, together=False), 2 * 7 + 1),
    "coordinates, together": (CoordinateWise(sparsity=0.9), 2 * 7 + 1),
}


@pytest.mark.parametrize(("rule", "passes"), BILLS.values(), ids=BILLS)
def test_the_bill(rule, passes):
    cost = assign(rule, toy.leaky(spiking=False), X).cost
    assert (cost.forwards, cost.backwards, cost.layer_evaluations) == (passes, 0, 3 * passes)
    assert cost.synaptic_operations == passes * 4 * 6 * (3 * 5 + 5 * 5 + 5 * 2)


SCALES = {  # rules, and the squares of weights or signals that their scales take
    "spsa": (lambda relative: SPSA(step=0.1, relative=relative), "weight_operations", 62),
    "evolution": (lambda relative: EvolutionStrategy(4, 0.1, relative=relative), "weight_operations", 62),
    "forward gradient": (lambda relative: ForwardGradient(relative=relative), "weight_operations", 62),
    "coordinates": (lambda relative: CoordinateWise(0.1, relative=relative), "weight_operations", 62),
    "nodes": (lambda relative: NodePerturbation(1, 0.1, relative=relative), "error_operations", 4 * 6 * 12),
}


@pytest.mark.parametrize(("make", "kind", "squares"), SCALES.values(), ids=SCALES)
def test_scales_are_counted(make, kind, squares):
    one, two = (assign(make(relative), toy.leaky(spiking=False), X).cost for relative in (True, False))
    assert getattr(one, kind) - getattr(two, kind) == one.multiplications - two.multiplications == squares


def test_the_bill_of_forward_gradients():
    """Beside each layer its direction: of its weights, and, behind the first, of its input too."""
    cost = assign(ForwardGradient(draws=2), toy.leaky(spiking=False), X).cost
    assert (cost.forwards, cost.backwards, cost.layer_evaluations) == (2, 0, 2 * (2 + 3 + 3))
    assert cost.layer_evaluations_done == 2 * 8 - 1  # the product of the input, not that of its direction
    assert cost.synaptic_operations == 2 * 4 * 6 * (2 * 3 * 5 + 3 * 5 * 5 + 3 * 5 * 2)
    assert cost.gaussian_draws == 2 * 62
    assert cost.weight_operations == 2 * 62 + 62  # each direction of all weights, times its slope, and their scales
    assert cost.multiplications == cost.synaptic_operations + cost.weight_operations


class Fails(nn.Module):
    """Raises from its second pass on."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        if self.passes > 1:
            raise OSError("the chip does not answer")
        return x


ALL = {
    "spsa": SPSA(draws=4),
    "evolution": EvolutionStrategy(4),
    "nodes": NodePerturbation(draws=4),
    "forward gradient": ForwardGradient(draws=4),
    "coordinates": CoordinateWise(),
    "in turn": CoordinateWise(together=False),
}


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_weights_and_hooks_come_back_after_an_exception(rule):
    model = drawn(nn.Sequential(nn.Linear(3, 4), Fails(), nn.Linear(4, 2)))
    before = {name: (p, p.detach().clone(), p.data_ptr()) for name, p in model.named_parameters()}
    with pytest.raises((OSError, RuntimeError), match="the chip does not answer"):
        assign(rule, model, inputs(5, 3))
    for name, p in model.named_parameters():
        was, value, place = before[name]
        assert p is was
        assert p.data_ptr() == place
        assert torch.equal(p, value)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Held(Objective):
    """A quadratic loss behind a scale of its own."""

    def __init__(self):
        self.scale = nn.ParameterDict({"gain": nn.Parameter(torch.tensor(1.5, dtype=torch.float64))})

    def module(self):
        return self.scale

    def __call__(self, run, batch):
        return (self.scale["gain"] * run.output - 0.3).square().mean()


@pytest.mark.parametrize("rule", [SPSA(), EvolutionStrategy(), ForwardGradient(), CoordinateWise(), NodePerturbation()])
def test_what_the_objective_learns_itself_has_credit_too(rule):
    grads = assign(rule, mlp([3, 4, 2]), inputs(5, 3), objective=Held()).grads
    assert "objective.gain" in grads
    if isinstance(rule, (CoordinateWise, NodePerturbation)):
        true = assign(BPTT(), mlp([3, 4, 2]), inputs(5, 3), objective=Held()).grads["objective.gain"]
        torch.testing.assert_close(grads["objective.gain"], true, atol=1e-8, rtol=1e-8)


def test_slopes_run_along_what_the_objective_learns_too():
    """`<gradient, z> z` through the model's parameters and then the objective's own."""
    model, rule, goal, rng = mlp([3, 4, 2]), ForwardGradient(relative=False), Held(), dice()
    true, mine = (assign(r, model, inputs(5, 3), objective=goal).grads for r in (BPTT(), rule))
    seeds(2, rng)
    each = dice(seeds(1, rng)[0])
    z = {name: DIRECTIONS["normal"](true[name], each) for name in [*dict(model.named_parameters()), "objective.gain"]}
    along = sum((true[name] * z[name]).sum() for name in z)
    for name in z:
        torch.testing.assert_close(mine[name], along * z[name], atol=1e-12, rtol=1e-12)


def test_a_projection_head_that_has_no_shape_yet():
    objective = TemporalContrast(feature="logits_t", width=3)
    credit = assign(SPSA(), toy.leaky(spiking=True), X, torch.tensor([0, 1, 0, 1, 0, 1]), objective=objective)
    assert credit.grads["objective.head.weight0"].shape == (2, 2)
    assert credit.cost.forwards == 3  # one to see the shape of features


def test_a_pass_continues_from_a_carry():
    model = toy.leaky(spiking=False)
    whole = model(X)
    first = model(X[:2])
    for rule in (SPSA(diff="forward"), NodePerturbation(), ForwardGradient(), CoordinateWise(sparsity=0.9)):
        rest = rule.assign(model, QUADRATIC, Batch(X[2:], None, first.carry), (), dice())
        torch.testing.assert_close(rest.carry, whole.carry)
