"""Layers whose weights change in every step, by the spikes of that step, while they run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.credit.spike_timing.passing import Passed, fires, passed
from rules.credit.spike_timing.window import Window
from rules.forward import fold
from rules.models.admission import UnfitModel
from rules.optional import method_of, time_step
from rules.sites.site import Site, biased
from rules.steps import counted


class Bounds(NamedTuple):
    """What weights stay between; None for no bound."""

    low: float | None = None
    high: float | None = None


class Changed(NamedTuple):
    """A layer that has run with weights that changed."""

    passed: Passed  # its `pre` without what the cells hear of each other
    change: Tensor  # of its weights in all steps, a mean over samples, [C, K]
    traces: tuple[Tensor, ...]  # [B, K], [B, C], and with triplets the slow ones


class Frame(NamedTuple):
    """What a layer begins with."""

    x: Tensor  # what enters its own weights, [T, B, K]
    weight: Tensor  # of all entries, those of its own cells last, [C, K]
    bias: Tensor | None  # [C]
    learns: Tensor  # which entries change, [K] bool
    carry: Any
    traces: tuple[Tensor, ...]
    counts: Tensor | None  # [T, B], steps that count; None for all


def changing(
    places: Sequence[Site],
    x: Tensor,
    carry: Any,
    lengths: Tensor | None,
    window: Window,
    bounds: Bounds,
    kept: Sequence[tuple[Tensor, ...]],
) -> list[Passed | Changed]:
    """Run layer after layer on an input `[T, B, *in]`; weights of layers that fire change as they run.

    Args:
        places: the layers.
        x: the input.
        carry: of each layer; None for rest.
        lengths: `[B]`, steps that count; None for all.
        window: what pairs and triplets change.
        bounds: of the weights that change.
        kept: traces of each layer; empty for none.

    Raises:
        UnfitModel: for a convolution among the layers that learn.
    """
    found: list[Passed | Changed] = []
    for number, site in enumerate(places):
        start = None if carry is None else carry[number]
        if not (fires(site) and any(p.ndim > 1 for p in site.parameters().values())):
            (layer,) = passed([site], x, None if start is None else [start], lengths)
            found.append(layer)
            x = layer.output
            continue
        frame = framed(site, x, start, kept[number] if kept else (), lengths)
        own = method_of(site.layer.cells, "plastic")
        result = None if own is None or frame.counts is not None else own(frame, window, bounds)
        output, end, moved, traces = result or stepped(site, frame, window, bounds)
        post = output if frame.counts is None else output * frame.counts[..., None]
        found.append(Changed(Passed(site, frame.x[:, :, None], post[..., None], output, end), moved, traces))
        x = output
    return found


def framed(site: Site, x: Tensor, start: Any, kept: tuple[Tensor, ...], lengths: Tensor | None) -> Frame:
    """Return what a dense layer begins with."""
    weigh: Any = site.weigh
    if not isinstance(weigh, nn.Linear) or site.behind:
        raise UnfitModel(
            f"the weights of {site.name} are shared between places, and weights that change at once belong to one: use "
            'layers of nn.Linear, or acts="after", after the sequence'
        )
    for module in site.before:
        x = fold(module, x)
    weights, recurrent = [weigh.weight.detach()], site.recurrent
    learns = [torch.full((weigh.in_features,), weigh.weight.requires_grad)]
    bias = weigh.bias.detach() if biased(weigh) else None
    if recurrent is not None:
        weights.append(recurrent.weight.detach())
        learns.append(torch.full((recurrent.in_features,), recurrent.weight.requires_grad))
        if biased(recurrent):
            bias = recurrent.bias.detach() if bias is None else bias + recurrent.bias.detach()
    carry = site.rest(x.new_zeros(x.shape[1], weigh.out_features)) if start is None else start
    counts = None if lengths is None else counted(x, lengths).to(x)
    return Frame(x, torch.cat(weights, 1), bias, torch.cat(learns).to(x.device), carry, kept, counts)


def stepped(site: Site, frame: Frame, window: Window, bounds: Bounds) -> tuple[Tensor, Any, Tensor, tuple[Tensor, ...]]:
    """Run a layer step by step: output `[T, B, C]`, carry, mean change `[C, K]`, and traces."""
    cells: Any = site.layer.cells
    state, heard = frame.carry
    samples = frame.x.shape[1]
    weight = frame.weight.expand(samples, *frame.weight.shape).clone()
    traces = frame.traces or blank(frame, window)
    fades = fading(window, time_step(cells))
    outputs = []
    for t, x in enumerate(frame.x):
        pre = x if heard is None else torch.cat([x, heard], 1)
        current = torch.einsum("bck,bk->bc", weight, pre)
        output, state = cells.advance(current if frame.bias is None else current + frame.bias, state)
        heard = None if heard is None else output
        outputs.append(output)
        post = output
        if frame.counts is not None:
            pre, post = pre * frame.counts[t, :, None], post * frame.counts[t, :, None]
        weight, traces = once(window, bounds, weight, pre, post, traces, fades, frame.learns)
    return torch.stack(outputs), (state, heard), (weight - frame.weight).mean(0), traces


def with_bias(site: Site, change: Tensor) -> Tensor:
    """Return a change `[C, K]` with a column of zeros for a bias, in the order of `Site.columns`."""
    if not site.ones:
        return change
    weigh: Any = site.weigh
    width = weigh.weight.shape[1]
    return torch.cat([change[:, :width], torch.zeros_like(change[:, :1]), change[:, width:]], 1)


def fading(window: Window, dt: float) -> list[float]:
    """Return the share of each trace that a step leaves."""
    return [math.exp(-dt / tau) for tau in (window.tau_plus, window.tau_minus, window.tau_x, window.tau_y)]


def blank(frame: Frame, window: Window) -> tuple[Tensor, ...]:
    """Return the traces before the first step."""
    entry = frame.x.new_zeros(frame.x.shape[1], frame.weight.shape[1])
    cell = frame.x.new_zeros(frame.x.shape[1], frame.weight.shape[0])
    return (entry, cell, entry, cell) if window.triplets else (entry, cell)


def once(
    window: Window,
    bounds: Bounds,
    weight: Tensor,
    pre: Tensor,
    post: Tensor,
    traces: tuple[Tensor, ...],
    fades: Sequence[float],
    learns: Tensor,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the weights `[B, C, K]` and traces after the spikes `[B, K]` and `[B, C]` of a step.

    First what inputs change, then what cells change, each within the bounds.
    """
    faded = [fade * trace for fade, trace in zip(fades, traces, strict=False)]
    after = [
        torch.where(signal != 0, signal, trace) if window.pairing == "nearest" else trace + signal
        for trace, signal in zip(faded, (pre, post, pre, post), strict=False)
    ]
    x = faded[0] if window.read == "before" else after[0]
    y = after[1] if window.read == "after" else faded[1]
    down, up = window.a_minus * pre, window.a_plus * post
    if window.triplets:
        down, up = down + window.triplet_minus * pre * faded[2], up + window.triplet_plus * post * faded[3]
    sign = -1.0 if window.shape == "causal" else 1.0
    moved = bounded(weight + sign * y[:, :, None] * down[:, None], bounds, (pre != 0)[:, None])
    moved = bounded(moved + up[:, :, None] * x[:, None], bounds, (post != 0)[:, :, None])
    return torch.where(learns, moved, weight), tuple(after)


def bounded(weight: Tensor, bounds: Bounds, touched: Tensor) -> Tensor:
    """Return weights, those that were touched within bounds."""
    if bounds == Bounds():
        return weight
    return torch.where(touched, weight.clamp(bounds.low, bounds.high), weight)
