"""The sum of a contrastive loss over its anchors, piece by piece, and which features each of them is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Place(NamedTuple):
    """Origin of features: of each anchor `[n, 1]`, or of what it is compared with, `[m]` or `[n, m]`."""

    label: Tensor
    step: Tensor
    sample: Tensor  # views of one sample share a number


class Piece(NamedTuple):
    """The losses of some anchors, and their slopes in the similarities."""

    total: Tensor  # the sum of their losses
    heard: Tensor  # number of anchors that have a positive
    pull: Tensor  # [n, m] slope of the total in each similarity, for the anchor's gradient
    pushed: Tensor  # [n, m] the same, for the partner's gradient


class Features(NamedTuple):
    """Unit vectors over steps and columns; a column is a sample, or one view of it."""

    anchors: Tensor  # [T, b, D]
    partners: Tensor  # [T, B, D], of which the anchors are columns `first` to `first + b`
    first: int
    label: Tensor  # [B]
    sample: Tensor  # [B]


Look = Callable[[Tensor, Place, Place, Tensor], Piece]
"""From similarities `[n, m]`, both origins, and the places `[n, k]` at which an anchor meets itself."""


def over_all(found: Features, look: Look, chunk: int) -> tuple[Tensor, Tensor, int]:
    """Compare every anchor with all features.

    Args:
        found: the features.
        look: gives losses and slopes of some anchors.
        chunk: similarities held at once.

    Returns: the sum of the losses; the number of anchors with a positive; with how many features each is compared,
    itself included.
    """
    (steps, size, _), columns = found.anchors.shape, len(found.label)
    step = torch.arange(steps, device=found.anchors.device)
    place = Place(found.label.repeat(steps), step.repeat_interleave(columns), found.sample.repeat(steps))
    mine = torch.arange(found.first, found.first + size, device=step.device)
    own = (step[:, None] * columns + mine).flatten()
    rows = max(1, chunk // len(place.label))
    anchors, partners = found.anchors.flatten(0, 1), found.partners.flatten(0, 1)
    total, count = _OverAll.apply(anchors, partners, look, place, own, rows)  # type: ignore[no-untyped-call]
    return total, count, len(place.label)


def over_cross(found: Features, look: Look, chunk: int) -> tuple[Tensor, Tensor, int]:
    """Compare every anchor with the features of its own step and with those of its own column at other steps.

    Arguments and returns as for `over_all`; there are T B (T + B) similarities in place of (T B)^2.
    """
    steps, columns = len(found.anchors), len(found.label)
    width = max(1, chunk // (steps * (steps + columns)))
    total, count = _OverCross.apply(found.anchors, found.partners, look, found, width)  # type: ignore[no-untyped-call]
    return total, count, steps + columns - 1


PAIRS = {"all": over_all, "cross": over_cross}


class _OverAll(torch.autograd.Function):
    """The gradient of each piece is computed before its similarities are freed."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, partners: Tensor, look: Look, place: Place, own: Tensor, rows: int
    ) -> tuple[Tensor, Tensor]:
        of_anchors, of_partners = torch.empty_like(anchors), torch.zeros_like(partners)
        total, count = anchors.new_zeros(()), own.new_zeros(())
        for start in range(0, len(anchors), rows):
            some = slice(start, start + rows)
            origin = Place(*(entry[own[some], None] for entry in place))
            piece = look(anchors[some] @ partners.T, origin, place, own[some, None])
            total, count = total + piece.total, count + piece.heard
            if any(ctx.needs_input_grad):
                of_anchors[some] = piece.pull @ partners
                of_partners.addmm_(piece.pushed.T, anchors[some])
        ctx.save_for_backward(of_anchors, of_partners)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_anchors, of_partners = ctx.saved_tensors
        return error * of_anchors, error * of_partners, None, None, None, None


class _OverCross(torch.autograd.Function):
    """The same for pieces of some columns, whose similarities are `[T, c, B]` to their step and `[T, c, T]` over time.

    An anchor meets itself in both.
    """

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, partners: Tensor, look: Look, found: Features, width: int
    ) -> tuple[Tensor, Tensor]:
        of_anchors, of_partners = torch.empty_like(anchors), torch.zeros_like(partners)
        total, count = anchors.new_zeros(()), found.label.new_zeros(())
        columns = partners.shape[1]
        for start in range(0, anchors.shape[1], width):
            some = slice(start, start + width)
            here = anchors[:, some]
            mine = slice(found.first + start, found.first + start + here.shape[1])
            history = partners[:, mine].transpose(0, 1)  # [c, T, D]
            beside, over = here @ partners.mT, (here.transpose(0, 1) @ history.mT).transpose(0, 1)
            piece = look(torch.cat([beside, over], 2).flatten(0, 1), *_crossing(found, mine, len(here)))
            total, count = total + piece.total, count + piece.heard
            if any(ctx.needs_input_grad):
                pull, pushed = (slope.view(*here.shape[:2], -1) for slope in (piece.pull, piece.pushed))
                near, far = pull[..., :columns], pull[..., columns:].transpose(0, 1)
                of_anchors[:, some] = near @ partners + (far @ history).transpose(0, 1)
                near, far = pushed[..., :columns], pushed[..., columns:].transpose(0, 1)
                of_partners += near.mT @ here
                of_partners[:, mine] += (far.mT @ here.transpose(0, 1)).transpose(0, 1)
        ctx.save_for_backward(of_anchors, of_partners)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_anchors, of_partners = ctx.saved_tensors
        return error * of_anchors, error * of_partners, None, None, None


def _crossing(found: Features, mine: slice, steps: int) -> tuple[Place, Place, Tensor]:
    """Return the origins of the anchors of some columns and of what they meet, and where they meet themselves."""
    columns, count = len(found.label), mine.stop - mine.start
    step = torch.arange(steps, device=found.label.device)
    now = step[:, None, None].expand(steps, count, 1)
    label, sample = (entry[mine][None, :, None].expand(steps, count, 1) for entry in (found.label, found.sample))

    def met(beside: Tensor, over: Tensor) -> Tensor:
        """Join what is met at the anchor's step, `[.., .., B]` or 1, and in its column, `[.., .., T]` or 1."""
        parts = [beside.expand(steps, count, columns), over.expand(steps, count, steps)]
        return torch.cat(parts, 2).flatten(0, 1)

    partner = Place(met(found.label, label), met(now, step), met(found.sample, sample))
    column = torch.arange(mine.start, mine.stop, device=step.device)[None, :, None].expand(steps, count, 1)
    itself = torch.cat([column, columns + now], 2).flatten(0, 1)
    return Place(*(entry.flatten(0, 1) for entry in (label, now, sample))), partner, itself
