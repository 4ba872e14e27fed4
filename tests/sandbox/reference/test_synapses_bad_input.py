"""Every mistake in the text of synapses has its own message, with the piece of text and the remedy."""

from __future__ import annotations

import builtins

import brian2 as b2
import pytest
import torch

from sandbox import Delays
from sandbox.reference import from_brian2_synapses
from tests.sandbox.reference import fuzz
from tests.sandbox.reference.synaptic_models import PAIR, PAIR_TIMES

PRE, POST = "v_post += w; Apre += 1; w = clip(w - Apost, 0, 1)", "Apost += 1; w += Apre"


def make(model=PAIR, on_pre=PRE, on_post=POST, namespace=PAIR_TIMES, **more):
    return from_brian2_synapses(model, on_pre, on_post, namespace=namespace, **more)


def pre(text, **more):
    return lambda: make(on_pre=text, **more)


def model(text, on_pre="w += 1", **more):
    return lambda: make(text, on_pre, None, **more)


CASES = {
    "units of an equation": (
        model("w : 1\ndx/dt = -x : 1 (event-driven)"),
        r"the units do not fit in 'dx/dt = -x : 1'.*multiply by a unit",
    ),
    "units of a statement": (pre("w += 3*mV"), r"on_pre 'w \+= 3\*mV'.*unit"),
    "units of a sum": (pre("w += Apre + taupre"), r"on_pre 'w \+= Apre \+ taupre'.*(dimension|unit)"),
    "units of a name of its own": (pre("a = taupre; w += a"), r"on_pre 'a = taupre; w \+= a'.*(dimension|unit)"),
    "units of an initial value": (
        lambda: make(initial={"Apre": 3 * b2.mV}),
        r"initial Apre=3. \* mvolt: the unit of 'Apre' is 1; multiply by it",
    ),
    "unknown name in an equation": (
        model("w : 1\ndx/dt = -x / taupr : 1 (event-driven)"),
        r"unknown identifier in '-x / taupr' \(give its value in namespace=\): 'taupr'; nearest: 'taupre'",
    ),
    "unknown name in a statement": (pre("w += Aprre"), r"unknown identifier in 'Aprre'.*nearest: 'Apre'"),
    "a name of another pathway": (
        lambda: make(on_pre={"a": "gain = 2; w += gain", "b": "w += gain"}),
        r"unknown identifier in 'gain'",
    ),
    "the clock": (pre("w += t / ms"), r"'t' in 't / ms': a synapse has no clock and no index; give time as a variable"),
    "an index": (pre("w += j"), "'j' in 'j': a synapse has no clock and no index"),
    "a variable of the cell": (
        pre("w += v_post / mV"),
        r"'v_post' in 'v_post / mV' is a variable of a cell, and the rule sees the spikes of cells alone; compute",
    ),
    "a variable of the input": (model("w : 1\nx = y_pre : 1"), "'y_pre' in 'y_pre' is a variable of a cell"),
    "random numbers": (
        pre("w += rand()"),
        r"'rand' in 'rand\(\)': synapses draw no random numbers here; leave the noi",
    ),
    "noise": (
        model("dw/dt = xi / taupre**0.5 : 1 (clock-driven)"),
        r"'xi' in 'xi / taupre\*\*0.5': synapses draw no random numbers here",
    ),
    "an effect on the cell that is not the weight": (
        pre("v_post += 2 * w"),
        r"'v_post \+= 2 \* w' in on_pre: 'v_post' is not a variable of the synapse, and the only effect on a cell is th"
        r"at of its layer, which adds the weight: declare 'v_post' in model=, or write 'v_post \+= w' in on_pre",
    ),
    "short-term plasticity of what is transmitted": (
        pre("ge += w * Apre; w += 1"),
        r"'ge \+= w \* Apre' in on_pre: .* or write 'ge \+= w' in on_pre",
    ),
    "Clopath et al. 2010, a weight with a conductance": (
        model(
            "w_ampa : 1",
            "g_ampa_post += w_ampa*ampa_max_cond; w_ampa = clip(w_ampa - 0.1, 0, 1)",
            weight="w_ampa",
            namespace={"ampa_max_cond": 0.5 * b2.nS},
        ),
        r"'g_ampa_post \+= w_ampa\*ampa_max_cond' in on_pre: .* or write 'g_ampa_post \+= w_ampa' in on_pre",
    ),
    "Clopath et al. 2010, the voltage": (
        model(
            "w_ampa : 1",
            "w_minus = A*(v_lowpass1_post/mV + 70)*int(v_lowpass1_post/mV + 70 > 0); w_ampa = clip(w_ampa-w_minus,0,1)",
            weight="w_ampa",
            namespace={"A": 1e-4},
        ),
        r"'v_lowpass1_post' in .* is a variable of a cell, and the rule sees the spikes of cells alone",
    ),
    "Stimberg et al. 2018, short-term plasticity": (
        model(
            "w : 1\ndu_S/dt = -0.5*Hz * u_S : 1 (event-driven)\ndx_S/dt = 2*Hz * (1 - x_S) : 1 (event-driven)",
            "u_S += 0.6 * (1 - u_S); r_S = u_S * x_S; x_S -= r_S; g_e_post += w*r_S",
        ),
        r"'g_e_post \+= w\*r_S' in on_pre: .* the only effect on a cell is that of its layer, which adds the weight",
    ),
    "a square of the weight": (pre("ge += w * w"), "or write 'ge \\+= w' in on_pre"),
    "a value of the cell": (pre("ge = w"), "'ge = w' in on_pre: 'ge' is not a variable of the synapse"),
    "an effect on the input": (pre("x_pre += w"), r"'x_pre \+= w' in on_pre: .* or write 'v_post \+= w' in on_pre"),
    "an effect of the cell": (lambda: make(on_post="v_post += w"), r"'v_post \+= w' in on_post: .* in on_pre"),
    "an effect that takes away": (pre("v_post -= w"), r"or write 'v_post \+= w' in on_pre"),
    "a constant that is assigned": (
        model("w : 1\nc : 1 (constant)", "c = 2; w += c", initial={"c": 1}),
        "'c = 2' in on_pre: 'c' is a constant; assign w",
    ),
    "a constant of the namespace that is assigned": (
        pre("taupre = 2*ms"),
        r"'taupre = 2\*ms' in on_pre: 'taupre' is not a variable of the synapse; assign w, Apre, Apost",
    ),
    "no statement": (pre("w"), "'w' is not an assignment"),
    "an attribute": (pre("w += Apre.real"), r"'Apre.real' in 'Apre.real' is not allowed"),
    "an unknown function": (pre("w += clp(w, 0, 1)"), "unknown function in 'clp.*nearest: 'clip'"),
    "no weight": (
        model("x : 1", "x += 1"),
        "unknown weight among the variables of the synapse: 'w'; valid: x",
    ),
    "a weight of another name": (lambda: make(weight="Apr"), "unknown weight .* 'Apr'; nearest: 'Apre'"),
    "a weight that is constant": (model("w : 1 (constant)", "x = 1; w = x"), "unknown weight among the variables"),
    "a weight that nothing changes": (
        lambda: make(on_pre="v_post += w", on_post=None),
        "nothing changes the weight 'w'; assign it in on_pre or on_post, or name another",
    ),
    "event-driven by clock-driven": (
        model("w : 1\ndx/dt = -x / taupre : 1 (clock-driven)\ndy/dt = (x - y) / taupre : 1 (event-driven)"),
        r"'dy/dt = \(x - y\) / taupre : 1 \(event-driven\)' is event-driven and reads 'x', which is clock-driven; make",
    ),
    "clock-driven by event-driven, through a name": (
        model("w : 1\ndx/dt = -x / taupre : 1 (event-driven)\nz = x : 1\ndy/dt = (z - y) / taupre : 1 (clock-driven)"),
        r"is clock-driven and reads 'x', which is event-driven; make both alike",
    ),
    "event-driven and not linear": (
        model("w : 1\ndx/dt = -x**2 / taupre : 1 (event-driven)"),
        r"method 'exact' does not apply .*an \(event-driven\) variable has a linear equation with constant coefficients",
    ),
    "a subexpression of what has changed": (
        model("w : 1\np : 1\ns = 2 * z : 1\nz = p + 1 : 1", "p += 1; w += s"),
        r"'s' in 'w \+= s' in on_pre reads 'p', and Brian2 takes the value of before the pathway: write the expression o",
    ),
    "a subexpression of what is event-driven": (
        model("w : 1\ndx/dt = -x / taupre : 1 (event-driven)\ns = 2 * x : 1", "w += s"),
        r"'s' in 'w \+= s' in on_pre reads 'x', and Brian2 takes the value of its last spike: write the expression out",
    ),
    "both flags": (
        model("w : 1\ndx/dt = -x / taupre : 1 (event-driven, clock-driven)"),
        r"is event-driven and clock-driven; leave out one of the flags",
    ),
    "two variables that depend on each other, with one rate": (
        lambda: make(
            "w : 1\ndx/dt = (y - x) / tau_a : 1 (event-driven)\ndy/dt = -(x + k*y) / tau_a : 1 (event-driven)",
            "w += x; y += 1",
            None,
            {"tau_a": 5 * b2.ms, "k": 3.0},
        ),
        r"the exact solution of 'x' is not finite for these constants \(tau_a=5\).* use \(clock-driven\)",
    ),
    "a sum over synapses": (
        model("w : 1\ng_post = w : 1 (summed)"),
        r"'g_post = w : 1 \(summed\)': \(summed\) is not compiled; a sum over synapses acts on the cell, which the la",
    ),
    "a linked variable": (model("w : 1\nG : Hz (linked)"), r"\(linked\) is not compiled; give the value as a constant"),
    "constant over dt": (
        model("w : 1\nx = 2 * w : 1 (constant over dt)"),
        r"\(constant over dt\) is not compiled; lea",
    ),
    "an unknown flag": (
        model("w : 1\ndx/dt = -x / taupre : 1 (event driven)"),
        "unknown flag of a differential equation .*nearest: 'event-driven'",
    ),
    "a refractory flag": (model("w : 1\ndx/dt = -x / taupre : 1 (unless refractory)"), "unknown flag .*refractory'"),
    "a name in _post": (
        model("w : 1\nx_post : 1"),
        "'x_post' in 'x_post : 1': Brian2 keeps names in _pre and _post fo",
    ),
    "a whole number": (model("w : 1\nn : integer"), "'n : integer': variables of synapses are numbers with a fraction"),
    "a reserved name": (model("w : 1\ndelay : second"), "'delay' is reserved .*every synapse.*call it 'delay_syn'"),
    "a name that is defined twice": (model("w : 1\ntaupre : second"), "'taupre' is defined twice"),
    "no value for a constant": (
        model("w : 1\nc : 1 (constant, shared)", "w += c"),
        r"'c : 1 \(constant, shared\)' has no value; give it in initial=\{'c': ...\}",
    ),
    "an initial weight": (
        lambda: make(initial={"w": 1}),
        "initial has the weight 'w', and a sequence begins at the we",
    ),
    "an unknown initial value": (lambda: make(initial={"Aprre": 1}), "unknown variable in initial: 'Aprre'; nearest"),
    "an initial value of text": (
        lambda: make(initial={"Apre": "Aprr"}),
        "unknown identifier in initial Apre='Aprr': 'Aprr'; nearest: 'taupre'; valid: taupre",
    ),
    "an initial value that is no number": (lambda: make(initial={"Apre": [1]}), r"Apre=\[1\] is not a number"),
    "an unknown method": (
        model("dw/dt = -w / taupre : 1 (clock-driven)", method="rk5"),
        "unknown method 'rk5'; nearest: 'rk4'",
    ),
    "a method that does not apply": (
        model("dw/dt = -w**2 / taupre : 1 (clock-driven)", method="exact"),
        "method 'exact' does not apply .*these do: euler",
    ),
    "an unknown pathway": (lambda: make(order={"prre": 1}), "unknown pathway in order: 'prre'; nearest: 'pre'"),
    "an order that is no number": (
        lambda: make(order={"pre": "first"}),
        "order of 'pre': 'first' is not a whole number",
    ),
    "one name for two pathways": (
        lambda: make(on_pre={"a": PRE}, on_post={"a": POST}),
        "on_pre and on_post both have a pathway 'a'; give each a name of its own",
    ),
    "a pathway without a name": (lambda: make(on_pre={"a b": PRE}), "on_pre: 'a b' is not a valid name of a pathway"),
    "no text": (pre(5), "on_pre=5: give text, or a dict of texts by the names of their pathways"),
    "no model": (model(5), "5 is a int; wanted text"),
    "negative time constant": (
        lambda: make(namespace={**PAIR_TIMES, "taupre": -1 * b2.ms}),
        "taupre=.*: a time constant has to be positive",
    ),
    "a condition in arithmetic": (
        pre("w += (Apre > 1) - (Apost > 1)"),
        r"the statements cannot be computed: .*; a condition is a number as int\(x > 1\)",
    ),
    "an expansion that never ends": (
        model("w : 1\ndx/dt = (w + x)**30 * (w - x)**30 / taupre : 1 (clock-driven)"),
        "terms when it is multiplied out, above 400",
    ),
}


