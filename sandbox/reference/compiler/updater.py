"""Let Brian2 check the units of a model, choose the method, and generate the code of one step."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rules.errors import unknown
from sandbox.reference.compiler import effort, grammar
from sandbox.reference.compiler.explicit import updater_of
from sandbox.reference.compiler.functions import FUNCTIONS, RANDOM
from sandbox.reference.compiler.methods import METHODS
from sandbox.reference.compiler.names import CLOCK, CLOCKS, CONSTANTS, NOISE, RESERVED, check_known, check_own
from sandbox.reference.compiler.triangular import exact
from sandbox.reference.compiler.units import symbols
from sandbox.reference.compiler.written import Code, Equation, Expression
from sandbox.reference.need import brian2

_DRAW = re.compile(rf"{NOISE.pattern} = .*")
NOTHING = Code("", ())  # no statements


class Step(NamedTuple):
    """Brian2's result for a model: the statements of one step, the method, and the dimension of each name."""

    code: str
    method: str
    dimensions: dict[str, Any]
    period: Expression | None  # a refractory time
    condition: Expression | None  # a refractory condition


class Event(NamedTuple):
    """A further event of Brian2: statements that run where a condition holds, after the reset."""

    name: str
    condition: Expression
    code: Code


class Text(NamedTuple):
    """A model as text, checked by the grammar."""

    lines: list[Equation]
    threshold: Expression | None
    reset: Code
    refractory: Expression | None
    events: tuple[Event, ...] = ()


def ask(text: Text, methods: Sequence[str], namespace: Mapping[str, Any], extra: Sequence[str]) -> Step:
    """Return Brian2's result; `extra` are lines for the input and the draws, constant within a step.

    Raises ValueError for units that do not fit, a threshold that is not a condition, and a method that does not apply.
    """
    flagged = any("unless refractory" in line.flags for line in text.lines)
    with quietly():
        group = group_of(text.lines, namespace, extra, bool(flagged or text.refractory))
        wanted = {name for name in mentioned(text) if not NOISE.fullmatch(name)}
        called = set(re.findall(r"\w+", "\n".join(_expressions(text)))) & {*FUNCTIONS, *RANDOM, *grammar.BROUGHT.get()}
        names = {*wanted, *called, *group.equations.names, "dt"}
        variables = group.resolve_all(names, {}, user_identifiers=set())
        if text.threshold is not None:
            _check_condition("threshold", text.threshold, variables)
        check_code("reset", [statement.text for statement in text.reset.statements], variables)
        for event in text.events:
            _check_condition(f"event {event.name!r}:", event.condition, variables)
            check_code(f"event {event.name!r}", [each.text for each in event.code.statements], variables)
        code, chosen = _updated(group, methods, text.lines)
        dimensions = {name: variable.dim for name, variable in variables.items() if hasattr(variable, "dim")}
        return Step(code, chosen, dimensions, *_refractory(text.refractory, variables))


def group_of(
    lines: Sequence[Equation],
    namespace: Mapping[str, Any],
    extra: Sequence[str] = (),
    refractory: bool = False,
) -> Any:
    """Return a group of one cell with these equations; raise ValueError for units that do not fit."""
    b2 = brian2()
    try:
        group = b2.NeuronGroup(
            1,
            "\n".join([*map(str, lines), *extra]),
            method="euler",
            refractory=0 * b2.ms if refractory else False,
            namespace=dict(namespace),
            dt=0.1 * b2.ms,
        )
        group._network = "none"  # otherwise Brian2 warns on deletion that no network ran it
        group.equations.check_units(group, run_namespace={})
    except Exception as error:
        raise ValueError(_said(error, lines)) from None
    return group


