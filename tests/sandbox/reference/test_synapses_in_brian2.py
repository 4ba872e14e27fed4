"""Compiled synapses against Brian2, which runs the same text: every weight and every other variable in every step."""

from __future__ import annotations

import math

import brian2 as b2
import numpy as np
import pytest
import torch
from scipy.linalg import expm

from sandbox.reference import from_brian2_synapses
from sandbox.reference.synapses.in_brian2 import synapses_in_brian2
from tests.rules.credit.spike_timing.trains import poisson, regular
from tests.sandbox.reference.fuzz_synapses import compared
from tests.sandbox.reference.synaptic_models import EXAMPLES, INVENTED, LITERATURE

MODELS = {**EXAMPLES, **LITERATURE, **INVENTED}
CLOSE = 1e-9  # 1000 steps of decays and sums in another order, of values of order one: rounding is about 1e-13
INPUTS, CELLS, STEPS = 20, 11, 1000


def stimulus(kind):
    """Trains of inputs `[T, K]` and cells `[T, C]`."""
    if kind == "poisson":
        return poisson(STEPS, INPUTS, 0.03, 0), poisson(STEPS, CELLS, 0.03, 1)
    if kind == "regular":
        return regular(STEPS, INPUTS, 23), regular(STEPS, CELLS, 31, start=5)
    gate = (torch.arange(STEPS) % 100 < 12).double()[:, None]
    return gate * poisson(STEPS, INPUTS, 0.4, 2), gate.roll(3, 0) * poisson(STEPS, CELLS, 0.4, 3)