def test_the_good_one_is_good():
    assert make().additive is False


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case):
    make_it, message = CASES[case]
    with pytest.raises(ValueError, match=message):
        make_it()


def test_delays_are_sent_to_what_learns_them():
    from sandbox.reference import from_brian2_synapses

    with pytest.raises(
        ValueError,
        match=r"delay='1\*ms': a rule sees spikes when they reach the synapse, .*sandbox.Delays.*\"100d8\".*spike_times",
    ):
        from_brian2_synapses("w : 1", on_pre="v_post += w", delay="1*ms")


def test_neurons_are_sent_to_the_right_place():
    from sandbox.reference import from_brian2

    with pytest.raises(ValueError, match=r"neurons, not synapses; .*sandbox.from_brian2_synapses make the rule"):
        from_brian2("dv/dt = -v / (10*ms) : 1\non_pre = 1 : 1")


def test_nothing_is_evaluated_or_executed(monkeypatch):
    """Neither eval nor exec sees a word of a text that our grammar refused."""
    seen = []
    monkeypatch.setattr(builtins, "eval", lambda text, *rest: seen.append(text))
    monkeypatch.setattr(builtins, "exec", lambda text, *rest: seen.append(text))
    for text in (
        "__import__('os').system('x')",
        "().__class__",
        "(lambda: 1)()",
        "[v for v in (1,)]",
        "f'{v}'",
        "v := 1",
    ):
        for side in ("on_pre", "on_post"):
            for statement in (f"w += {text}", f"v_post += {text}", f"a = {text}; w += a"):
                with pytest.raises(ValueError, match=r"."):
                    make(**{side: statement})
        for line in (f"dx/dt = {text} : 1 (event-driven)", f"x = {text} : 1", f"x : {text}"):
            with pytest.raises(ValueError, match=r"."):
                make(f"w : 1\n{line}")
        for given in ({"namespace": {**PAIR_TIMES, "taupre": text}}, {"initial": {"Apre": text}}):
            with pytest.raises(ValueError, match=r"."):
                make(**given)
    assert seen == []


def test_synapses_of_a_grammar_are_refused_in_words():
    accepted = fuzz.synapses(100, seed=3)
    assert 2 < accepted < 90  # the generator makes both


def test_an_input_is_delayed_as_the_message_says():
    x = torch.zeros(12, 2, 3)
    x[1] = 1.0
    late = Delays((3,), longest=8, initial=torch.tensor([1.0, 4.0, 7.0])).eval()(x)[0]
    assert late.argmax(0).tolist() == [[2, 5, 8], [2, 5, 8]]