def check_names(text: Text, namespace: Mapping[str, Any], extra: Sequence[str]) -> None:
    """Raise ValueError for an unknown or reserved name, and for a reset of something that is not a variable."""
    own = [line.name for line in text.lines]
    read = {name: value for name, value in namespace.items() if name in mentioned(text) or name in own}
    check_own(own, read, {*CLOCK, *RESERVED}, "neuron", "cell")
    for name in extra:
        if name in namespace:
            raise ValueError(f"{name!r} is given to every step, and has a value in the namespace too: leave one out")
    valid = {*own, *namespace, *extra, *symbols(), *CONSTANTS, *CLOCK, "not_refractory", "dt"}
    waits = "it belongs to cells with a refractory time or condition: give refractory=..."
    refused = {} if text.refractory else {"lastspike": waits, "not_refractory": waits}
    conditions = [event.condition for event in text.events]
    for expression in [*_expressions(text._replace(reset=NOTHING, events=())), *conditions]:
        check_known(expression, valid, refused)
    for code in codes(text):
        for statement in code.statements:
            check_known(statement.expression, valid | local_names(code, own), refused)
    variables = [line.name for line in text.lines if line.kind != "subexpression" and "shared" not in line.flags]
    for code in codes(text):
        local = local_names(code, own)
        for statement in code.statements:
            if statement.target in local and statement.target in valid | CLOCKS:
                raise ValueError(
                    f"{statement.target!r} in the reset {statement.text!r} has a meaning: it is not assigned to"
                )
            if statement.target not in variables and statement.target not in local:
                raise unknown(f"variable assigned in the reset {statement.text!r}:", statement.target, variables)


def mentioned(text: Text) -> set[str]:
    """Return the names that the model reads, without those that its reset defines."""
    own = {line.name for line in text.lines}
    local = set().union(*(local_names(code, own) for code in codes(text)))
    return set().union(*(each.names for each in _expressions(text))) - local


def codes(text: Text) -> list[Code]:
    """Return the statements of the reset, and those of each further event."""
    return [text.reset, *(event.code for event in text.events)]


def local_names(code: Code, own: Collection[str]) -> set[str]:
    """Return the names that statements define and read again: `before = v; v = 0*mV; w += before / R`.

    >>> sorted(local_names(grammar.statements("before = v; u = 1; v = before / 2"), ["v"]))
    ['before']
    """
    found: set[str] = set()
    defined: set[str] = set()
    for statement in code.statements:
        found |= statement.expression.names & defined
        found |= {statement.target} & defined if statement.operator else set()
        defined |= {statement.target} - set(own) if not statement.operator else set()
    return found


def _expressions(text: Text) -> list[Expression]:
    found = [line.expression for line in text.lines if line.expression]
    found += [statement.expression for code in codes(text) for statement in code.statements]
    found += [event.condition for event in text.events]
    return [*found, *(part for part in (text.threshold, text.refractory) if part)]


def _updated(group: Any, methods: Sequence[str], lines: Sequence[Equation]) -> tuple[str, str]:
    """Return the code of one step, and the first method that could generate it; without equations nothing moves."""
    if not any(line.kind == "differential equation" for line in lines):
        return "", methods[0] if methods else "euler"
    problems: dict[str, str] = {}
    why = effort.entangled(lines)
    if why is not None:
        problems["exact"] = f"its closed form would take too long: {why}"
        if not methods and effort.linear(lines):
            raise ValueError(f"these equations are linear, and {problems['exact']}; choose a scheme, method='euler'")
    for candidate in methods or ("exact", "euler", "heun"):
        code = None if candidate in problems else _tried(group, candidate, problems)
        if code is not None:
            return code, candidate
    works = [m for m in METHODS if m not in problems and _tried(group, m, problems) is not None]
    reasons = "; ".join(f"{name!r}: {why}" for name, why in problems.items() if name in methods or not methods)
    asked = f"method {methods[0]!r}" if len(methods) == 1 else f"methods {methods!r}" if methods else "method None"
    raise ValueError(f"{asked} does not apply to these equations ({reasons}); these do: {', '.join(works) or 'none'}")


