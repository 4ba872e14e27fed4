"""The batches of an epoch, the same whenever the epoch is begun again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from rules.generators import Globals
from rules.optional import method_of


def rest_of(loader: Iterable[Any], start: int, seed: int) -> Iterator[Any]:
    """Yield the batches of a loader from `start` on, by its own `iterate` if it has one.

    Any other loader is read from the beginning, and draws from global generators that start from `seed`.

    >>> list(rest_of([1, 2, 3], 1, seed=0))
    [2, 3]
    """
    if (iterate := method_of(loader, "iterate")) is not None:
        yield from iterate(start)
        return
    drawn = Globals(seed)
    with drawn.inside():
        items = islice(iter(loader), start, None)
    while True:
        with drawn.inside():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
