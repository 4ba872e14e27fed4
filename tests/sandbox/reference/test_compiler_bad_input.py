"""Every mistake in the text of a model has its own message, with the piece of text and the remedy."""

from __future__ import annotations

import builtins
import importlib
import sys

import brian2 as b2
import pytest
import torch

from sandbox.reference import from_brian2

GOOD = "dv/dt = (r * current - v) / tau : volt (unless refractory)"
SPACE = {"tau": 10 * b2.ms, "r": 1 * b2.Mohm}
TWO = "dv/dt = (I - v) / tau : 1\ndI/dt = -I / tau_s : 1"


def make(equations=GOOD, threshold="v > 1*mV", reset="v = 0*mV", namespace=SPACE, **more):
    return from_brian2(equations, threshold, reset, namespace=namespace, **more)


def test_the_good_one_is_good():
    assert make().method == "exact"


CASES = {
    "inconsistent units": (
        lambda: make("dv/dt = (r * current - v * 2*ms) / tau : volt"),
        r"the units do not fit in 'dv/dt = \(r \* current - v \* 2\*ms\) / tau : volt'.*multiply by a unit",
    ),
    "wrong unit of the right-hand side": (
        lambda: make("dv/dt = (r * current - v) : volt"),
        r"the units do not fit in 'dv/dt = \(r \* current - v\) : volt'",
    ),
    "unit of the reset": (lambda: make(reset="v = 0"), "reset 'v = 0'.*unit"),
    "unit of the threshold": (lambda: make(threshold="v > 1"), "threshold 'v > 1'.*unit"),
    "unknown identifier": (
        lambda: make("dv/dt = (r * current - v) / tua : volt"),
        r"unknown identifier in '\(r \* current - v\) / tua' \(give its value in namespace=\): 'tua'; nearest: 'tau'",
    ),
    "unknown method": (
        lambda: make(method="rk5"),
        "unknown method 'rk5'; nearest: 'rk4'; valid: exact, exponential_euler",
    ),
    "unsupported method": (
        lambda: make("dv/dt = (v**2/mV - v) / tau : volt", method="exact"),
        r"method 'exact' does not apply to these equations \('exact': .*\); these do: euler, rk2, rk4",
    ),
    "a power that exponential Euler would drop": (
        lambda: make("dv/dt = (v**2/mV - v) / tau : volt", method="exponential_euler"),
        "has higher powers of 'v', which Brian2 would drop without a warning.*these do: euler, rk2, rk4, heun, milstein",
    ),
    "unsupported method for noise": (
        lambda: make("dv/dt = -v / tau + 1*mV*xi/tau**0.5 : volt", method="rk4"),
        "method 'rk4' does not apply .*these do: euler, heun, milstein",
    ),
    "threshold without a condition": (
        lambda: make(threshold="v - 1*mV"),
        "threshold 'v - 1\\*mV' is not a condition; write one",
    ),
    "threshold of equality": (
        lambda: make(threshold="v == 1*mV"),
        "threshold 'v == 1\\*mV': the surrogate derivative needs a comparison",
    ),
    "reset of an unknown name": (
        lambda: make(reset="u = 0*mV"),
        "unknown variable assigned in the reset 'u = 0\\*mV': 'u'.*valid: v",
    ),
    "a local variable that is something else": (
        lambda: make(reset="mV = 2; v = mV*v"),
        "'mV' in the reset 'mV = 2' has",
    ),
    "a local variable before it is defined": (lambda: make(reset="v = u; u = v"), "unknown identifier in 'u'"),
    "reset of a constant": (lambda: make(reset="tau = 1*ms"), "unknown variable assigned in the reset 'tau = 1\\*ms'"),
    "reset without a threshold": (lambda: make(threshold=None), "without a threshold"),
    "reset that is no statement": (lambda: make(reset="v"), "'v' is not an assignment; write 'v = v_reset'"),
    "reserved name of a variable": (lambda: make("ddt/dt = -dt / tau : 1", "dt > 1", None), "'dt' is reserved"),
    "infinity as a name": (lambda: make("doo/dt = -oo / tau : 1", "oo > 1", None), "'oo' is reserved .*'oo_cell'"),
    "reserved name in the namespace": (lambda: make(namespace={**SPACE, "mV": 1 * b2.volt}), "'mV' is reserved"),
    "a name that is defined twice": (lambda: make(namespace={**SPACE, "v": 1 * b2.volt}), "'v' is defined twice"),
    "negative time constant": (
        lambda: make(namespace={**SPACE, "tau": -10 * b2.ms}),
        r"tau=-10. \* msecond: a time constant has to be positive; give 10\*ms",
    ),
    "time constant of zero": (
        lambda: make(namespace={**SPACE, "tau": 0 * b2.ms}),
        "tau=0. \\* second: a time constant has to be positive",
    ),
    "equal time constants": (
        lambda: make(
            TWO.replace("-I", "(k*v - I)"),
            "v > 1",
            "v = 0",
            {"tau": 5 * b2.ms, "tau_s": 5 * b2.ms, "k": 0},
            input=None,
            method="exact",
        ),
        r"Brian2's 'exact' solution is not finite for these constants \(tau=5, .*tau_s=5.*\).*make one differ .*'rk4'",
    ),
    "synapses": (lambda: make(GOOD + "\non_pre = 1 : 1"), "'on_pre': this compiles neurons, not synapses"),
    "synapses in the reset": (lambda: make(reset="on_post = 1"), "neurons, not synapses"),
    "no unit": (lambda: make("dv/dt = -v / tau"), "'dv/dt = -v / tau' has no unit; write '... : volt'"),
    "prefixed unit": (lambda: make("dv/dt = -v / tau : mV"), "unknown base unit in ': mV': 'mV'"),
    "unknown flag": (
        lambda: make("dv/dt = -v / tau : volt (unless_refractory)"),
        "unknown flag of a differential equation in .*nearest: 'unless refractory'",
    ),
    "unknown function": (
        lambda: make("dv/dt = -expp(v/mV)*mV / tau : volt"),
        "unknown function in '-expp.*'expp'; nearest: 'exp'",
    ),
    "wrong number of arguments": (lambda: make(threshold="clip(v, 0*mV) > 1*mV"), r"clip takes 3 plain arguments"),
    "attribute": (lambda: make(threshold="v.real > 1*mV"), "'v.real' in 'v.real > 1\\*mV' is not allowed"),
    "the last spike without a period": (
        lambda: make(threshold="v > 1*mV*exp(-(t - lastspike)/ms)"),
        "'lastspike' in .*: it belongs to cells with a refractory time or condition: give refractory=...",
    ),
    "nothing that the input moves": (
        lambda: make("dv/dt = g - v / tau : volt\ndg/dt = -g / tau : volt/second\nI : amp", "v > 1*mV"),
        r"nothing reads the input 'current', and g would stay at 0: .*input=... \(one of I, tau\), or say to which "
        r"variable synapses add, as in jumps='g'; or input=None",
    ),
    "a jump of something else": (lambda: make(jumps="g", input="x"), "unknown variable in jumps: 'g'; .*valid: v"),
    "a jump that equations read": (lambda: make("dv/dt = -v*x/tau : volt\nx : 1", jumps="v", input="x"), "of its own"),
    "a threshold beside a group": (
        lambda: from_brian2(b2.NeuronGroup(1, "dv/dt = -v/ms : 1"), "v > 1"),
        "threshold beside a NeuronGroup, which has its own: leave them out",
    ),
    "a namespace that is none": (
        lambda: make(namespace=[1]),
        "namespace=.1. is a list: give a dictionary of constants",
    ),
    "an input that is a constant": (
        lambda: make(namespace={**SPACE, "current": 1 * b2.nA}),
        "'current' is given to every step, and has a value in the namespace too",
    ),
    "an empty array": (lambda: make(initial={"v": []}), r"initial v=\[\] is not finite, or empty"),
    "a matrix": (
        lambda: make(initial={"v": [[1, 2], [3, 4]] * b2.mV}),
        r"initial v=array.* is neither a number nor a list",
    ),
    "a matrix of constants": (
        lambda: make(GOOD + "\nx : volt (constant)", threshold="v > x", initial={"x": [[1, 2]] * b2.mV}),
        r"initial x=array.* is neither a number nor a list of them, \[cells\]: give one of these",
    ),
    "a complex number": (lambda: make(initial={"v": 1j}), "initial v=1j is neither a number nor a list"),
    "an object": (lambda: make(initial={"v": make}), "initial v=<function make .*is neither a number nor a list"),
    "values of other cells": (
        lambda: make(initial={"v": [1, 2, 3] * b2.mV}).initial_state((2, 4), torch.zeros(4)),
        r"initial v has a value for each of 3 cells, .* and there are 4, in shape \(2, 4\): give one number, or one for each",
    ),
    "values of cells that lie otherwise": (
        lambda: make(initial={"v": [1, 2, 3] * b2.mV}).initial_state((2, 3, 5), torch.zeros(5)),
        r"initial v has a value for each of 3 cells, .* and there are 5, in shape \(2, 3, 5\): give one number, or one",
    ),
    "an infinity that is no bound": (
        lambda: make("dv/dt = (r * current + inf*mV - v) / tau : volt", method="euler"),
        r"a step with inf in these equations is not a number: inf is a bound, as in clip\(v, 0\*mV, inf\*mV\)",
    ),
    "another group": (
        lambda: make(b2.PoissonGroup(3, 5 * b2.Hz)),
        r"is a PoissonGroup; wanted text, brian2.Equations or a NeuronGroup; .*threshold='rand\(\) < rates\*dt'",
    ),
    "a constant of another unit": (
        lambda: make(GOOD + "\nx : volt (constant)", threshold="v > x", initial={"x": 1 * b2.nA}),
        "initial x=1. \\* namp: the unit of 'x : volt \\(constant\\)' is mV",
    ),
    "a constant of cells that is infinite": (
        lambda: make(GOOD + "\nx : volt (constant)", threshold="v > x", initial={"x": [1, float("inf")] * b2.mV}),
        "initial x=.* is not finite, or empty: give a number for each cell",
    ),
    "half of a refractory time": (
        lambda: make(refractory="a + b", namespace={**SPACE, "a": 1 * b2.ms, "b": 1 * b2.ms}).with_parameters(a=1.0),
        "b and the others make the refractory time: give all, or t_refractory=",
    ),
    "the other half": (
        lambda: make(refractory="a + tau", namespace={**SPACE, "a": 1 * b2.ms}).with_parameters(tau=1.0),
        "the refractory time is made of a too: give them as well, or t_refractory=",
    ),
    "negative refractory times": (
        lambda: make(refractory="a", namespace={**SPACE, "a": 1 * b2.ms}).with_parameters(a=torch.tensor([1.0, -1.0])),
        "give a period in ms, 0 for none",
    ),
    "a method that is a number": (lambda: make(method=("exact", 3)), "unknown method '3'"),
    "the input as a variable": (
        lambda: make("dcurrent/dt = -current / tau : 1", "current > 1", None),
        "the input 'current' is a differential equation",
    ),
    "no equation": (lambda: make("", None, None), "there are no equations"),
    "no derivative": (lambda: make("x = 1 : 1", None, None), "has no differential equation"),
    "refractory without a unit": (lambda: make(refractory=2.0), "refractory=2.0 is neither a time nor a condition"),
    "refractory in volt": (lambda: make(refractory="2*mV"), "refractory '2\\*mV' is neither a time nor a condition"),
    "a word in the namespace": (
        lambda: make(namespace={**SPACE, "r": "10*Mohmm"}),
        "unknown unit in r='10\\*Mohmm'.*Mohm",
    ),
    "infinity in the namespace": (
        lambda: make(namespace={**SPACE, "r": float("inf")}),
        "r=inf is not finite; where no .* write inf",
    ),
    "an array in the namespace": (lambda: make(namespace={**SPACE, "r": [1, 2]}), "r=\\[1, 2\\] is not a number"),
    "a tensor in the namespace": (lambda: make(namespace={**SPACE, "r": torch.ones(1)}), "with_parameters\\(r=...\\)"),
    "unknown initial value": (lambda: make(initial={"u": 1.0}), "unknown variable in initial: 'u'"),
    "unknown surrogate": (lambda: make(surrogate="attan"), "unknown surrogate 'attan'; nearest: 'atan'"),
    "unknown draw": (
        lambda: make(draws={"dice": "unifrom"}),
        "unknown kind of the draw 'dice' 'unifrom'; nearest: 'uniform'",
    ),
    "unknown parameter": (lambda: make().with_parameters(tua=1.0), "unknown parameter 'tua'; nearest: 'tau'"),
    "a parameter that is drawn": (
        lambda: make(
            GOOD + "\nx : volt (constant)", threshold="v > x", initial={"x": "mV + rand()*mV"}
        ).with_parameters(x=1.0),
        r"x is a variable of the state, with the initial value 'mV \+ rand\(\)\*mV': to learn it, make it a \(constant\)",
    ),
    "a constant that nothing reads": (
        lambda: make(GOOD + "\nx = y*v : volt\ny : 1 (constant)").with_parameters(y=1.0),
        "unknown parameter 'y'; .*valid: tau, r, t_refractory",
    ),
    "negative learned time constant": (
        lambda: make().with_parameters(tau=-1.0),
        "tau=-1.0: give a positive time constant",
    ),
    "Greek letters": (lambda: make("dv/dt = -v / τ : volt"), "contains 'τ'; write it in ASCII"),
    "no text": (lambda: make(5), "5 is a int; wanted text"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case):
    make_it, message = CASES[case]
    with pytest.raises(ValueError, match=message):
        make_it()


def test_without_brian2_the_message_says_what_to_install(monkeypatch):
    importing = importlib.import_module

    def without(name, *rest):
        if name == "brian2":
            raise ImportError("No module named 'brian2'")
        return importing(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=r"pip install 'learning-rule-sandbox\[reference\]'"):
        make()


def test_nothing_is_evaluated_or_executed(monkeypatch):
    """Neither eval nor exec sees a word of a text that our grammar refused."""
    seen = []
    monkeypatch.setattr(builtins, "eval", lambda text, *rest: seen.append(text))
    for text in (
        "__import__('os').system('x')",
        "().__class__",
        "(lambda: 1)()",
        "[v for v in (1,)]",
        "f'{v}'",
        "v := 1",
    ):
        for place in ("threshold", "reset", "refractory"):
            with pytest.raises(ValueError, match=r"."):
                make(**{place: f"v = {text}" if place == "reset" else text})
        with pytest.raises(ValueError, match=r"."):
            make(f"dv/dt = {text} : volt")
        with pytest.raises(ValueError, match=r"."):
            make(f"dv/dt = -v / tau : {text}")
        with pytest.raises(ValueError, match=r"."):
            make(namespace={"tau": text, "r": "1*Mohm"})
    assert seen == []
    assert sys.modules.get("antigravity") is None
