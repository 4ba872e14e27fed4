"""The time-stepped credit: it goes to the exact gradient with O(dt), and refuses what it cannot follow."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import rules
from rules.check import check_rule
from rules.contract import Batch, Objective
from rules.credit.eventprop import EventProp, Membrane, spike_times
from rules.credit.eventprop.linear import linear, step_of
from rules.diagnostics.health import HealthWarning
from rules.models.admission import UnfitModel
from rules.objectives.spike_timing import first_spike
from rules.sites.site import sites
from sandbox import build, calibrate, kernels, synapses
from sandbox.neurons import ALIF, LIF, AlphaLIF, CubaLIF, Izhikevich, LeakyIntegrator, StochasticBinary
from tests.rules.credit.eventprop import naive

INPUTS, HIDDEN, OUTPUTS, LONG = 4, 6, 3, 60.0
CELL = Membrane(20.0, 5.0)


@dataclass(frozen=True)
class Times(Objective):
    """A sum of squares of the times of first spikes [20 ms], each with a weight."""

    dt: float
    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, run, batch):
        return squares(first_spike(run.output) * self.dt)


@dataclass(frozen=True)
class Voltage(Objective):
    """A sum of squares of the voltage at 20, 40 and 60 ms."""

    dt: float
    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, run, batch):
        at = [round(t / self.dt) - 1 for t in (20.0, 40.0, 60.0)]
        return (run.output[at] ** 2).sum()


def squares(first):
    return ((first / 20.0) ** 2 * torch.cos(torch.arange(OUTPUTS) + 1.0)).sum()


def given(seed=0):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    times = 2.0 + 28.0 * torch.rand(2, INPUTS, 1, generator=rng, dtype=torch.float64)
    return times, draw(HIDDEN, INPUTS) * 2.0 + 5.0, draw(OUTPUTS, HIDDEN) + 2.5


def in_steps(times, weights, dt, hidden, readout, units):
    """The same network in steps: a model, a batch, and what its weights are worth in units of the exact ones."""
    model = build((INPUTS,), OUTPUTS, (HIDDEN,), hidden, readout, dt=dt).double()
    with torch.no_grad():
        for layer, weight, unit in zip(model.layers, weights, units, strict=True):
            layer.synapse.weight.copy_(weight / unit)
            if layer.synapse.bias is not None:
                layer.synapse.bias.zero_()
    x = torch.zeros(round(LONG / dt), 2, INPUTS, dtype=torch.float64)
    x.scatter_(0, (times[..., 0] / dt).long()[None], 1.0)
    return model, Batch(x)


def stepped(dt, readout, objective, out_unit):
    times, *weights = given()
    units = 1 - math.exp(-dt / 5.0), out_unit(dt)
    hidden = CubaLIF(tau_mem=20.0, tau_syn=5.0)
    model, batch = in_steps(times, weights, dt, hidden, readout, units)
    rng = torch.Generator().manual_seed(0)
    found = EventProp(grazing=0.0).assign(model, objective(dt), batch, (), rng)
    return found, [found.grads[f"layers.{n}.synapse.weight"] / unit for n, unit in enumerate(units)]


def off(found, wanted):
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)]


def exact(value):
    times, *weights = given()
    weights = [w.requires_grad_() for w in weights]
    fired = spike_times(times, weights[0], CELL, LONG)
    return torch.autograd.grad(value(fired, weights[1]), weights), int(torch.isfinite(fired).sum())


def test_spike_time_losses_converge_to_the_exact_gradient_with_the_step():
    def value(fired, weight):
        return squares(spike_times(fired, weight, CELL, LONG)[..., 0])

    wanted, count = exact(value)
    assert count > 15
    readout = CubaLIF(tau_mem=20.0, tau_syn=5.0)
    errors = []
    for dt in (0.1, 0.05, 0.025, 0.0125):
        _, grads = stepped(dt, readout, Times, lambda dt: 1 - math.exp(-dt / 5.0))
        errors.append(off(grads, wanted))
    assert max(errors[-1]) < 0.01
    for coarse, fine in zip(errors[:-1], errors[2:], strict=False):  # a quarter of the step
        assert all(f < 0.5 * c for c, f in zip(coarse, fine, strict=True)), errors


def test_losses_of_a_voltage_converge_to_the_exact_gradient_with_the_step():
    readout = LeakyIntegrator(tau_mem=20.0)

    def leaky(fired, weight):
        """A leaky membrane that spikes lift at once: the limit of a fast synapse, in closed form."""
        at = torch.tensor([20.0, 40.0, 60.0], dtype=torch.float64)
        spans = at - fired[..., None].nan_to_num(posinf=1e9)
        kept = torch.where(spans > 0, torch.exp(-spans.clamp(min=0) / 20.0), 0.0).sum(2)
        return (torch.einsum("nm,bmq->bqn", weight, kept) ** 2).sum()

    wanted, _ = exact(leaky)
    errors = []
    for dt in (0.1, 0.05, 0.025, 0.0125):
        _, grads = stepped(dt, readout, Voltage, lambda dt: 1 - math.exp(-dt / 20.0))
        errors.append(off(grads, wanted))
    assert max(errors[-1]) < 0.01
    for coarse, fine in zip(errors[:-1], errors[2:], strict=False):
        assert all(f < 0.5 * c for c, f in zip(coarse, fine, strict=True)), errors


@pytest.mark.parametrize("reset", ["to_value", "subtract"])
def test_recurrent_cells_converge_to_central_differences_of_an_event_loop(reset):
    rng = torch.Generator().manual_seed(25)  # no two events within 0.2 ms before the last first spike
    times = 2.0 + 28.0 * torch.rand(INPUTS, 1, generator=rng, dtype=torch.float64)
    weight = torch.randn(OUTPUTS, INPUTS, generator=rng, dtype=torch.float64) + 6.0
    inner = torch.randn(OUTPUTS, OUTPUTS, generator=rng, dtype=torch.float64) * 1.5
    parts = {"synapse.weight": weight, "cells.recurrent.weight": inner}

    def value(given):
        fired = naive.recurrent(times.tolist(), *given.values(), CELL, LONG)
        assert all(fired)
        return float(squares(torch.tensor([row[0] for row in fired], dtype=torch.float64)))

    assert sum(map(len, naive.recurrent(times.tolist(), weight, inner, CELL, LONG))) > 6
    wanted = []
    for name, part in parts.items():
        slope = torch.zeros_like(part)
        for at in torch.cartesian_prod(*map(torch.arange, part.shape)).tolist():
            ends = []
            for sign in (1, -1):
                moved = part.clone()
                moved[tuple(at)] += sign * 1e-5
                ends.append(value({**parts, name: moved}))
            slope[tuple(at)] = (ends[0] - ends[1]) / 2e-5
        wanted.append(slope)
    errors = []
    for dt in (0.05, 0.025, 0.0125):
        neuron, unit = CubaLIF(tau_mem=20.0, tau_syn=5.0, reset=reset), 1 - math.exp(-dt / 5.0)
        model = build((INPUTS,), OUTPUTS, (f"{OUTPUTS}r",), neuron, dt=dt).double()
        model.layers = model.layers[:1]
        state = {name: part / unit for name, part in parts.items()}
        model.layers[0].load_state_dict(state | {"synapse.bias": torch.zeros(OUTPUTS)}, strict=False)
        x = torch.zeros(round(LONG / dt), 1, INPUTS, dtype=torch.float64)
        x[:, 0].scatter_(0, (times / dt).long().T, 1.0)
        found = EventProp(grazing=0.0).assign(model, Times(dt), Batch(x), (), torch.Generator()).grads
        errors.append(off([found[f"layers.0.{name}"] / unit for name in parts], wanted))
    assert max(errors[-1]) < 0.02
    assert all(f < 0.5 * c for c, f in zip(errors[0], errors[2], strict=True)), errors


def small(neuron=None, hidden=(8,), readout=None, shape=(4,), **options):
    model = build(shape, 3, hidden, neuron or CubaLIF(), readout or LeakyIntegrator(), seed=1, **options)
    with torch.no_grad():
        for p in model.layers[0].synapse.parameters():
            p.abs_().mul_(3.0)
    return model


def batch(shape=(4,), steps=40):
    rng = torch.Generator().manual_seed(0)
    return Batch((torch.rand(steps, 6, *shape, generator=rng) < 0.3).float(), torch.arange(6) % 3)


@pytest.mark.parametrize("neuron", [CubaLIF(), CubaLIF(reset="subtract"), AlphaLIF(), LIF(), CubaLIF(tau_mem=5.0)])
def test_linear_cells_are_found_by_trying_them(neuron):
    site = sites(small(neuron).double())[0]
    found = linear(site)
    assert found.subtract == (neuron.reset == "subtract")
    assert found.fall == pytest.approx(-1.0)
    assert found.leak == pytest.approx(1 / neuron.tau_mem)
    state, current = neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64)), torch.full((1,), 0.1).double()
    one = neuron.step(current, state, 1.0)[1]
    assert [float(v) for v in one[: len(found.driven)]] == pytest.approx((0.1 * found.driven).tolist())


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        (ALIF(), "is made of ALIF, which a spike does not set back in the membrane alone"),
        (CubaLIF(t_refractory=3.0), "refractory"),
        (CubaLIF(reset="none"), "not set back by a spike"),
        (Izhikevich(), "Izhikevich"),
        (StochasticBinary(), "StochasticBinary"),
    ],
)
def test_cells_that_do_not_fit_are_refused_by_name(neuron, message):
    with pytest.raises(UnfitModel, match=rf"{message}[\s\S]*cuba_lif"):
        rules.Trainer(small(neuron), rules.LearningRule(*_parts())).step(batch())


def _parts(**options):
    whole = rules.make("bptt", lr=0.02)
    return rules.OBJECTIVES["ce_mean"](), EventProp(**options), whole.plasticity


@pytest.mark.parametrize(("hidden", "shape"), [((8,), (4,)), (("8r", 6), (4,)), (("4c3p2", 5), (1, 4, 4))])
def test_a_batch_is_learned(hidden, shape):
    """By a leaky read-out; dense, recurrent, and convolutional with pooling."""
    model = small(hidden=hidden, shape=shape)
    trainer = rules.Trainer(model, rules.LearningRule(*_parts()), health=None)
    before = [p.clone() for p in model.parameters()]
    given = batch(shape)
    losses = [trainer.step(given).loss for _ in range(60)]
    assert losses[-1] < 0.97 * losses[0]
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_contract_of_credits():
    for rule in (EventProp(), EventProp(silent="raise")):
        report = check_rule(rule)
        assert report.passed, str(report)


def test_the_gradient_of_a_layer_above_spikes_is_that_of_autograd():
    """A read-out that does not fire has no spike times: its weights get what BPTT gives them."""
    model, given = small().double(), batch()
    given = given._replace(x=given.x.double())
    objective = rules.OBJECTIVES["ce_mean"]()
    one, two = (
        credit.assign(model, objective, given, (), torch.Generator().manual_seed(0)).grads
        for credit in (EventProp(), rules.BPTT())
    )
    assert float((one["layers.1.synapse.weight"] - two["layers.1.synapse.weight"]).abs().max()) < 1e-12
    assert not torch.allclose(one["layers.0.synapse.weight"], two["layers.0.synapse.weight"])


def test_silent_cells_are_raised_where_that_is_asked_for():
    model, given = small(), batch()
    with torch.no_grad():
        model.layers[0].synapse.weight[2:4].zero_()
        model.layers[0].synapse.bias.zero_()
    objective = rules.OBJECTIVES["ce_mean"]()
    plain, raised = (
        EventProp(silent=word, bump=0.25).assign(model, objective, given, (), torch.Generator())
        for word in ("none", "raise")
    )
    change = raised.grads["layers.0.synapse.weight"] - plain.grads["layers.0.synapse.weight"]
    assert plain.info["silent_cells"] == raised.info["silent_cells"] == 2
    assert (change[2:4] == -0.25).all()
    assert not change[:2].any()
    assert not change[4:].any()


def test_grazing_spikes_are_reported_and_not_clipped():
    """A constant current that only just reaches the threshold; a step later no cell fires."""
    neuron = CubaLIF(tau_mem=20.0, tau_syn=5.0)
    model = build((1,), 1, (1,), neuron, LeakyIntegrator()).double()
    with torch.no_grad():
        model.layers[0].synapse.weight.fill_(1.0)
        model.layers[0].synapse.bias.zero_()
    x = torch.full((400, 1, 1), 1.00001, dtype=torch.float64)
    objective = rules.OBJECTIVES["mse"]()
    given = Batch(x, targets=torch.ones(400, 1, 1, dtype=torch.float64))
    with pytest.warns(HealthWarning, match=r"cell 0 of layers.0 in sample 0 at 23\d ms is grazing .*clip the norm"):
        found = EventProp(grazing=1e-3).assign(model, objective, given, (), torch.Generator())
    assert found.info["grazing"] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = EventProp(grazing=0.0).assign(model, objective, given, (), torch.Generator())
    assert torch.equal(found.grads["layers.0.synapse.weight"], again.grads["layers.0.synapse.weight"])


def test_windows_go_on_from_the_state():
    model, given = small().double(), batch()
    given = given._replace(x=given.x.double())
    objective = rules.OBJECTIVES["tet"]()
    whole = EventProp().assign(model, objective, given, (), torch.Generator())
    first = EventProp().assign(model, objective, given._replace(x=given.x[:20]), (), torch.Generator())
    second = EventProp().assign(
        model, objective, given._replace(x=given.x[20:], carry=first.carry), (), torch.Generator()
    )
    assert first.info["spikes"] + second.info["spikes"] == whole.info["spikes"] > 0
    assert (first.loss + second.loss) / 2 == pytest.approx(whole.loss)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"silent": "noise"}, "silent"), ({"bump": -1.0}, "bump=-1.0"), ({"grazing": -1.0}, "grazing=-1.0")],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        EventProp(**options)


def test_objectives_that_look_inside_are_refused():
    with pytest.raises(ValueError, match="looks at layers"):
        rules.LearningRule(
            rules.objectives.Sum((_parts()[0], rules.objectives.REGULARISERS["rate_l1"](0.1))), *_parts()[1:]
        )


@pytest.mark.parametrize("neuron", [LIF(), CubaLIF()], ids=lambda neuron: type(neuron).__name__)
def test_loops_and_products_by_events_give_the_gradient_of_the_loop_in_torch(neuron):
    """Of two layers: the lower one needs what the currents of the upper one are worth."""
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.rand(40, 5, 12, generator=rng) < 0.2).double(), torch.arange(5) % 3
    net = build((12,), 3, (20, 70), neuron, LeakyIntegrator(), seed=0).double()
    calibrate(net, x, rate=0.1)
    objective = rules.OBJECTIVES["ce_mean"]()
    answers = []
    for loop, way in (("plain", "dense"), ("numba", "dense"), ("numba", "events")):
        with kernels.using(loop), synapses.using(way):
            answers.append(EventProp().assign(net, objective, Batch(x, y), None, rng))
    assert answers[0].info["spikes"] > 500
    for other in answers[1:]:
        assert other.info == answers[0].info
        assert other.grads.keys() == answers[0].grads.keys() == dict(net.named_parameters()).keys()
        for name, g in answers[0].grads.items():  # sums in another order
            assert float((other.grads[name] - g).abs().max()) <= 1e-11 * float(g.abs().max())


def test_a_step_is_remembered_until_the_cells_change(monkeypatch):
    (place, *_), tried = sites(build((4,), 3, (5,), CubaLIF())), []
    whole = linear

    def counted(site):
        tried.append(site)
        return whole(site)

    monkeypatch.setattr("rules.credit.eventprop.linear.linear", counted)
    first = step_of(place)
    assert step_of(place) is first
    assert len(tried) == 1
    place.layer.cells.neuron = CubaLIF(tau_mem=7.0)
    assert step_of(place).leak == pytest.approx(1 / 7.0)
    place.layer.cells.dt = 0.5
    assert step_of(place).dt == 0.5
    assert len(tried) == 3


def test_a_step_of_cells_that_learn_is_found_anew():
    (place, *_) = sites(build((4,), 3, (5,), CubaLIF()))
    first = step_of(place)
    place.layer.cells.register_parameter("own", torch.nn.Parameter(torch.ones(1)))
    assert step_of(place) is not first
