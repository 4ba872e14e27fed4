"""The directions of probes, how many are tried at a time, and which entries of the error they measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rules.credit.zero_order.draws import WORKING_SET, normal_like, signs_like
from rules.credit.zero_order.layered.lab import Lab, Site
from rules.processes import processes


class Probes(NamedTuple):
    """Directions that are probed at once, and the entries of the error that they measure."""

    directions: Tensor  # [T - since | 1, K, B | 1, channels, *sizes]
    since: int
    lattice: tuple[slice, ...]  # along each axis, the positions that are perturbed and measured separately
    credit: Callable[[Tensor, Tensor], None]  # (found, attributed): adds the result to found, in place


def lattice(site: Site, lab: Lab) -> Iterator[Probes]:
    """Yield every unit once; positions on a lattice together, and steps of time one by one if they interact."""
    shape, length = site.layout, len(site.value)
    single = site.timeless or length == 1 or site.shared
    spread = length if site.shared else 1
    for time in range(1 if single else length):
        since = time if site.resumable and not single else 0
        for offset in product(*map(range, shape.spacing)):
            places = tuple(slice(o, None, p) for o, p in zip(offset, shape.spacing, strict=True))
            for channels in pieces(shape.channels, site, lab):
                unit = torch.zeros(len(channels), shape.channels, *shape.sizes).to(site.value)
                index: Any = (torch.arange(len(channels)), torch.tensor(channels), *places)
                unit[index] = 1
                directions = unit[None, :, None]
                if not single:
                    now = torch.zeros(length - since, *[1] * (directions.ndim - 1)).to(unit)
                    now[time - since] = 1
                    directions = directions * now
                when = slice(None) if single else slice(time, time + 1)
                target = (when, slice(None), slice(channels[0], channels[-1] + 1), *places)

                def credit(found: Tensor, part: Tensor, target: tuple[slice, ...] = target) -> None:
                    found[target] = part.transpose(1, 2) / spread

                yield Probes(directions, since, places, credit)


def scattered(site: Site, lab: Lab) -> Iterator[Probes]:
    """Yield one channel at a time, all positions with random signs; overlapping windows add noise to each other."""
    shape = site.layout
    whole = (slice(None),) * len(shape.sizes)
    for turn in range(lab.how.q):
        rng = lab.generator(2, site.number, turn)
        signs = signs_like(site.value, rng).reshape(*site.value.shape[:2], shape.channels, *shape.sizes)
        for channels in pieces(shape.channels, site, lab):
            directions = torch.zeros(len(signs), len(channels), *signs.shape[1:]).to(signs)
            for row, channel in enumerate(channels):
                directions[:, row, :, channel] = signs[:, :, channel]
            target = slice(channels[0], channels[-1] + 1)

            def credit(found: Tensor, part: Tensor, target: slice = target, signs: Tensor = signs) -> None:
                found[:, :, target] += part.transpose(1, 2) * signs[:, :, target]

            yield Probes(directions, 0, whole, credit)


def random(site: Site, lab: Lab) -> Iterator[Probes]:
    """Yield q directions of mean square 1 in all units, drawn for every sample; each depends only on its number."""
    draw = signs_like if lab.how.probes == "random" else normal_like
    shape = (*site.value.shape[:2], site.layout.channels, *site.layout.sizes)
    for numbers in pieces(lab.how.q, site, lab):
        drawn = [draw(site.value, lab.generator(2, site.number, number)).reshape(shape) for number in numbers]
        directions = torch.stack(drawn, 1)

        def credit(found: Tensor, part: Tensor, directions: Tensor = directions) -> None:
            found += (part.reshape(*part.shape, *[1] * (directions.ndim - 3)) * directions).sum(1)

        yield Probes(directions, 0, (), credit)


def fitting(site: Site, lab: Lab) -> int:
    """Return how many probes of a site fit into memory; raise ValueError if not one does."""
    number = int(lab.how.memory // site.bytes)
    if number < 1:
        raise ValueError(
            f"memory={lab.how.memory:g} bytes hold no probe of {site.name}: one takes about "
            f"{site.bytes:,} bytes; raise memory or make the batch smaller"
        )
    return number


def pieces(number: int, site: Site, lab: Lab) -> Iterator[range]:
    """Yield the numbers below `number` in ranges of equal length that fit into memory, at least one per process."""
    most = fitting(site, lab)
    if site.value.device.type == "cpu":
        most = min(most, max(1, WORKING_SET // site.bytes))
    size = math.ceil(number / max(math.ceil(number / most), processes()))
    for first in range(0, number, size):
        yield range(first, min(first + size, number))
