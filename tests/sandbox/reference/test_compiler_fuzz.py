"""Nothing but arithmetic gets through: whatever the text, it is refused in words or it is a tree of the white list."""

from __future__ import annotations

import ast
import builtins
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.formula import parse
from sandbox.reference.compiler.functions import FUNCTIONS, RANDOM

HARMLESS = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Call, ast.Name, ast.Constant)
PIECES = [
    "v",
    "tau",
    "exp",
    "clip",
    "mV",
    "1",
    "2.5",
    "1e3",
    "0x10",
    "1j",
    "'s'",
    "b'x'",
    "f'{v}'",
    "None",
    "True",
    "...",
    "_",
    "__class__",
    "__import__",
    "eval",
    "exec",
    "open",
    "getattr",
    "os",
    "lambda",
    "import",
    "yield",
    "await",
    "if",
    "else",
    "for",
    "in",
    "is",
    "not",
    "and",
    "or",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ":",
    ":=",
    "=",
    "==",
    "<",
    ">=",
    "+",
    "-",
    "*",
    "**",
    "/",
    "//",
    "%",
    "@",
    "&",
    "|",
    "^",
    "~",
    "<<",
    ";",
    "\n",
    "\\",
    "#",
    "\x00",
    " ",
    "\t",
    "é",
    "µ",
    "∞",
    "ﬁ",
    "class",
    "del",
    "_a",
    "a__b",
]
words = st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join) | st.lists(
    st.sampled_from(PIECES), max_size=9
).map("".join)
BAD = [
    "().__class__.__bases__[0].__subclasses__()",
    "__import__('os').system('true')",
    "exp.__globals__",
    "v.real",
    "v[0]",
    "[v]",
    "{v}",
    "(v, v)",
    "lambda: v",
    "v if v else v",
    "[v for v in v]",
    "f'{v}'",
    "'a' * 10",
    "b'a'",
    "1j",
    "v := 1",
    "await v",
    "exp(*v)",
    "exp(**v)",
    "exp(exp)(v)",
    "open('x')",
    "eval('1')",
    "getattr(v, 'x')",
    "v @ v",
    "v << 1",
    "v & v",
    "~v",
    "v is v",
    "v in v",
    "...",
    "None",
    "v, v",
    "exp(v); v",
    "(" * 5000,
    "v\x00",
    "print(v)",
    "__name__",
    "v._x",
    "9**9**9**9",
    "ｅｘｐ(v)",
]


def harmless(tree):
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            assert isinstance(node, HARMLESS)
        if isinstance(node, ast.Constant):
            assert type(node.value) in (bool, int, float)
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            assert node.func.id in {*FUNCTIONS, *RANDOM}
        if isinstance(node, ast.Name):
            assert id(node) in called or (node.id.isascii() and not node.id.startswith("_"))
    return True


@settings(max_examples=1000, deadline=None)
@given(st.text(max_size=60) | words)
@example("v.__class__")
def test_an_expression_is_harmless_or_refused(text):
    try:
        tree = grammar.expression(text).tree
    except ValueError:
        return
    assert harmless(tree)


@settings(max_examples=500, deadline=None)
@given(words, words, words)
def test_equations_and_statements_are_harmless_or_refused(left, middle, right):
    try:
        for line in grammar.equations(f"{left} = {middle} : {right}"):
            assert not line.expression or harmless(line.expression.tree)
            assert harmless(ast.parse(line.unit, mode="eval").body)
            assert grammar.NAME.fullmatch(line.name)
    except ValueError:
        pass
    try:
        for statement in grammar.statements(f"{left} = {middle}").statements:
            assert harmless(statement.expression.tree)
    except ValueError:
        pass


@pytest.mark.parametrize("text", BAD)
def test_known_ways_out_are_closed(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)(vars(builtins))


numbers = st.floats(-4, 4).map(lambda x: repr(round(x, 3)))
trees = st.recursive(
    numbers | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})")
        | inner.map(lambda x: f"sin({x})")
        | inner.map(lambda x: f"(-{x})")
        | inner.map(lambda x: f"clip({x}, -1, 1)")
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(trees, st.floats(-2, 2), st.floats(-2, 2))
def test_a_formula_is_what_python_makes_of_the_text(text, a, b):
    """The texts come from the generator above alone."""
    world = {"sin": math.sin, "clip": lambda x, low, high: min(max(x, low), high), "a": a, "b": b}
    assert parse(text)({"a": a, "b": b}) == pytest.approx(eval(text, world), rel=1e-12, abs=1e-12)
