"""The grammar of equations, units and statements, as an allow-list of syntax-tree nodes; all text passes it."""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from rules.errors import unknown
from sandbox.reference.compiler.functions import DRAWING, FUNCTIONS, RANDOM, WRITTEN, power
from sandbox.reference.compiler.written import Code, Equation, Expression, Statement

LONGEST = 5_000  # characters of an expression
DEEPEST = 100  # levels of nesting
STEEPEST = 32  # largest number as an exponent; above it SymPy's expansion may never end
BROUGHT: ContextVar[Mapping[str, int]] = ContextVar("brought", default=MappingProxyType({}))  # arguments, by name
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
BASE_UNITS = (  # those that Brian2 reads behind a colon
    *("volt", "amp", "second", "siemens", "ohm", "farad", "hertz", "Hz", "coulomb", "metre", "meter", "mmolar", "mM"),
    *("kilogram", "kilogramme", "kgram", "kgramme", "ampere", "joule", "watt", "newton", "pascal", "mole", "mol"),
    *("kelvin", "candle", "tesla", "weber", "henry", "radian", "steradian", "lumen", "lux", "becquerel", "gray"),
    *("sievert", "katal", "kliter", "klitre"),
)
FLAGS = {  # by kind of equation
    "differential equation": ("unless refractory",),
    "subexpression": ("constant over dt", "shared"),
    "parameter": ("constant", "shared", "linked"),
}
BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
UNARY = (ast.USub, ast.UAdd, ast.Not)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


@contextmanager
def calling(arities: Mapping[str, int]) -> Iterator[None]:
    """Let expressions call further functions within this block, by their numbers of arguments."""
    token = BROUGHT.set(dict(arities))
    try:
        yield
    finally:
        BROUGHT.reset(token)


def expression(text: str, *, ours: bool = False) -> Expression:
    """Read an expression that contains only arithmetic, comparisons, names, and calls of FUNCTIONS.

    `ours` marks code that Brian2 generated from checked text: names may begin with an underscore, and it may be longer
    and deeper. Raises ValueError, with the piece of text, for anything else.
    """
    text = _plain(text, LONGEST * (200 if ours else 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "3 is not callable": the check below has a better message
            tree = ast.parse(text.strip().replace("\n", " "), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{_short(text)!r} is not an expression: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError):
        raise ValueError(f"{_short(text)!r} is nested too deeply; name its parts as subexpressions") from None
    _check_depth(tree, text, DEEPEST * (8 if ours else 1))
    for node in ast.walk(tree):
        _check_node(node, text, ours)
    if not ours:
        _check_size(tree, text, 1)
    return Expression(" ".join(text.split()), tree)


def unit(text: str) -> str:
    """Return the text of a unit made of base units, `*`, `/` and powers; raise ValueError otherwise."""
    text = " ".join(_plain(text, 200).split())
    if text in ("1", "boolean", "integer"):
        return text
    for node in ast.walk(expression(text).tree):
        if isinstance(node, ast.Name) and node.id not in BASE_UNITS:
            raise unknown(f"base unit in ': {text}':", node.id, [*BASE_UNITS[:10], "1", "boolean", "integer"])
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Mult | ast.Div | ast.Pow):
            raise ValueError(f"unit ': {text}': only * / and ** may stand in a unit")
        if isinstance(node, ast.Call | ast.Compare | ast.BoolOp) or (
            isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.USub)
        ):
            raise ValueError(f"unit ': {text}': only base units, * / and ** may stand in a unit")
    return text


def equations(text: str, flags: Mapping[str, tuple[str, ...]] = FLAGS) -> list[Equation]:
    """Parse and check the lines of a model, with these flags by kind; raise ValueError with the offending line."""
    _plain(text, 20 * LONGEST)
    for name in ("on_pre", "on_post"):
        if flags is FLAGS and re.search(rf"\b{name}\b", text):
            raise ValueError(
                f"{name!r}: this compiles neurons, not synapses; give the equations of the neuron alone, "
                "connect populations with sandbox.Network, and let sandbox.from_brian2_synapses make the rule"
            )
    lines, pending = [], ""
    for line in text.splitlines():
        pending = f"{pending} {line.split('#')[0].strip()}".strip()
        if ":" in pending:
            lines.append(_equation(pending, flags))
            pending = ""
    if pending:
        raise ValueError(f"{_short(pending)!r} has no unit; write '... : volt', or '... : 1' for a plain number")
    return lines


def statements(text: str, *, ours: bool = False) -> Code:
    """Read assignments, one per line or separated by `;`."""
    _plain(text, LONGEST * (1000 if ours else 4))
    found = []
    for line in re.split(r"[\n;]", text):
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"(_*[A-Za-z][A-Za-z0-9_]*)\s*(\+|-|\*\*|\*|//|/|%|)=(?!=)(.*)", line)
        if match is None:
            raise ValueError(f"{_short(line)!r} is not an assignment; write 'v = v_reset' or 'w += b'")
        target, operator, right = match.groups()
        if not ours:
            _check_name(target, line)
        found.append(Statement(target, operator, expression(right, ours=ours), line))
    return Code(text, tuple(found))


