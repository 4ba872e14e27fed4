"""What the files of a finished folder hold, which a report checks before it draws: anybody may have edited them.

A shape is a function `(value, place) -> None` that raises ValueError, with place and value, for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.config.names import study_parts
from sandbox.measures import NAMES

Shape = Callable[[Any, str], None]
LONGEST = 2000  # characters of a name or a sentence; a figure of longer ones would not fit into memory
LARGEST = 1e300  # of a number, so that sums and squares of differences stay numbers
COUNTS = (
    "forwards",
    "backwards",
    "layer_evaluations",
    "synaptic_operations",
)  # of the first table; others are in a second


def refuse(value: Any, place: str, wanted: str) -> None:
    """Raise ValueError."""
    raise ValueError(f"{place} is {value!r:.60}, and has to be {wanted}")


def number(value: Any, place: str) -> None:
    """Accept a finite number."""
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        refuse(value, place, "a finite number")


def count(value: Any, place: str) -> None:
    """Accept a whole number that is not negative."""
    if type(value) is not int or not 0 <= value < 2**63:
        refuse(value, place, "a whole number, at least 0")


def whole(value: Any, place: str) -> None:
    """Accept a whole number."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        refuse(value, place, "a whole number")


def word(value: Any, place: str) -> None:
    """Accept a text."""
    if not isinstance(value, str) or len(value) > LONGEST:
        refuse(value, place, f"a text of at most {LONGEST} characters")


def real(value: Any, place: str) -> None:
    """Accept a number, NaN and infinities among them: a loss may be one."""
    if type(value) is not float:
        number(value, place)


def measure(value: Any, place: str) -> None:
    """Accept the name of a measure."""
    if not isinstance(value, str) or value not in NAMES:
        refuse(value, place, f"one of {', '.join(NAMES)}")


def plain(value: Any, place: str) -> None:
    """Accept a number, a text, or the like."""
    if not (value is None or isinstance(value, bool)):
        (word if isinstance(value, str) else number)(value, place)


def maybe(shape: Shape) -> Shape:
    """Accept null, too."""
    return lambda value, place: None if value is None else shape(value, place)


def every(shape: Shape, length: int | None = None, least: int = 0) -> Shape:
    """Accept a list, of a length where one is given."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) < least or (length is not None and len(value) != length):
            refuse(value, place, f"a list of {f'at least {least}' if length is None else length}")
        for position, each in enumerate(value):
            shape(each, f"{place}[{position}]")

    return check


def named(shape: Shape, least: int = 0) -> Shape:
    """Accept values by any names."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) < least:
            refuse(value, place, f"a mapping of at least {least}")
        for key, each in value.items():
            word(key, f"a name in {place}")
            shape(each, f"{place}.{key:.60}")

    return check