def _tried(group: Any, method: str, problems: dict[str, str]) -> str | None:
    group.state_updater.method_choice = exact if method == "exact" else updater_of(method, group.equations)
    try:
        group.state_updater.update_abstract_code(run_namespace={})
    except Exception as error:  # Brian2 and SymPy raise a dozen kinds for what they cannot solve
        problems[method] = (str(error) or type(error).__name__).splitlines()[0]
        return None
    lines = str(group.state_updater.abstract_code).splitlines()
    noises = sorted(line for line in lines if _DRAW.fullmatch(line))  # Brian2 writes them in another order each time
    others = [line for line in lines if not (line.startswith("not_refractory =") or _DRAW.fullmatch(line))]
    code = "\n".join([*noises, *others])
    if method == "exponential_euler" and (powers := _powers(group.equations)):
        problems[method] = (
            f"the equation of {powers!r} has higher powers of {powers!r}, which Brian2 would drop without a warning"
        )
        return None
    if re.search(r"\b(zoo|nan|oo)\b", code):
        problems[method] = "its formula divides by zero"
        return None
    return code


def _powers(equations: Any) -> str | None:
    """Return a variable whose equation has two powers of it, such as v**2 + v, one of which Brian2 would drop."""
    import sympy  # type: ignore[import-untyped]
    from brian2.parsing.sympytools import str_to_sympy

    for name, side in equations.get_substituted_expressions(include_subexpressions=False):
        symbol = sympy.Symbol(name, real=True)
        collected = sympy.collect(str_to_sympy(side.code).expand(), symbol, evaluate=False)
        if any(key.has(symbol) and key != symbol for key in collected):
            return str(name)
    return None


def _check_condition(what: str, text: str, variables: Mapping[str, Any]) -> None:
    from brian2.parsing.expressions import is_boolean_expression, parse_expression_dimensions

    try:
        parse_expression_dimensions(text, variables)
        condition = is_boolean_expression(text, variables)
    except Exception as error:
        raise ValueError(f"{what} {text!r}: {error}") from None
    if not condition:
        raise ValueError(f"{what} {text!r} is not a condition; write one, as in 'v > v_threshold'")


def check_code(where: str, lines: Sequence[str], variables: Mapping[str, Any]) -> None:
    """Raise ValueError for statements whose units do not fit."""
    from brian2.equations.unitcheck import check_units_statements

    try:
        check_units_statements("\n".join(lines), variables)
    except Exception as error:
        raise ValueError(f"{where} {'; '.join(lines)!r}: {' '.join(str(error).split())}; multiply by a unit") from None


def _refractory(
    refractory: Expression | None, variables: Mapping[str, Any]
) -> tuple[Expression | None, Expression | None]:
    from brian2.parsing.expressions import is_boolean_expression, parse_expression_dimensions

    if refractory is None:
        return None, None
    try:
        dimension = parse_expression_dimensions(refractory, variables)
        condition = is_boolean_expression(refractory, variables)
    except Exception as error:
        raise ValueError(f"refractory {refractory!r}: {error}") from None
    if condition:
        return None, refractory
    if dimension is not brian2().second.dim:
        raise ValueError(f"refractory {refractory!r} is neither a time nor a condition; write '2*ms' or 'v > -20*mV'")
    return refractory, None


def _said(error: Exception, lines: Sequence[Equation]) -> str:
    message = " ".join(str(error).split())
    cause = error.__cause__
    if cause is not None and str(cause) not in message:
        message += f" ({' '.join(str(cause).split())})"
    named = (line for line in lines if f"'{line.name}'" in message or (line.expression and line.expression in message))
    line = next(map(str, named), None)
    where = f" in {line!r}" if line else ""
    if "dimension" in message.lower() or "unit" in message.lower():
        return f"the units do not fit{where}: {message}; multiply by a unit, or correct the one after ':'"
    return f"Brian2 refuses the equations{where}: {message}"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence Brian2's warning about a group that no network runs: this group is never run."""
    import logging

    logger = logging.getLogger("brian2")
    before, logger.disabled = logger.disabled, True
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("brian2")]
    states = [each.disabled for each in loggers]
    for each in loggers:
        each.disabled = True
    try:
        yield
    finally:
        for each, state in zip(loggers, states, strict=True):
            each.disabled = state
        logger.disabled = before
