"""Further events, step for step beside groups that Brian2 makes of the same text."""

import brian2 as b2
import pytest
import torch
from brian2 import ms, mV

from sandbox import validate
from sandbox.reference import from_brian2
from tests.sandbox.reference.beside_brian2 import CLOSE, Case, compiled, ran, ran_in_brian2

TWO = """
dv/dt = (drive - v) / (10*ms) : volt
dw/dt = -w / (20*ms) : volt
drive : volt (constant)
ticks : 1
"""
INITIAL = {"drive": [8, 12, 15, 20, 25, 30] * mV}
CASES = {
    "a second threshold": ("v > 15*mV", "v = 0*mV", False, {"low": ("v > 5*mV and v < 6*mV", "w += 1*mV; ticks += 1")}),
    "asked before the reset": (
        "v > 10*mV",
        "v = 0*mV; w += 3*mV",
        False,
        {"high": ("v > 9.9*mV", "ticks += 1; v += w")},
    ),
    "statements run after the reset": ("v > 10*mV", "v = 2*mV", False, {"x": ("v > 10*mV", "w = v; ticks += 1")}),
    "two events in order": (
        "v > 10*mV",
        "v = 0*mV",
        False,
        {"one": ("v > 4*mV", "w = v"), "two": ("v > 5*mV", "w = 2*w; ticks += 1")},
    ),
    "refractory cells have events": ("v > 10*mV", "v = 0*mV", 5 * ms, {"always": ("v >= 0*mV", "ticks += 1")}),
    "unless refractory": ("v > 10*mV", "v = 0*mV", 5 * ms, {"free": ("v > 1*mV and not_refractory", "ticks += 1")}),
    "since the last spike": ("v > 10*mV", "v = 0*mV", 2 * ms, {"late": ("t - lastspike > 3.05*ms", "ticks += 1")}),
    "ties in the time since the last spike": (
        "v > 10*mV",
        "v = 0*mV",
        2 * ms,
        {"late": ("t - lastspike > 3*ms", "ticks += 1; v += 0.5*mV"), "at": ("t - lastspike >= 4*ms", "w += 1*mV")},
    ),
    "a tie in the statements": (
        "v > 10*mV",
        "v = 0*mV",
        2 * ms,
        {"x": ("v > 3*mV", "ticks += int(t - lastspike > 3*ms)")},
    ),
    "every seventh step": ("v > 10*mV", "v = 0*mV", False, {"x": ("int(t/dt) % 7 == 0", "ticks += 1; v += 0.1*mV")}),
    "without a reset": ("v > 100*mV", None, False, {"wrap": ("v > 11*mV", "v = 0*mV; ticks += 1")}),
    "local variables": ("v > 10*mV", "v = 0*mV", False, {"x": ("v > 9*mV", "before = v; v = 1*mV; w += before")}),
}


@pytest.mark.parametrize(("threshold", "reset", "refractory", "events"), CASES.values(), ids=list(CASES))
def test_as_in_brian2(threshold, reset, refractory, events):
    case = Case(TWO, threshold, reset, refractory, "euler", initial=INITIAL)
    values, fired = ran_in_brian2(case, events=events)
    neuron = compiled(case, input=None, events=events)
    found, shown = ran(neuron, case)
    assert torch.equal(fired, shown)
    for name in found.keys() & values.keys():
        assert torch.allclose(found[name], values[name], rtol=CLOSE, atol=CLOSE), name
    assert found["ticks"].sum() > 0 or found["w"].sum() > 0


def test_a_group_brings_its_events():
    group = b2.NeuronGroup(
        3, "dv/dt = 1*mV/ms : volt\nn : 1", events={"top": "v > 2.05*mV", "unheard": "v > 1*mV"}, method="euler"
    )
    group.run_on_event("top", "v = 0*mV; n += 1")
    neuron = from_brian2(group, input=None)
    state = neuron.initial_state((3,), torch.zeros(3, dtype=torch.float64))
    for _ in range(100):
        _, state = neuron.step(torch.zeros(3), state, 0.1)
    assert state.n.tolist() == [4.0] * 3  # after 21 steps each


BAD = {
    "text": ({"x": "v > 1*mV"}, "give a name, and a condition and statements as text"),
    "one part": ({"x": ("v > 1*mV",)}, "give a name, and a condition and statements as text"),
    "a name": ({"2x": ("v > 1*mV", "v = 0*mV")}, "give a name"),
    "the spike": ({"spike": ("v > 1*mV", "v = 0*mV")}, "the event of a spike is threshold= and reset="),
    "a call": ({"x": ("__import__('os')", "v = 0*mV")}, "'__import__"),
    "no condition": ({"x": ("v", "v = 0*mV")}, "event 'x': 'v' is not a condition"),
    "a unit": ({"x": ("v > 1*mV", "v = 0*ms")}, "event 'x' 'v = 0\\*ms'.*multiply by a unit"),
    "an unknown name": ({"x": ("v > 1*mV", "u = 0")}, "unknown variable assigned in the reset 'u = 0': 'u'"),
    "an unknown side": ({"x": ("v > 1*mV", "v = vr")}, "unknown identifier in 'vr'"),
    "waiting": ({"x": ("not_refractory", "v = 0*mV")}, "give refractory=..."),
}


@pytest.mark.parametrize(("events", "message"), BAD.values(), ids=list(BAD))
def test_bad_events(events, message):
    with pytest.raises(ValueError, match=message):
        from_brian2("dv/dt = -v/(10*ms) : volt", method="euler", input=None, events=events)


def test_validated_beside_brian2():
    neuron = from_brian2(
        "dv/dt = (current*Mohm - v) / (10*ms) : volt\ndw/dt = -w / (20*ms) : volt",
        "v > 10*mV",
        "v = w",
        method="euler",
        events={"near": ("v > 9*mV", "w += 0.1*mV")},
    )
    report = validate(neuron, duration=50.0, cells=4, tiers=("same_scheme",))
    assert report.passed, report
    assert report.spikes > 20
