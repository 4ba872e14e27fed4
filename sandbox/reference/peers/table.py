"""The table of docs/conformance.md: which equation each cell of each library is, as measured."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.cell import Cell
from sandbox.reference.conformance.black_box import truth_of
from sandbox.reference.conformance.facts import facts_of
from sandbox.reference.conformance.seen import Facts
from sandbox.reference.conformance.stepping import respond
from sandbox.reference.conformance.stimuli import step_currents
from sandbox.reference.conformance.validate import validate
from sandbox.reference.peers.examples import EXAMPLES, Example
from sandbox.reference.peers.known import KNOWN, equation_of, known

DT, STEPS, CELLS = 1.0, 400, 10  # [ms] of a step, steps, cells of each stimulus
SHARP = 1e-9  # of the largest membrane, below which a difference is rounding


@dataclass(frozen=True)
class Row:
    """What was measured of one cell; `exact` is None where no equation here is the cell, and `why` says so."""

    example: Example
    exact: Cell | None
    why: str
    naive: Cell
    facts: Facts
    fails: tuple[str, ...]  # the checks of `sandbox.validate` that failed under the exact mapping
    spikes: int  # of the cell, in all steps of all cells
    differing: int | None  # steps of cells in which the exact equation fires otherwise
    naively: int  # the same of the naive one
    apart: float | None  # largest difference of membranes of a cell that never fires, over the largest membrane
    apart_naively: float | None


def measured(example: Example) -> Row:
    """Measure one cell on every stimulus; raise ImportError where its library is not installed."""
    cell = example.make()
    mapping = known(cell)
    assert mapping is not None
    naive, why = mapping.naive(cell, DT), ""
    try:
        exact: Cell | None = equation_of(cell, DT)
    except ValueError as error:
        exact, why = None, str(error)
    said = exact or naive
    currents = step_currents(said, CELLS, STEPS, DT)  # type: ignore[arg-type]  # all have steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a coarse dt
        checks = () if exact is None else validate(cell, dt=DT, duration=STEPS * DT, cells=CELLS).checks
        response = respond(mapping.step(cell), currents)
        counts = [None if one is None else _apart(response.spikes, one, currents) for one in (exact, naive)]
        facts = facts_of(mapping.step(cell), said, DT)
    spiking = getattr(said, "spiking", True)
    exactly, naively = counts
    assert naively is not None
    return Row(
        example,
        exact,
        why,
        naive,
        facts,
        tuple(each.name for each in checks if each.passed is False),
        int(response.spikes.sum()) if spiking else 0,
        exactly[0] if spiking and exactly else None,
        naively[0] if spiking else 0,
        exactly[1] if exactly and not spiking else None,
        None if spiking else naively[1],
    )


def _apart(output: Tensor, equation: Cell, currents: Tensor) -> tuple[int, float]:
    truth = truth_of(equation, currents, DT)
    want = truth.spikes if getattr(equation, "spiking", True) else truth.after
    return int((output != want).sum()), float((output - want).abs().max() / want.abs().max())


def code(cell: Cell) -> str:
    """Return a cell as it is written, with the parameters that are not the defaults, to six digits.

    >>> from sandbox.neurons import LIF
    >>> code(LIF(tau_mem=9.4912219, strict=True))
    'LIF(tau_mem=9.49122, strict=True)'
    """
    given: Any = cell
    parts = []
    for f in fields(given):
        value = getattr(given, f.name)
        if not isinstance(value, Surrogate) and shown(value) != shown(f.default):
            parts.append(f"{f.name}={shown(value)}")
    return f"{type(cell).__name__}({', '.join(parts)})"


def shown(value: Any) -> str:
    """Return a parameter with six digits, and none of rounding about 0.

    >>> shown(-1e-16), shown(1 / 3), shown("none")
    ('0', '0.333333', "'none'")
    """
    return f"{round(value, 9) + 0.0:.6g}" if isinstance(value, float) else repr(value)


def tables(rows: Iterable[Row]) -> str:
    """Return the page below its head, in Markdown."""
    rows = list(rows)
    parts = []
    for library in dict.fromkeys(row.example.library for row in rows):
        own = [row for row in rows if row.example.library == library]
        parts.append(f"## {own[0].example.library} {own[0].example.version}\n")
        parts.append(_table(SEEN, [_seen(row) for row in own]))
        parts.append(_table(EQUATIONS, [_equations(row) for row in own]))
        for row in own:
            if row.exact is None:
                parts.append(f"`{row.example.code}`: {row.why}.\n")
        parts.append("The exact mapping, from the cell's own parameters:\n")
        parts.append("".join(f"- {name}: {mapping.formula}.\n" for name, mapping in KNOWN[library].items()))
    return "\n".join(parts)


SEEN = ("cell", "fires at", "reset", "shown", "input", "keeps", "spikes per step", "silent behind a spike")
EQUATIONS = ("cell", "exact mapping", "scheme", "spikes", "differ", "naive mapping", "differ")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _seen(row: Row) -> list[str]:
    facts = row.facts
    return [
        f"`{row.example.code}`",
        "never" if facts.why("fires_at") == "it never fires" else f"v {facts.fires_at} {facts.threshold:.6g}",
        _reset(facts),
        "-" if facts.shown is None else f"{facts.shown} the reset",
        _input(facts),
        "-" if facts.kept is None else shown(facts.kept),
        _plain(facts.spikes_per_step, {1: "one", 10: "as many as fit"}),
        _plain(facts.refractory, {0: "-", 1: "1 step"}, " steps"),
    ]


def _plain(value: int | None, words: dict[int, str], more: str = "") -> str:
    return "-" if value is None else words.get(value, f"{value}{more}")


def _reset(facts: Facts) -> str:
    """Say what a spike does to the membrane, and when."""
    if facts.reset == "none":
        return "none"
    if facts.reset is None:
        return "-" if facts.why("reset") == "it never fires" else "of its currents"
    verb = {"subtract": "subtracts {}", "to_value": "to {}"}[facts.reset]
    once = "?" if facts.amount is None else shown(facts.amount)
    if facts.later is None:
        return f"{verb.format(once)}, at once"
    later = f"{verb.format(shown(facts.later))}, a step late"
    return later if facts.amount is None or facts.reset == "to_value" else f"{later}: {once} at once"


def _input(facts: Facts) -> str:
    """Say how an input enters the membrane in the step in which it arrives first."""
    if facts.gain is None or facts.latency is None:
        return "-"
    when = "" if facts.latency == 0 else f", {facts.latency} step late"
    if facts.kept is None:
        return f"{shown(facts.gain)} of it{when}"
    named = {
        "whole, behind the decay": 1.0,
        "its share 1 - keeps": 1 - facts.kept,
        "whole, in front of the decay": facts.kept,
    }
    for text, value in named.items():
        if abs(facts.gain - value) < SHARP:
            return text + when
    return f"{shown(facts.gain)} of it{when}"


def _equations(row: Row) -> list[str]:
    if row.apart_naively is not None:
        exact = "-" if row.apart is None else "v < 1e-9" if row.apart < SHARP else f"v {row.apart:.2g}"
        numbers = ["never fires", exact, f"v {row.apart_naively:.2g}"]
    else:
        numbers = [f"{row.spikes:,}", "-" if row.differing is None else f"{row.differing:,}", f"{row.naively:,}"]
    if row.exact is None:
        return [f"`{row.example.code}`", "none here", "-", numbers[0], "-", f"`{code(row.naive)}`", numbers[2]]
    scheme = _scheme(row.exact)
    verdict = f"{numbers[1]}: {', '.join(row.fails)}" if row.fails else numbers[1]
    return [
        f"`{row.example.code}`",
        f"`{code(row.exact)}`",
        scheme,
        numbers[0],
        verdict,
        f"`{code(row.naive)}`",
        numbers[2],
    ]


def _scheme(cell: Cell) -> str:
    """Say how an equation is stepped; that of IF has no leak, so that Euler is exact."""
    order = getattr(cell, "order", None)
    if order is not None:
        return f"Euler, {order.replace('_', ' ')}"
    return "exact"


def rows() -> list[Row]:
    """Measure every example.

    Raises:
        ImportError: where a library is not installed.
    """
    torch.manual_seed(0)
    return [measured(example) for example in EXAMPLES]
