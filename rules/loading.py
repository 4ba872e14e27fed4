"""The batches of an epoch, the same whenever the epoch is begun again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

from rules.generators import Globals
from rules.optional import method_of
from rules.seeds import derived


def rest_of(loader: Iterable[Any], start: int, seed: int) -> Iterator[Any]:
    """Yield the batches of a loader from `start` on, by its own `iterate` if it has one.

    Any other loader is read from the beginning. It draws from global generators that start from `seed`; generators that
    were given to a `DataLoader` or its sampler start from `seed` and their own seed, and are put back at the end.

    >>> list(rest_of([1, 2, 3], 1, seed=0))
    [2, 3]
    """
    if (iterate := method_of(loader, "iterate")) is not None:
        yield from iterate(start)
        return
    drawn = Globals(seed)
    with begun_anew(loader, seed):
        with drawn.inside():
            items = islice(iter(loader), start, None)
        while True:
            with drawn.inside():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


@contextmanager
def begun_anew(loader: Any, seed: int) -> Iterator[None]:
    """Start the generators of a `DataLoader` from a seed and their own, and put their states back afterwards."""
    found = generators_of(loader)
    before = [generator.get_state() for generator in found]
    for generator in found:
        generator.manual_seed(derived(seed, "loader", generator.initial_seed()))
    try:
        yield
    finally:
        for generator, state in zip(found, before, strict=True):
            generator.set_state(state)


def generators_of(loader: Any) -> list[torch.Generator]:
    """Return the generators that a `DataLoader`, its samplers, or a loader around it was given."""
    places = [loader]
    for name in ("sampler", "batch_sampler", "loader"):
        places += [part for place in tuple(places) if (part := getattr(place, name, None)) is not None]
    held = [getattr(place, "generator", None) for place in places]
    return list({id(each): each for each in held if isinstance(each, torch.Generator)}.values())