def _equation(line: str, known: Mapping[str, tuple[str, ...]]) -> Equation:
    left, _, right = line.partition(":")
    match = re.fullmatch(r"\s*([^()]*?)\s*(?:\(([^()]*)\))?\s*", right)
    if match is None or not match[1]:
        raise ValueError(
            f"{_short(line)!r}: after ':' comes a unit and perhaps flags, as in ': volt (unless refractory)'"
        )
    name, equals, text = (part.strip() for part in left.partition("="))
    kind = "subexpression" if equals else "parameter"
    derivative = re.fullmatch(r"d([A-Za-z0-9_]+)\s*/\s*dt", name)
    if derivative:
        kind, name = "differential equation", derivative[1]
    _check_name(name, line)
    if derivative and not equals:
        raise ValueError(f"{_short(line)!r} has no right-hand side")
    side = expression(text) if equals else None
    flags = tuple(flag.strip() for flag in match[2].split(",")) if match[2] is not None else ()
    for flag in flags:
        if flag not in known[kind]:
            raise unknown(f"flag of a {kind} in {_short(line)!r}:", flag, known[kind])
    return Equation(kind, name, side, unit(match[1]), flags)


def _plain(text: str, longest: int) -> str:
    if not isinstance(text, str):
        raise ValueError(
            f"{text!r} is a {type(text).__name__}; wanted text, brian2.Equations or a NeuronGroup; Poisson spikes are "
            "'rates : Hz' with threshold='rand() < rates*dt'"
        )
    if len(text) > longest:
        raise ValueError(f"{_short(text)!r} has {len(text)} characters, above {longest}; split it into subexpressions")
    code = re.sub("#[^\n]*", "", text)
    strange = next((c for c in code if not (c.isascii() and (c.isprintable() or c in "\n\t\r"))), None)
    if strange:
        raise ValueError(f"{_short(text)!r} contains {strange!r}; write it in ASCII, 'tau' or 'mu' for a Greek letter")
    return text


def _check_name(name: str, text: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ValueError(
            f"{name!r} in {_short(text)!r} is not a valid name of a variable; use letters, digits and underscores, "
            "beginning with a letter"
        )


def _check_depth(tree: ast.expr, text: str, deepest: int) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(deepest):
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        if not level:
            return
    raise ValueError(f"{_short(text)!r} is nested more than {deepest} levels deep; name its parts as subexpressions")


def _check_node(node: ast.AST, text: str, ours: bool) -> None:
    match node:
        case ast.Name() if not ours:
            _check_name(node.id, text)
        case ast.Constant() if isinstance(node.value, bool):
            pass
        case ast.Constant() if isinstance(node.value, int | float):
            if not -1e300 < node.value < 1e300:
                raise ValueError(f"a number in {_short(text)!r} is too large")
        case ast.BinOp() if isinstance(node.op, BINARY):
            pass
        case ast.UnaryOp() if isinstance(node.op, UNARY):
            pass
        case ast.Compare() if isinstance(node.ops[0], COMPARISONS):
            if len(node.ops) > 1:
                raise ValueError(f"{_piece(node)!r} chains comparisons; write 'a < b and b < c'")
        case ast.Call():
            _check_call(node, text, ours)
        case ast.Name() | ast.BoolOp() | ast.Load() | ast.operator() | ast.unaryop() | ast.cmpop() | ast.boolop():
            pass
        case _:
            raise ValueError(
                f"{_piece(node)!r} in {_short(text)!r} is not allowed; an expression has numbers, names, "
                "arithmetic, comparisons and calls of: " + ", ".join(FUNCTIONS)
            )


def _check_call(node: ast.Call, text: str, ours: bool) -> None:
    if not isinstance(node.func, ast.Name):
        raise ValueError(f"{_piece(node)!r} in {_short(text)!r} is not allowed; only a named function can be called")
    name, more = node.func.id, BROUGHT.get()
    if ours and name in WRITTEN:
        return
    if name not in FUNCTIONS and name not in RANDOM and name not in more:
        near = unknown(f"function in {_short(text)!r}:", name, [*FUNCTIONS, *RANDOM, *more])
        raise ValueError(
            f"{near}; a TimedArray goes into the namespace, a torch function into functions={{{name!r}: ...}}"
        )
    wanted = FUNCTIONS[name].arity if name in FUNCTIONS else DRAWING.get(name, more.get(name, 0))
    if node.keywords or len(node.args) != wanted:
        raise ValueError(f"{_piece(node)!r}: {name} takes {wanted} plain argument{'s' * (wanted != 1)}")


def _check_size(node: ast.expr, text: str, exponent: float) -> float | None:
    """Return the value if the expression is a number; reject towers of powers, whose symbolic expansion never ends."""
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]  # checked above
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        by = _check_size(node.right, text, 1)
        steep = exponent * max(abs(by), 1.0) if by is not None else exponent
        base = _check_size(node.left, text, steep)
        value = None if base is None or by is None else power(base, by)
        if steep > STEEPEST or (value is not None and not math.isfinite(value)):
            raise ValueError(
                f"{_piece(node)!r} in {_short(text)!r} is too steep: exponents multiply to at most {STEEPEST}"
            )
        return value
    values = [_check_size(child, text, exponent) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    if None in values or not isinstance(node, ast.BinOp | ast.UnaryOp):
        return None
    number = [value for value in values if value is not None]
    if isinstance(node, ast.UnaryOp):
        return -number[0] if isinstance(node.op, ast.USub) else number[0]
    a, b = number
    if isinstance(node.op, ast.Add | ast.Sub):
        return a + b if isinstance(node.op, ast.Add) else a - b
    if isinstance(node.op, ast.Mult):
        return a * b
    return a / b if isinstance(node.op, ast.Div) and b else 1.0


def _piece(node: ast.AST) -> str:
    try:
        return _short(ast.unparse(node))
    except (RecursionError, ValueError):
        return type(node).__name__


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 100 else f"{text[:80]}..."