def having(shapes: Mapping[str, Shape]) -> Shape:
    """Accept a mapping with these keys, and any others; a key that ends with `?` may be missing."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            refuse(value, place, "a mapping")
        for key, shape in shapes.items():
            name = key.removesuffix("?")
            if name in value:
                shape(value[name], f"{place}.{name}")
            elif name == key:
                raise ValueError(f"{place} lacks {name}")

    return check


def both(*shapes: Shape) -> Shape:
    """Accept what all of several shapes accept."""

    def check(value: Any, place: str) -> None:
        for shape in shapes:
            shape(value, place)

    return check


INTERVAL = every(maybe(number), 3)
MEAN = both(INTERVAL, lambda value, place: number(value[0], f"{place}[0]"))  # an interval may have no ends
COST = both(named(maybe(number)), having(dict.fromkeys(COUNTS, maybe(number))))
ROW = having(
    {
        "rule": word,
        "seeds": count,
        "accuracies": every(number, least=1),
        "accuracy": MEAN,
        "validation": MEAN,
        "over_baseline": maybe(INTERVAL),
        "verdict?": maybe(word),
        "effect?": maybe(number),
        "p?": maybe(number),
        "p_adjusted?": maybe(number),
        "area?": maybe(INTERVAL),
        "parameters_trained": number,
        "cost": COST,
        "health": every(word),
        "test_evaluations?": count,
        "revisions?": every(word),
    }
)
TABLE = having(
    {
        "task": word,
        "baseline": word,
        "linear": maybe(number),
        "chance?": maybe(number),
        "measure?": measure,
        "rows": every(ROW, least=1),
        "seeds?": every(whole, least=1),
        "damaged?": named(word),
        "unfit?": named(word),
        "revisions?": named(count),
        "without_linear?": word,
    }
)
RANKED = having(
    {
        "rule": word,
        "score": MEAN,
        "profile": every(MEAN, least=1),
        "verdict": maybe(word),
        "effect?": maybe(number),
        "accuracies": named(MEAN),
    }
)
OVERALL = having(
    {
        "baseline": word,
        "rows": every(RANKED, least=1),
        "pairs": count,
        "at_chance": every(word),
        "not_on_all": every(word),
        "thresholds": every(number, least=1),
        "tasks": named(word, least=1),
        "tables": named(TABLE, least=1),
    }
)
TRIAL = having({"options": named(plain), "validation": number})
STUDY = having(
    {
        "trials": every(TRIAL, least=1),
        "best": both(TRIAL, having({"trial": count})),
        "best_so_far": every(number, least=1),
    }
)
TUNING = having(
    {
        "budget": having({"trials": count, "seeds": count, "first_seed": count}),
        "tasks?": named(word),
        "measures?": named(measure),
        "unfit?": named(word),
        "studies": named(STUDY, least=1),
    }
)
PART = both(named(maybe(real)), having({"loss": real}))
RESULT = having(
    {
        "test": PART,
        "validation": PART,
        "train?": PART,
        "cost": COST,
        "health": every(word),
        "steps": count,
        "parameters": count,
        "parameters_trained": count,
        "firing?": maybe(named(number)),
    }
)


def table(found: Any, place: str) -> None:
    """Check `table.json`: the rules are different ones, have the same seeds and costs, and the baseline is one."""
    TABLE(found, place)
    rules = [row["rule"] for row in found["rows"]]
    if len(set(rules)) < len(rules) or found["baseline"] not in rules:
        raise ValueError(f"{place}.rows are of {', '.join(rules):.200}: each rule is there once, and the baseline is")
    for key, what in (("accuracies", len), ("cost", list)):
        if len({str(what(row[key])) for row in found["rows"]}) > 1:
            raise ValueError(f"{place}.rows differ in the number or names of their {key}")


def overall(found: Any, place: str) -> None:
    """Check `overall.json`: every rule has every task and every threshold."""
    OVERALL(found, place)
    for name, each in found["tables"].items():
        table(each, f"{place}.tables.{name:.60}")
    if not set(found["tasks"]) <= set(found["tables"]):
        raise ValueError(f"{place}.tasks has tasks without a table")
    if found["baseline"] not in [row["rule"] for row in found["rows"]]:
        raise ValueError(f"{place}.rows lack the baseline")
    for row in found["rows"]:
        if len(row["profile"]) != len(found["thresholds"]) or not set(found["tasks"]) <= set(row["accuracies"]):
            raise ValueError(f"{place}.rows lack thresholds or tasks: {row['rule']:.60}")


def tuning(found: Any, place: str) -> None:
    """Check `tuning.json`: every trial has a best validation so far, and studies of a rule are equally long."""
    TUNING(found, place)
    lengths: dict[str, set[int]] = {}
    for name, study in found["studies"].items():
        lengths.setdefault(study_parts(name)[1], set()).update((len(study["trials"]), len(study["best_so_far"])))
    if any(len(found) > 1 for found in lengths.values()):
        raise ValueError(f"{place}.studies of a rule have different numbers of trials")


def result(found: Any, place: str, judged: str) -> None:
    """Check `result.json`, whose splits have a number for the measure that the run is judged by."""
    RESULT(found, place)
    for part in ("test", "validation"):
        number(found[part].get(judged), f"{place}.{part}.{judged}")
    for key, value in found["test"].items():
        if key.startswith(f"{judged}_at_"):
            maybe(number)(value, f"{place}.test.{key:.60}")
            if not re.fullmatch("[0-9]{1,9}", key.removeprefix(f"{judged}_at_")):
                raise ValueError(f"{place}.test.{key:.60}: after `at_` comes a number of steps")


def metrics(judged: str) -> Shape:
    """Accept a line of `metrics.jsonl`."""
    numbers = {"epoch": count, f"validation_{judged}": maybe(number)}
    return both(named(maybe(real)), having(numbers))


def look(found: Any, place: str) -> None:
    """Check a row of `microscope.jsonl`."""
    having({"step": count, "layer": word, "reference": word, "cosine": maybe(number)})(found, place)


def provenance(found: Any, place: str) -> None:
    """Check `provenance.json`, which is shown as it is."""
    named(lambda value, place: None)(found, place)
