"""Carrying an error backwards over a part of a model by running that part forwards, many perturbed copies at a time.

With `a` the signal at the start of a part, `f(a)` the one at its end, `e` the error there, and directions v,

    D_v = (f(a + eps v) - f(a - eps v)) / (2 eps),    error at the start = sum_v <D_v, e> v    (v a basis),

one scalar for each probe and sample; the Jacobian is never stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rules.credit.zero_order.colouring import Layout
from rules.nonfinite import NonFinite
from rules.objectives.gathering import processes, rank, summed
from rules.surrogates import differentiating

if TYPE_CHECKING:
    from rules.credit.zero_order.layered import Layered

WORKING_SET = 2**23  # bytes of probes at a time on a processor: beyond its caches larger batches only cost memory
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: neighbours become far apart


class Site(NamedTuple):
    """A place where a model is perturbed, and the later one where the effect is measured."""

    name: str
    number: int  # different for every site of a step
    value: Tensor  # [T, B, *F]
    end: Tensor  # [T, B, *G], the unperturbed signal where it is measured
    respond: Callable[[Tensor, int], Tensor]  # (perturbed [T - t, K B, *F], t) -> [T - t, K B, *G]
    layout: Layout
    timeless: bool
    resumable: bool
    bytes: int  # of one perturbed copy, at its most
    layers: int  # between both; 0 where the gain is of no interest


class Lab:
    """What one step's measurements share: settings, dice, and counts of what was done."""

    def __init__(self, how: Layered, seed: int, read: Callable[[Tensor, torch.Generator], Tensor] | None) -> None:
        self.how = how
        self.seed = seed
        self.read = read
        self.readings = self.generator(0, rank())  # of whatever noise there is in reading
        self.probes = 0
        self.gains: dict[str, tuple[float, int]] = {}  # of a segment, and its layers

    def generator(self, *numbers: int) -> torch.Generator:
        """Dice that depend on these numbers and not on what was drawn before."""
        seed = self.seed
        for number in numbers:
            seed = ((seed ^ number) * GOLDEN + 1) % 2**63
            seed ^= seed >> 29
        return torch.Generator().manual_seed(seed)

    def passing(self) -> AbstractContextManager[Any]:
        """A pass in which stochastic neurons draw the same numbers as in every other."""
        return differentiating(None, False, self.how.smooth, self.generator(1))


def transported(site: Site, error: Tensor, lab: Lab) -> Tensor:
    """The error at the site `[T, B, *F]` for the error `[T, B, *G]` where it is measured, a constant.

    Raises ValueError for a step that is too small for the precision and for a bound on memory below one probe, and
    NonFinite for a NaN or an infinity in a probe.
    """
    how = lab.how
    eps = steps_of(site, how)
    blocks = lattice if how.probes == "basis" else scattered if how.probes == "scattered" else random
    found = torch.zeros(*site.value.shape[:2], site.layout.channels, *site.layout.sizes).to(site.value)
    energy, count = torch.zeros(site.value.shape[1]).to(found), 0
    for number, block in enumerate(blocks(site, lab)):
        if number % processes() == rank():
            difference = measured(site, block, eps, lab)  # [T - since, K, B, *G], of twice or once eps
            energy += difference.square().flatten(3).sum(3).sum((0, 1))
            block.credit(found, attributed(site, block, difference, error))
            count += block.directions.shape[1]
    energy, found = summed(energy), summed(found)
    span = eps * (2 if how.diff == "central" else 1)
    found /= span.reshape(1, -1, *[1] * (found.ndim - 2))
    if how.probes != "basis":
        found /= how.q
        energy = energy / how.q
    if not bool(found.isfinite().all()):
        raise NonFinite(f"a probe at stage {site.name} gave a NaN or an infinity; lower eps_rel ({how.eps_rel}), the "
                        "learning rate or the input scale, or look for a log or a division in the stages behind it")  # fmt: skip
    lab.probes += count * how.repeats
    if site.layers and (how.probes != "basis" or how.steps == "each" or site.timeless):
        lab.gains[site.name] = gain(site, float((energy / span.square()).mean())), site.layers
    return found.reshape(site.value.shape)


