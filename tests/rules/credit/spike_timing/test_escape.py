"""Reward times score is the gradient of the expected reward: by enumeration of all spikes that can fall."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch

import rules
from rules.check import check_rule
from rules.contract import Batch
from rules.credit.online.online import Online
from rules.credit.online.walk import Walk
from rules.credit.spike_timing import EscapeNoise, scores
from rules.models.admission import UnfitModel
from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import build
from sandbox.neurons import ALIF, ILIF, LIF, EscapeLIF, LeakyIntegrator, StochasticBinary
from tests.rules.credit.online.nets import assigned, batch
from tests.rules.credit.online.nets import net as graded
from tests.rules.credit.spike_timing.nets import credit, net, spikes

EXACT = 1e-12  # float64 sums over at most 256 spike patterns, each of some tens of products
ESCAPE = Surrogate("sigmoid", alpha=1.5)
CASES = {  # cells, hidden layers, steps: 16 to 256 patterns of spikes
    "binary unit": (StochasticBinary(), (1,), 4),
    "leaky binary unit": (StochasticBinary(tau_mem=3.0), (1,), 4),
    "reset": (LIF(tau_mem=3.0), (1,), 4),
    "reset by subtraction": (LIF(tau_mem=3.0, reset="subtract"), (1,), 4),
    "adaptation": (ALIF(tau_mem=3.0, beta=0.5), (1,), 4),
    "recurrent": (LIF(tau_mem=3.0), ("2r",), 3),
    "deep": (LIF(tau_mem=3.0), (2, 1), 2),
    "deep and recurrent": (StochasticBinary(tau_mem=3.0), ("1r", "1r"), 4),
}


def patterns(bits):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=bits)), dtype=torch.float64)


def network(neuron, hidden):
    """A network of two inputs, whose spikes are neither rare nor certain."""
    model = build((2,), 2, hidden, neuron, LeakyIntegrator(), seed=3).double()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.8 * torch.randn(p.shape, generator=rng, dtype=p.dtype))
    return model


class Falling:
    """Lets given spikes fall, `[patterns, T, cells]` of each layer; layers run one after the other."""

    def __init__(self, layers):
        self.rows = iter([row for layer in layers for row in layer.unbind(1)])
        self.logs = []

    def __call__(self, u, chance, strict, noise, generator):
        return next(self.rows)

    def spike(self, own, u, strict, noise):
        """In a pass of autograd, with the logarithm of the probability of what fell."""
        z, escape = next(self.rows), ESCAPE if noise is None else own
        chance = escape.primitive(u)
        self.logs.append((z * chance + (1 - z) * (1 - chance)).log().sum(1))
        return z


def every(hidden, steps):
    """All spikes of all layers, `[patterns, T, cells]` of each."""
    sizes = [int(str(size).rstrip("r")) for size in hidden]
    rows = patterns(steps * sum(sizes)).reshape(-1, steps, sum(sizes))
    return list(rows.split(sizes, 2))


def probabilities(model, x, layers):
    """The probability of each pattern, by autograd through the cells with their spikes as they fell."""
    falling = Falling(layers)
    with differentiating(spike=falling.spike, generator=torch.Generator().manual_seed(0)):
        for site in model.layers[:-1]:
            carry, outputs = site.cells.rest(site.synapse(x[:1])), []
            state, shown = carry
            for row in x:
                current = site.synapse(row)
                if site.cells.recurrent is not None:
                    current = current + site.cells.recurrent(shown)
                shown, state = site.cells.advance(current, state)
                outputs.append(shown)
            x = torch.stack(outputs)
    return torch.stack(falling.logs).sum(0).exp()


def enumerated(name, monkeypatch, rule=None, baseline=0.0):
    """The mean over all patterns of what the rule gives, and minus the gradient of the expected reward."""
    neuron, hidden, steps = CASES[name]
    model, layers = network(neuron, hidden), every(hidden, steps)
    count = len(layers[0])
    rng = torch.Generator().manual_seed(1)
    x = (torch.rand(steps, 1, 2, generator=rng, dtype=torch.float64) < 0.7).double().expand(-1, count, -1).clone()
    earned = torch.randn(count, generator=rng, dtype=torch.float64)  # any function of all spikes
    known = EscapeNoise(ESCAPE).parameters(model)
    chance = probabilities(model, x, layers)
    assert float(chance.sum().detach()) == pytest.approx(1.0, abs=EXACT)
    slopes = torch.autograd.grad((chance * earned).sum(), list(known.values()))
    truth = {name: -slope for name, slope in zip(known, slopes, strict=True)}
    reward = torch.zeros(steps, count, dtype=torch.float64)
    reward[-1] = (earned - baseline) * chance.detach() * count  # at the end; the rule takes a mean over samples
    monkeypatch.setattr(scores, "fired", Falling(layers))
    found = credit(rule or EscapeNoise(ESCAPE), model, Batch(x, targets=reward)).grads
    return found, truth


@pytest.mark.parametrize("name", CASES)
def test_the_mean_over_all_spikes_is_the_gradient_of_the_expected_reward(name, monkeypatch):
    found, truth = enumerated(name, monkeypatch)
    assert found.keys() == truth.keys()
    assert max(float(t.abs().max()) for t in truth.values()) > 1e-3
    assert max(float((found[name] - truth[name]).abs().max()) for name in truth) < EXACT


@pytest.mark.parametrize("name", ["reset", "deep"])
@pytest.mark.parametrize("baseline", [-1.0, 0.3, 50.0])
def test_a_baseline_leaves_the_mean(name, baseline, monkeypatch):
    found, truth = enumerated(name, monkeypatch, baseline=baseline)
    assert max(float((found[name] - truth[name]).abs().max()) for name in truth) < EXACT * (1 + abs(baseline))


def test_the_best_baseline_is_the_mean_of_the_reward_weighted_by_the_squared_score(monkeypatch):
    """The variance of (R - b) el over all spikes, of one weight, is least at E[R el^2] / E[el^2]."""
    neuron, hidden, steps = CASES["reset"]
    model, layers = network(neuron, hidden), every(hidden, steps)
    count = len(layers[0])
    x = torch.ones(steps, count, 2, dtype=torch.float64)
    chance = probabilities(model, x, layers).detach()
    earned = torch.randn(count, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 2.0
    monkeypatch.setattr(scores, "fired", Falling(layers))
    carry = credit(EscapeNoise(ESCAPE), model, Batch(x, targets=torch.zeros(steps, count, dtype=torch.float64))).carry
    el = carry.traces[0][-1][:, 0, 0]
    assert float((chance * el).sum()) == pytest.approx(0.0, abs=EXACT)

    def variance(b):
        found = (earned - b) * el
        return float((chance * found.square()).sum() - (chance * found).sum().square())

    best = float((chance * earned * el.square()).sum() / (chance * el.square()).sum())
    assert variance(best) < min(variance(best - 0.1), variance(best + 0.1), variance(0.0))


def test_rewards_on_the_way_count_for_the_spikes_before_them():
    """A reward of a step is of the score up to it, so that later spikes add no noise."""
    model, given = net((5,), scale=1.0), spikes(12)
    reward = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = credit(EscapeNoise(), model, given._replace(targets=reward)).grads
    total = {}
    for step in range(12):
        one = torch.zeros_like(reward)
        one[step] = reward[step]
        cut = Batch(given.x[: step + 1], targets=one[: step + 1])
        part = credit(EscapeNoise(), model, cut).grads  # the same draws, up to this step
        total = {name: total.get(name, 0) + g for name, g in part.items()}
    for name, g in whole.items():
        assert float((total[name] - g).abs().max()) < EXACT * float(g.abs().max() + 1)


@pytest.mark.parametrize("tau_e", [None, 7.0])
def test_windows_add_up_where_weights_stand_still(tau_e):
    model, given, rule = net((5,), scale=1.0), spikes(20), EscapeNoise(tau_e=tau_e)
    reward = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, rng = credit(rule, model, given._replace(targets=reward)).grads, torch.Generator().manual_seed(0)
    carry, total = None, {}
    for x, r in zip(given.x.split(7), reward.split(7), strict=True):
        part = rule.assign(model, None, Batch(x, carry=carry, targets=r), {}, rng)
        carry = part.carry
        total = {name: total.get(name, 0) + g for name, g in part.grads.items()}
    for name, g in whole.items():
        assert float((total[name] - g).abs().max()) < EXACT * float(g.abs().max() + 1)


def test_signals_in_place_of_a_reward_make_it_eprop(monkeypatch):
    """With m of a cell the derivative of the loss of the step by its spike, reward times trace is the symmetric rule."""
    model, given = graded(LIF(), (6,)), batch()
    symmetric = assigned(Online("synapse"), model, given)

    def signals(self, start, moments):
        self.share = rules.OBJECTIVES["tet"]().shares(self.batch)
        g = self.lost(start, moments[-1].output)
        (weight,) = (p for name, p in model.named_parameters() if name.endswith("1.synapse.weight"))
        return [(g * moments[-1].local.shown[-1]) @ weight, g]

    monkeypatch.setattr(Walk, "rewarded", signals)
    found = assigned(Online("synapse", "reward"), model, given)
    for name, g in symmetric.grads.items():
        assert float((found.grads[name] - g).norm() / g.norm()) < EXACT
    assert found.loss == pytest.approx(symmetric.loss)


def test_cells_fire_as_often_as_the_escape_function_says():
    """Also in evaluation, where the mode "plain" has no noise."""
    model, rule = network(LIF(tau_mem=1e-3), (1,)), EscapeNoise(ESCAPE)
    with torch.no_grad():
        model.layers[0].synapse.weight.zero_()
        model.layers[0].synapse.bias.fill_(0.4)  # u = 0.4 - 1
    x, rng, seen = torch.zeros(1, 20_000, 2, dtype=torch.float64), torch.Generator().manual_seed(0), {}
    for mode in rule.inferences:
        rates = []
        rule.infer(lambda b: rates.append(model.layers[0].run(b.x).output.mean()), Batch(x), mode, rng)  # noqa: B023
        seen[mode] = float(rates[0].detach())
    wanted = float(ESCAPE.primitive(torch.tensor(-0.6)))
    assert seen["drawn"] == pytest.approx(wanted, abs=5 * (wanted * (1 - wanted) / 20_000) ** 0.5)
    assert seen["plain"] == 0.0


def test_it_learns_which_input_a_cell_should_answer():
    """Reward for a spike of the cell where the first input is on, less one where the second is: 200 steps."""
    model, escape, inputs = network(LIF(tau_mem=1e-3), (1,)), EscapeNoise().surrogate, torch.eye(2, dtype=torch.float64)
    x = inputs.repeat(20, 1)[None].repeat(3, 1, 1)
    for seed in range(200):
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad(), differentiating(spike=scores.scored(escape, rng), generator=rng):
            fell = model.layers[0].run(x).output[..., 0]
        reward = fell * torch.where(x[..., 0] > 0, 1.0, -1.0)
        again = torch.Generator().manual_seed(seed)  # the spikes that were rewarded
        found = EscapeNoise().assign(model, None, Batch(x, targets=reward), {}, again).grads
        with torch.no_grad():
            for name, g in found.items():
                model.get_parameter(name).sub_(0.5 * g)
    with torch.no_grad():
        first, second = escape.primitive(model.layers[0].synapse(inputs)[:, 0] - 1)
    assert float(first) > 0.9
    assert float(second) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "avg"}, "unknown baseline 'avg'.*none, mean"),
        ({"tau_e": -1.0}, "tau_e=-1.0: give a time constant above 0, in ms"),
        ({"surrogate": "sigmod"}, "unknown surrogate 'sigmod'"),
        (
            {"surrogate": "fast_sigmoid"},
            r"surrogate=Surrogate\('fast_sigmoid'\): it has a.* primitive.*Surrogate\('sigm",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EscapeNoise(**options)


def test_cells_that_draw_their_threshold_are_refused():
    model = build((4,), 3, (5,), EscapeLIF(), LeakyIntegrator()).double()
    with pytest.raises(UnfitModel, match=r"layers\.0 is made of EscapeLIF, whose threshold is drawn, .*: use cells w"):
        EscapeNoise().confirm(model, spikes()._replace(targets=torch.zeros(60, 3)))
    model = build((4,), 3, (5,), ILIF(), LeakyIntegrator()).double()
    with pytest.raises(UnfitModel, match=r"layers\.0 is made of ILIF, which does not fire once by a surrogate in a st"):
        EscapeNoise().confirm(model, spikes())
    for neuron in (LIF(), StochasticBinary()):
        EscapeNoise().confirm(build((4,), 3, (5,), neuron, LeakyIntegrator()).double(), spikes())


@dataclass(frozen=True)
class Larger(EscapeNoise):
    """Off in its scale by a fifth."""

    def assign(self, *args):
        found = super().assign(*args)
        return found._replace(grads={name: 1.2 * g for name, g in found.grads.items()})


@dataclass(frozen=True)
class Forgetful(EscapeNoise):
    """A score of the present step alone, which claims to keep all."""

    tau_e: float | None = 1e-3
    claim = "unbiased"


@pytest.mark.parametrize("broken", [Larger, Forgetful])
def test_the_measured_claim_catches_a_rule_that_is_off(broken):
    rule = rules.make("escape_noise")
    assert check_rule(rule).passed
    report = {each.check: each for each in check_rule(replace(rule, credit=broken())).results}
    assert not report["claim holds"].passed
    assert "the gradient of minus the expected reward" in report["claim holds"].message


def test_the_claim_is_of_scores_that_forget_nothing():
    assert EscapeNoise(baseline="mean").claim == "unbiased"
    assert replace(EscapeNoise(), tau_e=10.0).claim == "none"
