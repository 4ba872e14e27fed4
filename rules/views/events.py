"""Views of event frames: rotated, and for every sample one view of several."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rules.fields import check_fields
from rules.views.base import View, integers, require, still, uniform
from rules.views.images import images

NEAR = 0.5 - 1e-9  # rounds to the nearest pixel; of two that are as near it takes the first, whatever the last bits


def rotated(x: Tensor, angle: Tensor) -> Tensor:
    """Return frames `[T, B, C, H, W]` turned about their centre, each sample by its angle [rad], anticlockwise.

    Every count moves to the pixel nearest to its turned place. Those that meet there add up, and those that leave the
    frame are lost, so that the sum of a frame never grows.

    >>> rotated(torch.eye(3).view(1, 1, 1, 3, 3), torch.tensor([math.pi / 2])).view(3, 3).tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    steps, samples, channels, height, width = x.shape
    rows = torch.arange(height, dtype=torch.float64, device=x.device)[:, None] - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64, device=x.device) - (width - 1) / 2
    cosine, sine = (each.double().to(x.device).view(-1, 1, 1) for each in (angle.cos(), angle.sin()))
    down = (cosine * rows - sine * columns + (height - 1) / 2 + NEAR).floor().long()  # [B, H, W]
    right = (sine * rows + cosine * columns + (width - 1) / 2 + NEAR).floor().long()
    inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
    place = torch.where(inside, down * width + right, height * width)  # the last place is outside
    place = place.flatten(1)[None, :, None].expand(steps, -1, channels, -1)
    out = x.new_zeros(steps, samples, channels, height * width + 1).scatter_add_(3, place, x.flatten(3))
    return out[..., :-1].reshape(x.shape)


@dataclass(frozen=True)
class Rotation:
    """A rotation of event frames `[T, B, C, H, W]` about their centre, each sample by an angle of its own.

    Events move as `rotated` says: none is made, and those that leave the frame are lost.

    Args:
        degrees: angles are uniform on `-degrees..degrees`, 15 by default.

    Raises:
        ValueError: for degrees outside 0..180; when called, for anything but floating-point frames.

    >>> frames = torch.zeros(1, 1, 1, 9, 9)
    >>> frames[..., 4, 4] = 3.0
    >>> torch.equal(Rotation()(frames, torch.Generator().manual_seed(0)), frames)
    True

    Reference: one of the geometric changes of Li, Kim, Park, Geller & Panda 2022 (arXiv 2203.06145), to 15 degrees
    as recalled, not read.
    """

    degrees: float = 15.0

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 <= self.degrees <= 180, self, "give degrees between 0 and 180")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        images(x, self)
        angle = math.radians(self.degrees) * (2 * uniform(generator, x, x.shape[1]) - 1)
        return still(lambda x: rotated(x, angle), x)


@dataclass(frozen=True)
class OneOf:
    """For every sample one of several views, each as likely.

    Args:
        views: at least one, such as `(Roll(5), Rotation(15.0), Cutout(8))`; `Identity()` leaves samples as they are.

    Raises:
        ValueError: for anything but a tuple of views; when called, as the views do.

    >>> from rules.views import EventDrop, Identity
    >>> seen = OneOf((Identity(), EventDrop(1.0)))(torch.ones(3, 50, 2), torch.Generator().manual_seed(0))
    >>> sorted(set(seen.sum((0, 2)).tolist()))
    [0.0, 6.0]
    """

    views: tuple[View, ...]

    def __post_init__(self) -> None:
        fits = isinstance(self.views, tuple) and bool(self.views) and all(callable(view) for view in self.views)
        require(fits, self, "give a tuple of views, such as (Roll(5), Rotation(15.0), Cutout(8))")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        chosen = integers(generator, x, 0, len(self.views) - 1, x.shape[1])
        out = x.clone(memory_format=torch.contiguous_format)
        for number, view in enumerate(self.views):
            mine = (chosen == number).nonzero()[:, 0]
            if len(mine):
                out[:, mine] = view(x[:, mine], generator)
        return out
