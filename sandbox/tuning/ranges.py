"""Search spaces that extend themselves while the best trial lies near an end of a range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rules.spaces import GROWTH, Options, Range, Space

LOOKS = (4, 6, 8)  # tenths of the trials after which a range may grow, so at most three times
SHARES = (GROWTH, GROWTH / 2, GROWTH / 4)  # of a range, by which it grows: the first that the rule admits

Admits = Callable[[Mapping[str, Any]], bool]


def looks(trials: int) -> set[int]:
    """Return after which numbers of trials ranges may grow.

    They are fixed in advance, so that every rule has the same number of trials whether its ranges grow or not, and a
    fifth of the trials is left after the last one. The best of fewer than three trials says nothing.

    >>> sorted(looks(20)), looks(4), looks(3)
    ([8, 12, 16], {3}, set())
    """
    return {trials * tenths // 10 for tenths in LOOKS} - {0, 1, 2}


def grown(space: Space, best: Mapping[str, Any], admits: Admits) -> Space:
    """Return the space, each range grown where the best value lies near one of its ends.

    A range grows by half of its width, in decades where it is logarithmic, up to its bounds; by less where the rule
    does not admit the new end.

    Args:
        space: as it was searched so far.
        best: options of the best trial so far.
        admits: returns whether the rule can be made with options.
    """
    return {name: _wider(each, name, best, admits) for name, each in space.items()}


def _wider(found: Range | Options, name: str, best: Mapping[str, Any], admits: Admits) -> Range | Options:
    end = found.end_near(best[name]) if isinstance(found, Range) else None
    if not isinstance(found, Range) or end is None:
        return found
    for share in SHARES:
        wider = found.beyond(end, share)
        if wider != found and admits({**best, name: getattr(wider, end)}):
            return wider
    return found


def added(before: Space, after: Space) -> Space:
    """Return the space in which ranges that have grown are cut to what was added.

    >>> added({"lr": Range(0.1, 1.0, log=True)}, {"lr": Range(0.1, 10.0, log=True)})["lr"].ends
    (1.0, 10.0)
    """
    return {name: _added(before[name], each) for name, each in after.items()}


def _added(before: Any, after: Any) -> Any:
    if before == after:
        return after
    return replace(after, low=before.high) if after.high > before.high else replace(after, high=before.low)


def at_end(space: Space, best: Mapping[str, Any]) -> list[str]:
    """Return the options whose best value lies near an end of its range, beyond which others would make sense.

    >>> at_end({"lr": Range(0.1, 1.0), "momentum": Range(0.0, 0.99, most=0.99)}, {"lr": 0.11, "momentum": 0.98})
    ['lr']
    """
    return [name for name, each in space.items() if isinstance(each, Range) and _cut(each, best[name])]


def _cut(found: Range, value: float) -> bool:
    end = found.end_near(value)
    return end is not None and found.beyond(end) != found


def within(space: Space) -> dict[str, list[Any]]:
    """Return of each option the ends of its range, or all values of a choice, as plain data."""
    return {name: list(each.ends) for name, each in space.items()}


def narrowed(space: Space, ends: Mapping[str, list[Any]]) -> Space:
    """Return the space with ranges of other ends, as `within` has said them."""
    return {
        name: replace(each, low=ends[name][0], high=ends[name][1]) if isinstance(each, Range) else each
        for name, each in space.items()
    }
