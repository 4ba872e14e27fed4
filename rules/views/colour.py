"""Views of images in other colours: brightness, contrast, saturation and hue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rules.fields import check_fields
from rules.views.base import require, still, uniform
from rules.views.images import SAMPLE, images

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey; ITU-R BT.601


@dataclass(frozen=True)
class ColourJitter:
    """Random changes of brightness, contrast, saturation and hue, in this order.

    With `blend(a, b, f) = clamp(f a + (1 - f) b, 0, 1)`, `grey` the luma of an image and `f` uniform on
    `max(0, 1 - s)..1 + s` for a strength `s`:

        brightness: blend(x, 0, f);  contrast: blend(x, mean of grey, f);  saturation: blend(x, grey, f)

    and the hue moves by a share of the colour wheel uniform on `-hue..hue`. Images have 3 channels, or 1 channel, which
    has neither saturation nor hue.

    Args:
        brightness, contrast, saturation: strengths s, at least 0.
        hue: share of the colour wheel, 0 to 0.5.

    Raises:
        ValueError: for a negative strength or a hue over 0.5; when called, for other numbers of channels, and for
            numbers outside 0..1.

    >>> x = torch.full((1, 2, 3, 4, 4), 0.5)
    >>> ColourJitter(0.0, 0.0, 0.0, 0.0)(x, torch.Generator()).equal(x)
    True

    Reference: the definitions are those of torchvision's ColorJitter (documentation), which shuffles the order.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        strengths = (self.brightness, self.contrast, self.saturation)
        require(all(0 <= s < float("inf") for s in strengths), self, "give strengths of at least 0; 0 changes nothing")
        require(0 <= self.hue <= 0.5, self, "hue is a share of the colour wheel between 0 and 0.5")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        images(x, self)
        if x.shape[2] not in (1, 3):
            raise ValueError(f"{self} needs images with 1 or 3 channels; these have {x.shape[2]}: leave the jitter out")
        shown = x[:1] if x.stride(0) == 0 else x
        low, high = (float(bound) for bound in torch.aminmax(shown))
        if not (low >= 0 and high <= 1):  # in this form NaN is refused too
            raise ValueError(f"{self} needs images between 0 and 1; these run from {low:g} to {high:g}: rescale them")
        draws = uniform(generator, x, 4, x.shape[1]).to(x.dtype)  # [4, B]
        strengths = (self.brightness, self.contrast, self.saturation)
        factors = [_factor(draw, s).view(SAMPLE) for draw, s in zip(draws, strengths, strict=False)]
        turn = (self.hue * (2 * draws[3] - 1)).view(SAMPLE)
        return still(lambda x: self._jittered(x, factors, turn), x)

    def _jittered(self, x: Tensor, factors: list[Tensor], turn: Tensor) -> Tensor:
        bright, sharp, vivid = factors
        x = blend(x, torch.zeros_like(x), bright)
        x = blend(x, grey(x).mean((-2, -1), keepdim=True), sharp)
        if x.shape[2] == 1:
            return x
        x = blend(x, grey(x), vivid)
        return turned(x, turn) if self.hue else x


def _factor(draw: Tensor, strength: float) -> Tensor:
    low, high = max(0.0, 1 - strength), 1 + strength
    return low + (high - low) * draw


def blend(a: Tensor, b: Tensor, factor: Tensor) -> Tensor:
    """Return `factor a + (1 - factor) b`, clipped to 0..1."""
    return (b + factor * (a - b)).clamp(0, 1)


def grey(x: Tensor) -> Tensor:
    """Return the luma `[T, B, 1, H, W]`; an image of one channel is returned unchanged."""
    if x.shape[2] == 1:
        return x
    red, green, blue = x.unbind(2)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(2)


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Return colours with their hue moved by a share of the wheel, by conversion to HSV and back.

    With value `v`, chroma `c` and hue `h` in sixths, channel n = 5, 3, 1 of red, green, blue is
    `v - c max(0, min(k, 4 - k, 1))` for `k = (n + h) mod 6`.
    """
    red, green, blue = x.unbind(2)
    value, chroma = x.amax(2), x.amax(2) - x.amin(2)
    by = torch.where(chroma == 0, 1, chroma)  # avoids 0 / 0; the colour of grey does not depend on its hue
    hue = torch.where(
        value == red,
        (green - blue) / by,
        torch.where(value == green, 2 + (blue - red) / by, 4 + (red - green) / by),
    )
    start = torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype, device=x.device).view(3, 1, 1)
    k = (start + hue.unsqueeze(2) + 6 * turn) % 6  # [T, B, 3, H, W]
    return value.unsqueeze(2) - chroma.unsqueeze(2) * torch.minimum(k, 4 - k).clamp(0, 1)
