"""Check the texts that were given by the grammar, once, and collect them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from sandbox.reference.compiler import effort, grammar, updater
from sandbox.reference.compiler.drive import Drive, by_cell, drive_of, unlinked
from sandbox.reference.compiler.given import Given, behind, freed
from sandbox.reference.compiler.maker import held_over
from sandbox.reference.compiler.methods import chosen
from sandbox.reference.compiler.names import untaken
from sandbox.reference.compiler.units import in_house
from sandbox.reference.compiler.written import Equation, Expression
from sandbox.reference.need import brian2

CURRENT = {"current": "current_"}  # in models whose input has another name


def plain(text: str | None) -> str | None:
    """Return a text as it is kept: None for an empty one."""
    return str(text).strip() or None if text else None


def read(held: Given, driven: tuple[Any, ...], called: Container[str]) -> tuple[updater.Text, Given, Drive]:
    """Check the texts by the grammar and collect them.

    Names that every neuron has get an underscore behind, but those of functions, which are `called`.
    """
    lines = grammar.equations(held.equations)
    kinds = {line.name: line.kind for line in lines}
    if not lines and held.threshold is None:
        raise ValueError("there are no equations; give at least one, as in 'dv/dt = -v / tau : volt'")
    drive = drive_of(lines, *driven)
    lines = by_cell([unlinked(line, drive) for line in lines], drive)
    if held.threshold is None and not any(kind == "differential equation" for kind in kinds.values()):
        raise ValueError(
            f"{held.equations.strip()!r} has no differential equation and no threshold; write one, as in "
            "'dv/dt = -v / tau : volt', or threshold='rand() < rates * dt'"
        )
    for name, text in (("threshold", held.threshold), ("reset", held.reset)):
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name}={text!r} is a {type(text).__name__}; wanted text, as for brian2.NeuronGroup")
        if text and any(word in text for word in ("on_pre", "on_post")):
            raise ValueError(f"{name}={text!r}: this compiles neurons, not synapses")
    threshold = None if held.threshold is None else grammar.expression(held.threshold)
    reset = grammar.statements(held.reset or "")
    if held.reset and held.threshold is None:
        raise ValueError(f"reset={held.reset!r} without a threshold: it would never run; give threshold='v > ...'")
    if effort.expands(lines, chosen(held.method)):
        effort.check(lines)
    events = [_event(name, given) for name, given in held.events.items()]
    refractory = _duration(held.refractory)
    given = (threshold, reset, refractory, *(part for event in events for part in event[1:]))
    lines, texts = freed(lines, given, {*(n for n in held.namespace if n not in called), *drive.given})
    if not drive.several and "current" not in drive.units:  # by which Brian2 calls the only input
        lines, texts = [line.renamed(CURRENT) for line in lines], [each and each.renamed(CURRENT) for each in texts]
        drive = drive._replace(jumps={name: CURRENT.get(into, into) for name, into in drive.jumps.items()})
        held = held._replace(namespace=_renamed(held.namespace), initial=_renamed(held.initial))
    threshold, reset, refractory, *parts = texts
    events = [
        updater.Event(event.name, *of)
        for event, of in zip(events, zip(parts[::2], parts[1::2], strict=True), strict=True)
    ]
    held = held._replace(
        namespace={name if name in called else behind(name): value for name, value in held.namespace.items()},
        initial={behind(name): value for name, value in held.initial.items()},
    )
    return updater.Text(lines, threshold, reset, refractory, tuple(events)), held, drive


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {CURRENT.get(name, name): value for name, value in values.items()}


def inhabited(text: updater.Text, inputs: Sequence[str], taken: Iterable[str]) -> updater.Text:
    """Return a model with a variable, which stays at 0, if it has none: a state without any would have no shape."""
    kept = any(line.name not in inputs and (line.kind != "subexpression" or held_over(line)) for line in text.lines)
    if kept:
        return text
    name = untaken("idle", {*taken, *inputs, *(line.name for line in text.lines)})
    return text._replace(lines=[*text.lines, Equation("parameter", name, None, "1", ())])


def alive(text: updater.Text) -> updater.Text:
    """Return a model without subexpressions that nothing reads: no run shows them, and their constants do nothing."""
    lines = list(text.lines)
    while True:
        read = updater.mentioned(text._replace(lines=lines))
        kept = [line for line in lines if line.kind != "subexpression" or held_over(line) or line.name in read]
        if len(kept) == len(lines):
            return text._replace(lines=lines)
        lines = kept


def _event(name: Any, given: Any) -> updater.Event:
    """Check a further event."""
    plain = isinstance(given, Sequence) and len(given) == 2 and all(isinstance(part, str) for part in given)
    if not isinstance(name, str) or not grammar.NAME.fullmatch(name) or not plain or isinstance(given, str):
        raise ValueError(f"events={{{name!r}: {given!r}}}: give a name, and a condition and statements as text")
    if name == "spike":
        raise ValueError("events={'spike': ...}: the event of a spike is threshold= and reset=")
    return updater.Event(name, grammar.expression(given[0]), grammar.statements(given[1]))


def _duration(refractory: Any) -> Expression | None:
    """Return the refractory time or condition."""
    if refractory is None or refractory is False:
        return None
    if isinstance(refractory, str):
        return grammar.expression(refractory)
    b2 = brian2()
    if isinstance(refractory, b2.Quantity) and refractory.dim is b2.second.dim and refractory.ndim == 0:
        return grammar.expression(f"{in_house(refractory)!r}*ms")
    raise ValueError(f"refractory={refractory!r} is neither a time nor a condition; write 2*ms, '2*ms' or 'v > -20*mV'")
