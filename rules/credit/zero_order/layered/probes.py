"""Carry an error backwards through a part of a model by running it forwards on many perturbed copies.

With `a` the signal at the start of a part, `f(a)` the one at its end, `e` the error there, and directions v,

    D_v = (f(a + eps v) - f(a - eps v)) / (2 eps),    error at the start = sum_v <D_v, e> v    (v a basis),

one scalar for each probe and sample; the Jacobian is never stored.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rules.contract import Cost
from rules.credit.zero_order.layered.columns import Columns, by_columns
from rules.credit.zero_order.layered.directions import Probes, lattice, random, scattered
from rules.credit.zero_order.layered.lab import Lab, Probing, Site
from rules.diagnostics.nonfinite import NonFinite
from rules.processes import processes, rank, summed

WATCHED = 8  # samples from which the gain is computed, so that it costs little
BLOCKS = {"basis": lattice, "scattered": scattered, "random": random, "normal": random}


def transported(site: Site, error: Tensor, lab: Lab) -> Tensor:
    """Return the error at the site, `[T, B, *F]`, for the error `[T, B, *G]` at the place of measurement.

    Raises ValueError for a step too small for the precision and for memory below one probe, and NonFinite for a NaN or
    an infinity in a probe.
    """
    how = lab.how
    eps = steps_of(site, how, lab.spikes)
    found = torch.zeros(*site.value.shape[:2], site.layout.channels, *site.layout.sizes).to(site.value)
    energy, count = torch.zeros(eps[:WATCHED].shape).to(found), 0
    kind = how.probes if site.weighed else "basis"
    front = by_columns(site, eps, lab)
    if front is not None:
        columns = Columns(site, front, error, eps, WATCHED, lab)
        columns.measure()
        energy, found, count = columns.energy, columns.found.view(found.shape), columns.probes
    for number, block in enumerate(BLOCKS[kind](site, lab) if front is None else ()):
        if number % processes() == rank():
            difference = measured(site, block, eps, lab)  # [T - since, K, B, *G], of twice or once eps
            energy += difference[:, :, :WATCHED].square().flatten(3).sum(3).sum((0, 1))
            block.credit(found, attributed(site, block, difference, error))
            lab.compared += difference.numel() + (block.directions.numel() if kind != "basis" else 0)
            count += block.directions.shape[1]
    if kind != "basis":
        lab.drawn += Cost(**{"gaussian_draws" if kind == "normal" else "random_bits": how.q * site.value.numel()})
    energy, found = summed(energy), summed(found)
    span = eps * (2 if how.diff == "central" else 1)
    found /= span.reshape(1, -1, *[1] * (found.ndim - 2))
    if kind != "basis":
        found /= how.q
        energy = energy / how.q
    if not bool(found.isfinite().all()):
        raise NonFinite(
            f"a probe of {site.name} gave a NaN or an infinity; lower step ({how.step}), the "
            "learning rate or the input scale, or look for a log or a division behind it"
        )
    lab.probes += count * how.repeats
    if site.layers and not site.shared:
        lab.gains[site.name] = gain(site, float((energy / span[:WATCHED].square()).mean())), site.layers
    return found.reshape(site.value.shape)


def measured(site: Site, probes: Probes, eps: Tensor, lab: Lab) -> Tensor:
    """Return `f(a + eps v) - f(a - eps v)`, or `- f(a)`, `[T - since, K, B, *G]`, as the mean over repeats."""
    directions = probes.directions.reshape(*probes.directions.shape[:3], *site.value.shape[2:])
    value = site.value[probes.since :, None]  # [T - since, 1, B, *F]
    step = eps.reshape(1, 1, -1, *[1] * (value.ndim - 3))
    copies = directions.shape[1]

    def response(sign: float) -> Tensor:
        perturbed = torch.addcmul(value, directions, step, value=sign).flatten(1, 2)
        with lab.passing():
            end = site.respond(perturbed, probes.since)
        return read(end.reshape(len(end), copies, -1, *end.shape[2:]))

    def read(signal: Tensor) -> Tensor:
        return signal if lab.read is None else lab.read(signal, lab.readings)

    def once() -> Tensor:
        return response(1) - (response(-1) if lab.how.diff == "central" else read(site.end[probes.since :, None]))

    total = once()
    for _ in range(lab.how.repeats - 1):
        total = total + once()
    return total if lab.how.repeats == 1 else total / lab.how.repeats


def attributed(site: Site, probes: Probes, difference: Tensor, error: Tensor) -> Tensor:
    """Return `<difference, error>` for each position, `[T | 1, K, B, *places]`, over the window that it reaches.

    Without a lattice, it is one number for each probe and sample.
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


def steps_of(site: Site, how: Probing, spikes: bool) -> Tensor:
    """Return `step rms(a)` of each sample `[B]`, so that its credit does not depend on the rest of the batch.

    A silent sample gets an rms of 1.
    """
    precision = torch.finfo(site.value.dtype).eps
    each = site.value.transpose(0, 1).flatten(1)  # [B, everything]
    rms, largest = each.square().mean(1).sqrt(), each.abs().amax(1)
    silent = rms < precision**0.5
    eps = how.step_for(site.value.dtype, spikes) * torch.where(silent, torch.ones_like(rms), rms)
    bound = torch.where(silent, precision, precision * largest / rms.clamp(min=precision)).max()
    if bool((eps < precision * largest).any()):
        raise ValueError(
            f"step={how.step}: in {site.name} such a step vanishes in {site.value.dtype} beside signals of up to "
            f"{float(largest.max()):.3g}; give more than {float(bound):.1e}, or None for one that suits the precision"
        )
    return eps


def gain(site: Site, energy: float) -> float:
    """Return `sqrt(|J|^2 / min(units in, units out))`, in the Frobenius norm: 1 for a part that preserves lengths."""
    inside, outside = site.value[0, 0].numel(), site.end[0, 0].numel()
    return math.sqrt(energy / (len(site.end) * min(inside, outside)))
