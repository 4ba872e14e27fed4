"""The text of synapses: equations, and what a spike of either side does, checked by the grammar."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rules.errors import unknown
from sandbox.reference.compiler import effort, grammar
from sandbox.reference.compiler.functions import RANDOM
from sandbox.reference.compiler.names import CLOCK, CONSTANTS, NOISE, check_known, check_own
from sandbox.reference.compiler.units import symbols
from sandbox.reference.compiler.written import Equation, Expression, Statement

ORDERS = {"pre": -1, "post": 1}  # of Brian2: in a step, inputs come before cells
TAKEN = (*CLOCK, "j", "dt", "lastupdate", "delay")  # part of Brian2's synapses
FLAGS = {  # by kind of equation; those in REFUSED are read, and refused in words
    "differential equation": ("event-driven", "clock-driven"),
    "subexpression": ("summed", "shared", "constant over dt"),
    "parameter": ("constant", "shared", "linked"),
}
REFUSED = {
    "summed": "a sum over synapses acts on the cell, which the layer of the network does: leave the line out",
    "linked": "give the value as a constant, in namespace=, or compute it from variables of the synapse",
    "constant over dt": "leave out the flag: the expression is then computed wherever it is read",
}


class Pathway(NamedTuple):
    """What a spike of one side does."""

    name: str
    side: str  # "pre" or "post"
    order: int
    statements: tuple[Statement, ...]  # without those that act on the cell
    transmissions: tuple[str, ...]  # such as "v_post += w", which the layer does


class Text(NamedTuple):
    """Synapses as text."""

    lines: list[Equation]
    pathways: list[Pathway]  # in the order in which they run

    @property
    def statements(self) -> list[Statement]:
        """Those of all pathways."""
        return [each for pathway in self.pathways for each in pathway.statements]

    @property
    def variables(self) -> list[str]:
        """The names that have a value for each synapse: those of differential equations first."""
        kinds = ("differential equation", "parameter")
        return [line.name for kind in kinds for line in self.lines if line.kind == kind]

    @property
    def reads(self) -> set[str]:
        """The names that equations and statements read."""
        found = set().union(*(line.reads for line in self.lines), *(each.expression.names for each in self.statements))
        return found | {each.target for each in self.statements if each.operator}

    def additive(self, weight: str) -> bool:
        """Return whether the weight is only added to, by what does not depend on it."""
        moved = [each for each in self.statements if each.target == weight]
        reads = [*(line.reads for line in self.lines), *(each.expression.names for each in self.statements)]
        moving = {line.name for line in self.lines if line.kind == "differential equation"}
        return (
            weight not in moving
            and all(each.operator in ("+", "-") for each in moved)
            and not any(weight in names for names in reads)
        )


def read(
    model: str,
    sides: Mapping[str, Sequence[tuple[str, str]]],
    orders: Mapping[str, int],
    weight: str,
    namespace: Mapping[str, Any],
) -> Text:
    """Check the texts by the grammar, and collect them.

    Args:
        model: equations, as for `brian2.Synapses`.
        sides: names and texts of pathways, of "pre" and "post".
        orders: of pathways, by name.
        weight: name of the variable that is the weight.
        namespace: constants.

    Raises:
        ValueError: with the piece of text, for what the grammar does not allow, unknown and reserved names, and what a
            layer of a network cannot do.
    """
    lines = grammar.equations(model, FLAGS)
    own = [line.name for line in lines]
    check_own(own, namespace, TAKEN, "synapse", "syn")
    valid = {*own, *namespace, *symbols(), *CONSTANTS, "dt"}
    for line in lines:
        _check_line(line, valid)
    _check_driven(lines)
    _check_weight(weight, lines)
    effort.check(lines)
    pathways = []
    for side, texts in sides.items():
        for name, code in texts:
            order = orders.get(name, ORDERS[side])
            pathways.append(_pathway(name, side, order, code, lines, weight, valid))
    names = [pathway.name for pathway in pathways]
    for name in orders:
        if name not in names:
            raise unknown("pathway in order:", name, names)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"on_pre and on_post both have a pathway {twice!r}; give each a name of its own")
    text = Text(lines, sorted(pathways, key=lambda pathway: (pathway.order, pathway.name)))
    for pathway in pathways:
        _check_stale(pathway, lines)
    moving = {line.name for line in lines if line.kind == "differential equation"}
    if weight not in moving | {each.target for each in text.statements}:
        raise ValueError(f"nothing changes the weight {weight!r}; assign it in on_pre or on_post, or name another")
    return text


def require_text(name: str, given: Any) -> tuple[tuple[str, str], ...]:
    """Return the pathways of one side, from a text, or texts by name."""
    if given is None or isinstance(given, str):
        return ((name.removeprefix("on_"), given),) if given and given.strip() else ()
    if not isinstance(given, Mapping) or not all(isinstance(part, str) for item in given.items() for part in item):
        raise ValueError(f"{name}={given!r}: give text, or a dict of texts by the names of their pathways")
    for each in given:
        if not grammar.NAME.fullmatch(each):
            raise ValueError(f"{name}: {each!r} is not a valid name of a pathway; use letters, digits and underscores")
    return tuple(given.items())


def _check_line(line: Equation, valid: set[str]) -> None:
    for flag in line.flags:
        if flag in REFUSED:
            raise ValueError(f"{str(line)!r}: ({flag}) is not compiled; {REFUSED[flag]}")
    if {"event-driven", "clock-driven"} <= {*line.flags}:
        raise ValueError(f"{str(line)!r} is event-driven and clock-driven; leave out one of the flags")
    if line.name.endswith(("_pre", "_post")):
        raise ValueError(f"{line.name!r} in {str(line)!r}: Brian2 keeps names in _pre and _post for cells; rename it")
    if line.unit in ("boolean", "integer"):
        raise ValueError(f"{str(line)!r}: variables of synapses are numbers with a fraction; write ': 1'")
    if line.expression:
        _check_reads(line.expression, valid)


def _check_reads(expression: Expression, valid: Iterable[str]) -> None:
    """Raise ValueError for random numbers, variables of the cells, and unknown names."""
    nodes = ast.walk(expression.tree)
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    names = expression.names
    for name in sorted((called & RANDOM.keys()) | {name for name in names if NOISE.fullmatch(name)}):
        raise ValueError(f"{name!r} in {expression!r}: synapses draw no random numbers here; leave the noise out")
    for name in sorted(names - set(valid)):
        if name.endswith(("_pre", "_post")):
            raise ValueError(
                f"{name!r} in {expression!r} is a variable of a cell, and the rule sees the spikes of cells alone; "
                "compute it from spikes, as a variable of the synapse"
            )
    no_clock = (
        "a synapse has no clock and no index; give time as a variable, 'dclock/dt = 1 : second', an index as "
        "'x : 1 (constant)'"
    )
    check_known(expression, valid, dict.fromkeys((*CLOCK, "j"), no_clock))


def _check_driven(lines: Sequence[Equation]) -> None:
    """Raise ValueError where an equation reads a variable that is not up to date when it is computed."""
    reads = {line.name: line.reads for line in lines if line.expression}
    through = {line.name: reads[line.name] for line in lines if line.kind == "subexpression"}
    moving = [line for line in lines if line.kind == "differential equation"]
    for line in moving:
        seen = set(reads[line.name]).union(*(effort.reach(name, through) for name in reads[line.name]))
        for other in moving:
            if other.name in seen and event_driven(other) != event_driven(line):
                mine, theirs = (("event" if event_driven(each) else "clock") + "-driven" for each in (line, other))
                raise ValueError(
                    f"{str(line)!r} is {mine} and reads {other.name!r}, which is {theirs}; make both alike"
                )


def event_driven(line: Equation) -> bool:
    """Return whether a variable is advanced when a spike asks for it alone."""
    return "event-driven" in line.flags


def assignable(lines: Sequence[Equation]) -> list[str]:
    """Return the variables that statements may change."""
    fixed = ("constant", "shared")
    return [
        line.name
        for line in lines
        if line.kind == "differential equation"
        or (line.kind == "parameter" and not any(flag in fixed for flag in line.flags))
    ]


def _check_weight(weight: str, lines: Sequence[Equation]) -> None:
    if not isinstance(weight, str) or weight not in assignable(lines):
        raise unknown("weight among the variables of the synapse:", weight, assignable(lines))


def _pathway(
    name: str, side: str, order: Any, text: str, lines: Sequence[Equation], weight: str, valid: set[str]
) -> Pathway:
    """Check the statements of one pathway."""
    if not isinstance(order, int) or isinstance(order, bool):
        raise ValueError(f"order of {name!r}: {order!r} is not a whole number; Brian2's are -1 for pre and 1 for post")
    variables, own = assignable(lines), {line.name for line in lines}
    local: set[str] = set()
    kept: list[Statement] = []
    sent: list[str] = []
    found = grammar.statements(text).statements
    for number, each in enumerate(found):
        if each.target not in variables and each.target not in local:
            later = set().union(*(other.expression.names for other in found[number + 1 :]))
            free = each.target not in valid and not each.target.endswith(("_pre", "_post"))
            if each.operator == "" and free and each.target in later:
                local.add(each.target)
            elif each.target in valid:
                fixed = "a constant" if each.target in own else "not a variable of the synapse"
                raise ValueError(
                    f"{each.text!r} in on_{side}: {each.target!r} is {fixed}; assign {', '.join(variables)}"
                )
            else:
                _check_transmission(each, side, weight)
                sent.append(each.text)
                continue
        _check_reads(each.expression, valid | local)
        kept.append(each)
    return Pathway(name, side, order, tuple(kept), tuple(sent))


def _check_stale(pathway: Pathway, lines: Sequence[Equation]) -> None:
    """Raise ValueError for a subexpression that Brian2 computes from old values, without a warning."""
    through = {line.name: line.reads for line in lines if line.kind == "subexpression"}
    events = {line.name for line in lines if event_driven(line)}
    changed: set[str] = set()
    for each in pathway.statements:
        for name in sorted(each.expression.names & through.keys()):
            read = effort.reach(name, through)
            if stale := sorted(read & (events | changed)):
                when = "before the pathway" if stale[0] in changed else "its last spike"
                raise ValueError(
                    f"{name!r} in {each.text!r} in on_{pathway.side} reads {stale[0]!r}, and Brian2 takes the value of "
                    f"{when}: write the expression out in the statement"
                )
        changed.add(each.target)


def _check_transmission(statement: Statement, side: str, weight: str) -> None:
    """Raise ValueError for an effect on a cell that is not the weight, which is all that a layer adds."""
    units = symbols()
    tree, factors = statement.expression.tree, []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
        factors.append(tree.right)
        tree = tree.left
    names = [node.id if isinstance(node, ast.Name) else "" for node in (tree, *factors)]
    alone = names.count(weight) == 1 and all(name == weight or name in units for name in names)
    if side == "pre" and statement.operator == "+" and alone and not statement.target.endswith("_pre"):
        return
    raise ValueError(
        f"{statement.text!r} in on_{side}: {statement.target!r} is not a variable of the synapse, and the only effect "
        f"on a cell is that of its layer, which adds the weight: declare {statement.target!r} in model=, or write "
        f"'{'v_post' if statement.target.endswith('_pre') else statement.target} += {weight}' in on_pre"
    )
