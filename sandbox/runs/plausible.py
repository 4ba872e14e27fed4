"""Numbers that no run can write: shares outside 0..1, NaN, text in place of numbers, epochs out of order."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sandbox.machine import files
from sandbox.machine.text import said
from sandbox.measures import MEASURES

SHARES = ("accuracy", "f1")  # from 0 to 1, as are the measures that begin with these names: accuracy_at_3
PARTS = ("test", "train", "validation")  # of a result
COUNTS = ("parameters_trained", "steps")
LARGEST = 2.0**63  # of any number; beyond it is no count, and no float that a run computes


def impossible(folder: Path) -> list[str]:
    """Return a sentence for each impossible number in the files of a finished run; empty if there is none.

    Args:
        folder: of a run; files that are not there are passed over.
    """
    checks: dict[str, Callable[[Path], Iterator[str]]] = {
        "result.json": _of_result,
        "metrics.jsonl": _of_metrics,
        "test.json": _of_test,
        "timing.json": _of_timing,
    }
    found = []
    for name, check in checks.items():
        if (folder / name).exists():
            try:
                found += [f"{name}: {line}" for line in check(folder / name)]
            except (OSError, ValueError, RecursionError) as error:
                found.append(f"{name} is not valid JSON ({_why(error)})")
    return found


def _why(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else said(error)


def _of_result(path: Path) -> Iterator[str]:
    result = json.loads(files.text_of(path))
    if not isinstance(result, dict):
        yield f"it holds {_shown(result)}, not the parts of a result"
        return
    for part in PARTS:
        if not isinstance(result.get(part), dict):
            yield f"{part!r} is {_shown(result.get(part))}, not measures"
        elif not any(name in result[part] for name in MEASURES.values()):
            yield f"{part!r} has none of the measures {', '.join(MEASURES.values())}"
        else:
            yield from _wrong_measures(part, result[part])
    if isinstance(result.get("cost"), dict):
        yield from _wrong_counts("cost", result["cost"])
    else:
        yield f"'cost' is {_shown(result.get('cost'))}, not counts"
    for name in COUNTS:
        if not _is_count(result.get(name)):
            yield f"{name!r} is {_shown(result.get(name))}, not a count"
    if not isinstance(result.get("health"), list) or not all(isinstance(line, str) for line in result["health"]):
        yield f"'health' is {_shown(result.get('health'))}, not a list of sentences"


def _of_metrics(path: Path) -> Iterator[str]:
    for number, text in enumerate(files.text_of(path, files.GROWN).splitlines()):
        line, where = json.loads(text), f"line {number + 1}"
        if not isinstance(line, dict):
            yield f"{where} holds {_shown(line)}, not the measures of an epoch"
            return
        if line.get("epoch") != number or isinstance(line["epoch"], bool):
            yield f"{where} is of epoch {_shown(line.get('epoch'))}, not of epoch {number}"
        measures = {key: value for key, value in line.items() if key.startswith("validation_")}
        yield from _wrong_measures(where, {key.removeprefix("validation_"): value for key, value in measures.items()})
        counts = {key: value for key, value in line.items() if key not in (*measures, "epoch", "train_loss")}
        yield from _wrong_counts(where, counts)
        if line.get("train_loss") is not None and not _is_number(line["train_loss"]):
            yield f"{where}: 'train_loss' is {_shown(line['train_loss'])}, not a number"


def _of_test(path: Path) -> Iterator[str]:
    ledger = json.loads(files.text_of(path))
    times = ledger.get("evaluations") if isinstance(ledger, dict) else ledger
    if not _is_count(times) or times == 0:
        yield f"'evaluations' is {_shown(times)}, not a count of at least 1"


def _of_timing(path: Path) -> Iterator[str]:
    timing = json.loads(files.text_of(path))
    if isinstance(timing, dict):
        yield from _wrong_counts("it", timing)
    else:
        yield f"it holds {_shown(timing)}, not times"


def _wrong_measures(where: str, measures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the measures of a split.

    A loss may be infinite, what models are selected by may not. R2 has no lower bound; 1 is its largest value.
    """
    for name, value in measures.items():
        share = name.startswith(SHARES)
        if share or name == "r2":
            if not _is_finite(value) or value > 1 or (share and value < 0):
                allowed = "a share from 0 to 1" if share else "a finite number of at most 1"
                yield f"{where}: {name!r} is {_shown(value)}, not {allowed}"
        elif value is not None and not _is_number(value):
            yield f"{where}: {name!r} is {_shown(value)}, not a number"


def _wrong_counts(where: str, counts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with counts, times and energies: none is negative; None stands for what was not counted."""
    for name, value in counts.items():
        if value is not None and (not _is_finite(value) or value < 0):
            yield f"{where}: {name!r} is {_shown(value)}, not a number of at least 0"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and abs(value) < LARGEST and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_finite(value) and value >= 0


def _shown(value: Any) -> str:
    """Return a value as a message shows it, cut if it is long."""
    try:
        text = "missing" if value is None else json.dumps(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 40 else f"{text[:37]}..."
