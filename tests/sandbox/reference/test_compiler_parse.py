"""Each text of a user enters the grammar once, and its tree is handed on."""

import ast
from collections import Counter

from sandbox.reference import from_brian2
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.written import Code, Expression

TEXT = """
dv/dt = (g*(E_e - v) + bar*step - v) / tau : 1
dg/dt = -g / tau_g : 1
bar = v*2 + 0.25 : 1
step : 1 (constant)
"""


def compiled(method):
    return from_brian2(
        TEXT,
        "v > 0.75 + step",
        "v = 0.125; g -= 0.5",
        "v > 0.3125 and t > 3*ms",
        method,
        {"E_e": 2.0, "tau": "10*ms", "tau_g": "5*ms"},
        jumps="g",
        initial={"step": 0.1},
        events={"low": ("v < -1.5", "v = -1.0625")},
    )


def test_each_text_is_parsed_once(monkeypatch):
    calls, read = Counter(), grammar.expression

    def counted(text, *, ours=False):
        calls[" ".join(text.split())] += 1
        return read(text, ours=ours)

    monkeypatch.setattr(grammar, "expression", counted)
    compiled("euler")
    own = ["(g*(E_e - v) + bar*step - v) / tau", "-g / tau_g", "v*2 + 0.25", "v > 0.75 + step", "0.125", "0.5"]
    own += ["v > 0.3125 and t > 3*ms", "v < -1.5", "-1.0625"]
    assert {text: calls[text] for text in own} == dict.fromkeys(own, 1)


def test_names_that_are_ours_are_changed_in_text_and_tree():
    side = grammar.expression("step + exp(step_2) - v")
    changed = side.renamed({"step": "step_"})
    assert isinstance(changed, Expression)
    assert (str(changed), changed.names) == ("step_ + exp(step_2) - v", {"step_", "step_2", "v"})
    assert ast.unparse(changed.tree) == "step_ + exp(step_2) - v"
    assert ast.unparse(side.tree) == "step + exp(step_2) - v"
    code = grammar.statements("step = 1; v += step").renamed({"step": "step_"})
    assert isinstance(code, Code)
    assert [each.text for each in code.statements] == ["step_ = 1", "v += step_"]
    assert [each.target for each in code.statements] == ["step_", "v"]
