"""Carry an error over a weight by the columns in which its input has changed, instead of by whole products.

Where the units in front of a weight W do not meet, probes of all of them are made in one pass: each unit answers its
own. With `d_j` the change of what unit j puts out, from the probed step on, only column j of the product changes,

    z' = z + d_j W[:, j],

so that behind the weight a probe of j measures `d_j <W[:, j], e>`, and `W^T e` is formed once for all probes. If the
part does not end there, what follows the weight is run on every z'. The numbers are those of whole products, up to
rounding, and so are the counts of the definition; what was computed in their place is counted beside them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rules.credit.zero_order.layered.directions import fitting, pieces
from rules.credit.zero_order.layered.lab import Front, Lab, Site
from rules.processes import processes, rank
from rules.weight_gradients import transposed_product


def by_columns(site: Site, eps: Tensor, lab: Lab) -> Front | None:
    """Return the front of a site that can be probed by columns with steps `eps [B]`; None if it cannot.

    It cannot where signals are read with noise or drawn, where probes are random, and where units meet.
    """
    plain = lab.how.probes == "basis" and lab.how.repeats == 1 and lab.read is None and not lab.drew
    front = site.front if plain else None
    return None if front is None or (front.assumed and meet(site, front, eps, lab)) else front


def meet(site: Site, front: Front, eps: Tensor, lab: Lab) -> bool:
    """Return whether a unit answers to the probe of another.

    If every second unit is probed, those must answer as if all were, and the others as if none were, to the last bit.
    """
    odd = (torch.arange(site.value[0, 0].numel(), device=eps.device) % 2).reshape(site.value.shape[2:]).to(eps)
    step = eps.reshape(-1, *[1] * (site.value.ndim - 2))
    answers = []
    for some in (torch.zeros_like(odd), odd, torch.ones_like(odd)):
        with lab.passing():
            answers.append(front.enter(site.value + step * some, 0).flatten(2))
    none, half, every = answers
    return not torch.equal(half, torch.where(odd.flatten() > 0, every, none))


class Columns:
    """Probes of all units of a site, at every step if steps interact.

    Args:
        site: the part that is probed.
        front: its front.
        error: at its end, `[T, B, *G]`.
        eps: steps of the probes, of each sample `[B]`.
        watched: the samples whose changes are summed.
        lab: settings and counts.
    """

    def __init__(self, site: Site, front: Front, error: Tensor, eps: Tensor, watched: int, lab: Lab) -> None:
        self.site, self.front, self.error, self.lab = site, front, error, lab
        self.eps = eps.reshape(-1, *[1] * (site.value.ndim - 2))
        self.watched = watched
        self.found = site.value.new_zeros(*site.value.shape[:2], site.value[0, 0].numel())
        self.energy = self.found.new_zeros(eps[:watched].shape)  # of each watched sample, squared changes at the end
        self.probes = 0

    def measure(self) -> None:
        """Probe; raise ValueError where memory does not hold one probe."""
        fitting(self.site, self.lab)
        site, length = self.site, len(self.site.value)
        single = site.timeless or length == 1 or site.shared
        if self.front.rest is None:
            self.worth = transposed_product(self.front.module, self.front.value, self.error)
            self.sizes = self.column_sizes()
            self.lab.use(self.front, self.rows(self.error) * self.front.pairs)
        for time in range(1 if single else length):
            since = time if site.resumable and not single else 0
            target = self.found if single else self.found[time : time + 1]
            ends = [self.entering(sign, None if single else time - since, since) for sign in self.signs]
            (self.directly if self.front.rest is None else self.through)(ends, since, time, target)
        if site.shared:
            self.found /= length

    @property
    def signs(self) -> tuple[int, ...]:
        """The directions of a difference."""
        return (1, -1) if self.lab.how.diff == "central" else (1,)

    def rows(self, signal: Tensor) -> int:
        """Return the number of steps times samples of a signal `[T, B, ...]`."""
        return len(signal) * signal.shape[1]

    def column_sizes(self) -> Tensor:
        """Return the squared length of the column of every unit, in the shape of one input of the product."""
        first = self.front.value[:1, :1]
        ones = torch.ones_like(self.error[:1, :1])
        return transposed_product(self.front.module, first, ones, squared=True)

    def entering(self, sign: int, row: int | None, since: int) -> Tensor:
        """Return what enters the product from step `since` on if all units are probed, at one step or at all."""
        value = self.site.value[since:]
        if row is None:
            probed = value + sign * self.eps
        else:
            probed = value.clone()
            probed[row] += sign * self.eps
        with self.lab.passing():
            return self.front.enter(probed, since)

    def directly(self, ends: list[Tensor], since: int, time: int, target: Tensor) -> None:
        """Measure right behind the product, by `W^T e`."""
        if time % processes() != rank():
            return
        change = ends[0] - (ends[1] if len(ends) > 1 else self.front.value[since:])
        self.energy += (change[:, : self.watched].square() * self.sizes).flatten(2).sum((0, 2))
        part = (change * self.worth[since:]).flatten(2)
        target += part if self.site.timeless else part.sum(0, keepdim=True)
        self.count(self.site.layout.probes, len(change), change.numel())

    def through(self, ends: list[Tensor], since: int, time: int, target: Tensor) -> None:
        """Measure behind what follows the product, which is run on every changed column."""
        weight, value, z = self.front.module.weight, self.front.value[since:], self.front.z[since:, None]
        assert isinstance(weight, Tensor)
        assert self.front.rest is not None
        for number, units in enumerate(pieces(weight.shape[1], self.site, self.lab)):
            if (time + number) % processes() != rank():
                continue
            some, shown = slice(units[0], units[-1] + 1), []
            for end in ends:
                change = (end - value)[:, :, some].transpose(1, 2)[..., None]  # [T - t, K, B, 1]
                changed = torch.addcmul(z, change, weight[:, some].T[:, None])
                with self.lab.passing():
                    last = self.front.rest(changed.flatten(1, 2), since)
                shown.append(last.unflatten(1, (len(units), -1)))
            difference = shown[0] - (shown[1] if len(shown) > 1 else self.site.end[since:, None])
            self.energy += difference[:, :, : self.watched].square().flatten(3).sum((0, 1, 3))
            part = (difference * self.error[since:, None]).flatten(3).sum(3)  # [T - t, K, B]
            part = part if self.site.timeless else part.sum(0, keepdim=True)
            target[:, :, some] += part.transpose(1, 2)
            self.count(len(units), len(changed), len(ends) * changed.numel())

    def count(self, probes: int, steps: int, used: int) -> None:
        """Count probes over so many steps: the products that they ask for, and the operations in their place."""
        rows = probes * steps * self.site.value.shape[1]
        self.probes += probes
        self.lab.compared += rows * math.prod(self.site.end.shape[2:])
        self.lab.spare(self.front, len(self.signs) * rows)
        self.lab.use(self.front, used)
