"""What tells rows of one rule apart: settings by which a row such as `bptt#2` differs from `bptt`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sandbox.runs.finished import FinishedRun

NUMBERED = re.compile(r"(.+)#[0-9]+")
OWN = ("seed", "rule.label", "rule.search", "rule.searched", "rule.variant")  # of a run or a search
ABSENT = "its default"


def apart(runs: Mapping[str, Sequence[FinishedRun]]) -> dict[str, str]:
    """Return, by the label of each row with a number, what it has in place of the first row of that name.

    Args:
        runs: of each row, by its label.

    >>> def made(**options):
    ...     config = {"rule": {"name": "bptt", "options": options}}
    ...     return [FinishedRun("", 0, [], {}, {}, 1, config=config)]
    >>> apart({"bptt": made(lr=0.1), "bptt#2": made(window=2)})
    {'bptt#2': 'bptt with rule.options.lr=its default and rule.options.window=2'}
    """
    first = {label: match[1] for label in runs if (match := NUMBERED.fullmatch(label)) and match[1] in runs}
    return {label: f"{of} with {_words(runs[label][0], runs[of][0])}" for label, of in first.items()}


def _words(run: FinishedRun, first: FinishedRun) -> str:
    """Return the settings of a run that another has not, and those that only the other has."""
    ours, theirs = dict(_flat(run.config)), dict(_flat(first.config))
    names = [name for name in dict.fromkeys((*theirs, *ours)) if not name.startswith(OWN)]
    other = [f"{name}={ours.get(name, ABSENT)}" for name in names if ours.get(name, ABSENT) != theirs.get(name, ABSENT)]
    return " and ".join(other) or "the same settings, given where the other's were searched"


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by their dotted names; what is not given is left out."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif value is not None:
            yield above + name, value
