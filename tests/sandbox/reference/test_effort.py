"""Equations that SymPy would never finish are refused at once, and the models of the literature are far from that."""

from __future__ import annotations

import time

import brian2 as b2
import pytest
import sympy

from sandbox.neurons import IN_BRIAN2
from sandbox.reference import from_brian2
from sandbox.reference.compiler import effort, grammar
from tests.sandbox.reference import fuzz
from tests.sandbox.reference.test_compiler_models import MODELS
from tests.speed import within


def chain(step: str, count: int) -> str:
    lines = [f"x{n + 1} = {step.format(x=f'x{n}')} : 1" for n in range(count)]
    return "\n".join([f"dv/dt = (x{count} - v) / tau : 1", "x0 = v + a : 1", "a : 1", *lines])


def dense(count: int) -> str:
    rows = [" + ".join(f"{n * m + 1} * v{m}" for m in range(count)) for n in range(count)]
    return "\n".join(f"dv{n}/dt = ({row}) / tau : 1" for n, row in enumerate(rows))


def row(count: int) -> str:
    return "\n".join(
        f"dv{n}/dt = (v{(n + 1) if n + 1 < count else n} - {n + 2} * v{n}) / tau : 1" for n in range(count)
    )


HOSTILE = {
    "a product of sums": f"dv/dt = ({'*'.join(['(v+a+b+c)'] * 14)} - v) / tau : 1\na : 1\nb : 1\nc : 1",
    "squares of squares": chain("{x}*{x}", 12),
    "powers of powers": chain("{x}**32", 2),
    "squares inside of functions": chain("sin({x} + {x}*v)", 12),
    "squares below the line": chain("1/({x}*{x})", 12),
    "a dense linear system": dense(3),
    "a larger one": dense(12),
    "a row of linear equations": row(7),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_equations_are_refused_at_once(text):
    from_brian2(
        "dv/dt = -v / tau : 1", input=None, namespace={"tau": 10 * b2.ms}
    )  # imports and units, which take seconds
    began = time.process_time()
    with pytest.raises(ValueError, match=r"terms when it is multiplied out, above 400|these equations are linear, and"):
        from_brian2(text, namespace={"tau": 10 * b2.ms})
    assert within(time.process_time() - began, 1.0)


def test_a_linear_system_can_choose_another_scheme():
    assert from_brian2(dense(3), method="euler", namespace={"tau": 10 * b2.ms}).method == "euler"
    with pytest.raises(ValueError, match="3 variables depend on each other, above 2"):
        from_brian2(dense(3), method="exact", namespace={"tau": 10 * b2.ms})


def test_models_of_the_literature_are_far_from_the_bound(monkeypatch):
    monkeypatch.setattr(effort, "MOST_TERMS", 60)
    for text in [neuron.equations for neuron in IN_BRIAN2.values()] + [
        case.model["equations"] for case in MODELS.values()
    ]:
        effort.check(grammar.equations(text))


@pytest.mark.parametrize(
    "text", ["(v+a)**5", "(v+a)*(v+b)*(v-w)", "(v+a)**3*w - a*(v+w)**2", "v**16*w", "((v+a)**2+w)**3", "-(v+1)**2"]
)
def test_the_count_bounds_what_sympy_makes(text):
    assert len(sympy.Add.make_args(sympy.sympify(text).expand())) <= fuzz.terms(text)


def test_a_thousand_equations_are_refused_in_words():
    accepted = fuzz.front(1000, seed=2)
    assert 10 < accepted < 900  # the generator makes both
    assert fuzz.whole(10, seed=3) < 10