class Probes(NamedTuple):
    """Directions to be probed at once, and where what they measure belongs."""

    directions: Tensor  # [T - since | 1, K, B | 1, channels, *sizes]
    since: int
    lattice: tuple[slice, ...]  # along each axis of positions, the ones that are to be told apart
    credit: Callable[[Tensor, Tensor], None]  # (found, what was attributed)


def lattice(site: Site, lab: Lab) -> Iterator[Probes]:
    """Every unit once, one step of time at a time where times interact; positions on a lattice together."""
    shape, length = site.layout, len(site.value)
    single = site.timeless or length == 1 or lab.how.steps == "shared"
    spread = length if lab.how.steps == "shared" and not site.timeless else 1
    for time in range(1 if single else length):
        since = time if site.resumable and not single else 0
        for offset in product(*map(range, shape.spacing)):
            places = tuple(slice(o, None, p) for o, p in zip(offset, shape.spacing, strict=True))
            for channels in pieces(shape.channels, site, lab):
                unit = torch.zeros(len(channels), shape.channels, *shape.sizes).to(site.value)
                for row, channel in enumerate(channels):
                    unit[(row, channel, *places)] = 1
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
    """One channel at a time, all its positions with random signs; positions whose windows overlap disturb each other."""
    shape = site.layout
    whole = (slice(None),) * len(shape.sizes)
    for turn in range(lab.how.q):
        dice = lab.generator(2, site.number, turn)
        signs = signs_like(site.value, dice).reshape(*site.value.shape[:2], shape.channels, *shape.sizes)
        for channels in pieces(shape.channels, site, lab):
            directions = torch.zeros(len(signs), len(channels), *signs.shape[1:]).to(signs)
            for row, channel in enumerate(channels):
                directions[:, row, :, channel] = signs[:, :, channel]
            target = slice(channels[0], channels[-1] + 1)

            def credit(found: Tensor, part: Tensor, target: slice = target, signs: Tensor = signs) -> None:
                found[:, :, target] += part.transpose(1, 2) * signs[:, :, target]

            yield Probes(directions, 0, whole, credit)


def random(site: Site, lab: Lab) -> Iterator[Probes]:
    """q directions of mean square 1 in all units, anew for every sample; each depends on its number alone."""
    draw = signs_like if lab.how.probes == "random" else normal_like
    shape = (*site.value.shape[:2], site.layout.channels, *site.layout.sizes)
    for numbers in pieces(lab.how.q, site, lab):
        drawn = [draw(site.value, lab.generator(2, site.number, number)).reshape(shape) for number in numbers]
        directions = torch.stack(drawn, 1)

        def credit(found: Tensor, part: Tensor, directions: Tensor = directions) -> None:
            found += (part.reshape(*part.shape, *[1] * (directions.ndim - 3)) * directions).sum(1)

        yield Probes(directions, 0, (), credit)


def signs_like(value: Tensor, dice: torch.Generator) -> Tensor:
    """Plus or minus one, with equal chances."""
    return (torch.randint(0, 2, value.shape, generator=dice) * 2 - 1).to(value)


def normal_like(value: Tensor, dice: torch.Generator) -> Tensor:
    """Standard normal."""
    return torch.randn(value.shape, generator=dice, dtype=torch.float64).to(value)


