"""Writes docs/corpus.md: what `from_brian2` makes of each model of the corpus, and which it refuses.

PYTHONPATH=. python -m tests.sandbox.reference.corpus.page
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, NamedTuple

import brian2 as b2

from sandbox.reference.brian import plain_numpy
from tests.sandbox.reference.corpus.facts import Facts, models
from tests.sandbox.reference.corpus.running import compiled, group_of

PAGE = Path(__file__).parents[4] / "docs" / "corpus.md"
HEAD = """# Models that compile

What `sandbox.from_brian2` makes of models as they were published: every NeuronGroup of Brian2's examples and tutorials
that has a threshold or a differential equation, those of its course material and of the exercises of *Neuronal Dynamics*
whose equations, threshold, reset or method are not among them already, and models of the literature. Left out are
SpatialNeuron, synapses, groups without a threshold and a differential equation, groups that Brian2 2.9 refuses itself
when it writes NumPy, course files that it no longer runs, and methods that are objects or of GSL. Groups of Brian2 were
recorded as the files make them, whatever becomes of them here; models of the literature were written down for this page
in Brian2's language, with constants as recalled from the papers, so that the others are the better sample. The facts
stand in `tests/sandbox/reference/corpus/`.

*Verbatim* means: the text and the values of the source were handed over, with the name of its drive and nothing else:
a parameter that is the input, a linked variable, or the variable that its synapses add to (`jumps`). A model that
compiles runs in eight cells, for 2000 steps, beside Brian2 in float64 with the same stored input and the same draws: all
variables after each step are within 1e-9 of the largest value that Brian2 has (`rounding` in the facts says where, and
why, it is more), and the spikes are the same. Gradients after 30 steps are finite. Values of cells are those of eight of
the source's, stored signals are cut short, initial values that are drawn are Brian2's, and the strength of the drive is
the test's. `tests/sandbox/reference/test_corpus.py` checks this, each row and each total of this page.
"""


class Row(NamedTuple):
    """A line of the page."""

    family: str
    name: str
    source: str
    ode: str
    method: str
    made: str

    def __str__(self) -> str:
        return f"| {self.name} | {self.source} | {self.ode} | {self.method} | {self.made} |"


def row(facts: Facts, made: Any) -> Row:
    """Return the line of a model, of the neuron that it became or of the error that refused it."""
    given = facts.method if isinstance(facts.method, str) else "Brian2's choice"
    method, how = given, f"**refused**: {plain(str(made))}"
    if not isinstance(made, ValueError):
        method, how = (made.method if facts.has_ode else "none"), drive(facts)
    return Row(facts.family, facts.name, plain(facts.source), "yes" if facts.has_ode else "no", method, how)


def plain(text: str) -> str:
    """Return text for a cell of a table, at most 300 characters of it."""
    text = " ".join(text.split())
    return (text if len(text) <= 300 else f"{text[:300]}...").replace("|", "\\|").replace("<", "&lt;")


def drive(facts: Facts) -> str:
    """Return how a model was compiled."""
    parts = (
        [f"input {', '.join(f'`{name}`' for name in (*facts.inputs, *facts.links))}"]
        if facts.inputs or facts.links
        else []
    )
    parts += [f"jumps of {', '.join(f'`{name}`' for name in facts.jumps)}"] if facts.jumps else []
    parts += [f"functions {', '.join(f'`{name}`' for name in facts.functions)}"] if facts.functions else []
    return "; ".join(parts) or "alone"


def verbatim(found: Row) -> bool:
    """Whether a line is one of a model that was compiled as it stands."""
    return not found.made.startswith("**refused**") and "functions" not in found.made


def percent(rows: list[Row]) -> str:
    """Return the count and share of those that were compiled verbatim."""
    count = sum(map(verbatim, rows))
    return f"{count} ({100 * count / len(rows):.1f} %)" if rows else "0"


def page(rows: list[Row]) -> str:
    """Return the whole page for its lines."""
    families = list(dict.fromkeys(each.family for each in rows))
    totals = ["| models | all | verbatim | with a differential equation | verbatim |", "|---|---|---|---|---|"]
    for title in (*families, "all"):
        some = [each for each in rows if title in (each.family, "all")]
        odes = [each for each in some if each.ode == "yes"]
        totals.append(f"| {title} | {len(some)} | {percent(some)} | {len(odes)} | {percent(odes)} |")
    parts = [HEAD, "\n".join(totals)]
    for title in families:
        lines = ["| model | source | ODE | method | compiled with |", "|---|---|---|---|---|"]
        lines += [str(each) for each in rows if each.family == title]
        parts += [f"\n## {title[0].upper()}{title[1:]}\n", "\n".join(lines)]
    return "\n".join(parts) + "\n"


def rows_of(text: str) -> list[Row]:
    """Return the lines of a page."""
    found, family = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            family = line[3].lower() + line[4:]
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        if family and line.startswith("| ") and len(cells) == 5 and cells[0] != "model":
            found.append(Row(family, *cells))
    return found


def attempt(facts: Facts) -> tuple[Any, Any]:
    """Return the group of Brian2 and the compiled neuron, or the ValueError that says why there is none."""
    group = group_of(facts)
    try:
        return group, compiled(facts, group)
    except ValueError as error:
        return group, error


if __name__ == "__main__":
    gc.freeze()
    b2.BrianLogger.suppress_hierarchy("brian2")  # about groups that do not run
    with plain_numpy():
        PAGE.write_text(page([row(facts, attempt(facts)[1]) for facts in models().values()]))