def weights(settings):
    drawn = torch.rand(CELLS, INPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = settings.get("namespace", {}).get("gmax", 1.0)
    scale = min(scale, 1.0) * (1e-3 if "siemens" in settings["model"] else 1.0)  # conductances are in uS
    return scale * (0.2 + 0.6 * drawn)


def ours(rule, start, pre, post, dt):
    """All variables after each step, `[T, C, K]` each."""
    rows = [now for now, _ in rule.run(start, pre[:, None, None], post[:, None, :, None], dt)]
    full = (1, CELLS, 1, INPUTS)
    return {name: torch.stack([row[name].expand(full)[0, :, 0] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("kind", ["poisson", "regular", "bursts"])
@pytest.mark.parametrize("name", MODELS)
def test_every_variable_of_every_synapse_is_that_of_brian2_in_every_step(name, kind):
    """220 synapses, 20 inputs to 11 cells, for 1 s; event-driven variables where a spike asks for them."""
    rule, start = from_brian2_synapses(**MODELS[name]), weights(MODELS[name])
    pre, post = stimulus(kind)
    mine, theirs = ours(rule, start, pre, post, 1.0), synapses_in_brian2(rule, start, pre, post, 1.0)
    asked = (pre[:, None] + post[..., None]) > 0
    events = {line.name for line in rule.prepared.text.lines if "event-driven" in line.flags}
    assert set(mine) == set(theirs)
    for variable, values in theirs.items():
        size = float(values.abs().max())
        apart = (mine[variable] - values).abs()
        if variable in events:
            apart = apart * asked
        assert float(apart.max()) < CLOSE * max(size, 1e-3), variable
    moved = theirs[rule.weight] - start
    assert float(moved.abs().max()) > 0.02 * float(start.abs().max())
    assert not torch.equal(theirs[rule.weight][0], theirs[rule.weight][-1])


@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_other_time_steps(dt):
    rule = from_brian2_synapses(**LITERATURE["Graupner & Brunel 2012, calcium"])
    start = weights({"model": ""})
    pre, post = stimulus("bursts")
    mine, theirs = ours(rule, start, pre, post, dt), synapses_in_brian2(rule, start, pre, post, dt, ["w"])
    assert float((mine["w"] - theirs["w"]).abs().max()) < CLOSE
    assert float((mine["w"] - ours(rule, start, pre, post, 1.0)["w"]).abs().max()) > 1e-3


def test_the_order_of_pathways_is_that_of_brian2():
    """Of the same order by name, and by number otherwise; the last one to run leaves its value."""
    texts = {"model": "w : 1", "on_pre": {"b": "w = 2", "a": "w = 1"}, "on_post": {"c": "w = 3"}}
    pre, post = torch.ones(2, INPUTS, dtype=torch.float64), torch.ones(2, CELLS, dtype=torch.float64)
    start = weights({"model": ""})
    for order, last in (({}, 3.0), ({"c": -1}, 3.0), ({"c": -2}, 2.0), ({"a": 5}, 1.0)):
        rule = from_brian2_synapses(**texts, order=order)
        assert float(ours(rule, start, pre, post, 1.0)["w"][-1].max()) == last
        assert torch.equal(ours(rule, start, pre, post, 1.0)["w"], synapses_in_brian2(rule, start, pre, post, 1.0)["w"])


def test_event_driven_variables_that_do_not_begin_at_zero():
    """They stand at their start at time 0, and decay from there."""
    settings = {**EXAMPLES["synapses/STDP"], "initial": {"Apre": 0.004, "Apost": -0.002}}
    rule, start = from_brian2_synapses(**settings), weights(settings)
    pre, post = stimulus("poisson")
    pre[0], post[0] = 1, 1
    mine, theirs = ours(rule, start, pre, post, 1.0)["w"], synapses_in_brian2(rule, start, pre, post, 1.0)["w"]
    assert float((mine - theirs).abs().max()) < CLOSE


def test_equal_time_constants_have_the_limit_of_their_solution():
    """An alpha function, x(t) = t / tau exp(-t / tau), which Brian2's own solution divides by zero for."""
    model = "w : 1\ndx/dt = (y - x) / tau : 1 (event-driven)\ndy/dt = -y / tau : 1 (event-driven)"
    rule = from_brian2_synapses(model, on_pre="w += x; y += 1", namespace={"tau": 5 * b2.ms})
    pre, post = torch.zeros(20, INPUTS, dtype=torch.float64), torch.zeros(20, CELLS, dtype=torch.float64)
    pre[[2, 15]] = 1
    found = ours(rule, weights({"model": ""}), pre, post, 1.0)["w"]
    passed = 13 / 5
    grown = (found[-1] - found[0]).flatten()
    # a few roundings of numbers near 1
    assert float((grown - passed * math.exp(-passed)).abs().max()) < 1e-14


@pytest.mark.parametrize("times", [(5, 5, 7), (5, 7, 5), (7, 5, 5), (5, 5, 5), (5, 5.0001, 7), (5, 6, 7)])
def test_a_chain_of_three_time_constants_has_its_exact_solution(times):
    """Close and equal ones, too, where Brian2's own solution divides by a difference that is nearly 0."""
    lines = ["w : 1", "dx/dt = (y - x) / tau_a : 1", "dy/dt = (z - y) / tau_b : 1", "dz/dt = -z / tau_c : 1"]
    model = "\n".join([lines[0], *(f"{line} (event-driven)" for line in lines[1:])])
    space = {name: value * b2.ms for name, value in zip(("tau_a", "tau_b", "tau_c"), times, strict=True)}
    rule = from_brian2_synapses(model, on_pre="w += x; z += 1", namespace=space)
    pre, post = torch.zeros(20, INPUTS, dtype=torch.float64), torch.zeros(20, CELLS, dtype=torch.float64)
    pre[[2, 15]] = 1
    found = ours(rule, weights({"model": ""}), pre, post, 1.0)["w"]
    a, b, c = (1 / value for value in times)
    passed = expm(13 * np.array([[-a, a, 0], [0, -b, b], [0, 0, -c]]))[0, 2]
    # a difference of weights near 1, and thirteen steps that each round a few times
    assert float(((found[-1] - found[0]).flatten() - passed).abs().max()) < 1e-13


def test_traces_cost_as_much_as_they_depend_on():
    rule = from_brian2_synapses(**LITERATURE["Song, Miller & Abbott 2000, additive"])
    pre, post = stimulus("poisson")
    *_, (last, _) = rule.run(weights({"model": ""}), pre[:, None, None], post[:, None, :, None], 1.0)
    assert {name: tuple(value.shape) for name, value in last.items()} == {
        "w": (1, CELLS, 1, INPUTS),
        "Apre": (1, 1, 1, INPUTS),
        "Apost": (1, CELLS, 1, 1),
    }


def test_synapses_of_a_grammar():
    assert compared(3, seed=0) == 3