def measured(site: Site, probes: Probes, eps: Tensor, lab: Lab) -> Tensor:
    """`f(a + eps v) - f(a - eps v)`, or `f(a + eps v) - f(a)`, `[T - since, K, B, *G]`, a mean over the repeats."""
    directions = probes.directions.reshape(*probes.directions.shape[:3], *site.value.shape[2:])
    value = site.value[probes.since :, None]  # [T - since, 1, B, *F]
    step = eps.reshape(1, 1, -1, *[1] * (value.ndim - 3))
    copies = directions.shape[1]

    def response(sign: float) -> Tensor:
        perturbed = torch.addcmul(value, directions, step, value=sign).flatten(1, 2)
        with lab.passing():
            end = site.respond(perturbed, probes.since)
        return read(end.unflatten(1, (copies, -1)))

    def read(signal: Tensor) -> Tensor:
        return signal if lab.read is None else lab.read(signal, lab.readings)

    def once() -> Tensor:
        return response(1) - (response(-1) if lab.how.diff == "central" else read(site.end[probes.since :, None]))

    total = once()
    for _ in range(lab.how.repeats - 1):
        total = total + once()
    return total if lab.how.repeats == 1 else total / lab.how.repeats


def attributed(site: Site, probes: Probes, difference: Tensor, error: Tensor) -> Tensor:
    """`<difference, error>` by position `[T | 1, K, B, *places]`: each position owns the window that it reaches.

    Without a lattice, one number for each probe and sample.
    """
    error = error[probes.since :, None]
    if not probes.lattice:
        part = (difference * error).flatten(3).sum(3)
        return part if site.timeless else part.sum(0, keepdim=True)
    shape = site.layout
    part = (difference * error).reshape(*difference.shape[:3], -1, *shape.outs).sum(3)
    if not site.timeless:
        part = part.sum(0, keepdim=True)
    for axis, (window, places) in enumerate(zip(shape.windows, probes.lattice, strict=True)):
        if window is None:
            part = part[(slice(None),) * (3 + axis) + (places,)]
        else:
            along = torch.tensordot(part, window[:, places].to(part), dims=([3 + axis], [0]))
            part = along.movedim(-1, 3 + axis)
    return part


def pieces(number: int, site: Site, lab: Lab) -> Iterator[range]:
    """Numbers 0 to `number` in runs that fit into memory, at least one for every process."""
    fitting = int(lab.how.memory // site.bytes)
    if fitting < 1:
        raise ValueError(f"memory={lab.how.memory:g} bytes hold no probe at stage {site.name}: one takes about "
                         f"{site.bytes:,} bytes; raise memory or make the batch smaller")  # fmt: skip
    if site.value.device.type == "cpu":
        fitting = min(fitting, max(1, WORKING_SET // site.bytes))
    size = min(fitting, math.ceil(number / processes()))
    for first in range(0, number, size):
        yield range(first, min(first + size, number))


def steps_of(site: Site, how: Layered) -> Tensor:
    """`eps_rel rms(a)` of each sample `[B]`, so that a sample's credit does not depend on who is beside it.

    A silent sample is taken to have an rms of 1.
    """
    precision = torch.finfo(site.value.dtype).eps
    each = site.value.transpose(0, 1).flatten(1)  # [B, everything]
    rms, largest = each.square().mean(1).sqrt(), each.abs().amax(1)
    silent = rms < precision**0.5
    eps = how.step_for(site.value.dtype) * torch.where(silent, torch.ones_like(rms), rms)
    bound = torch.where(silent, precision, precision * largest / rms.clamp(min=precision)).max()
    if bool((eps < precision * largest).any()):
        raise ValueError(
            f"eps_rel={how.eps_rel}: at stage {site.name} such a step vanishes in {site.value.dtype} beside signals of "
            f"up to {float(largest.max()):.3g}; give more than {float(bound):.1e}, or None for the best of the precision"
        )
    return eps


def gain(site: Site, energy: float) -> float:
    """`sqrt(|J|^2 / min(units in, units out))` with the Frobenius norm: 1 for a part that keeps lengths."""
    inside, outside = site.value[0, 0].numel(), site.end[0, 0].numel()
    return math.sqrt(energy / (len(site.end) * min(inside, outside)))
