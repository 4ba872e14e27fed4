"""Views of images: cropped, mirrored, with a hole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.fields import check_fields
from rules.views.base import chance, integers, require, still, uniform, whole

SAMPLE = (-1, 1, 1, 1)  # shape of one number per sample, to broadcast with [T, B, C, H, W]


def images(x: Tensor, view: object) -> tuple[int, int]:
    """Return height and width; raise ValueError for anything but floating-point images `[T, B, C, H, W]`."""
    if x.ndim != 5:
        raise ValueError(
            f"{view} needs images [T, B, C, H, W]; this input is {tuple(x.shape)}: reshape it, or use the pair 'vector'"
        )
    if not x.is_floating_point():
        raise ValueError(f"{view} needs floating-point images; these are {x.dtype}: divide them by their largest value")
    return x.shape[3], x.shape[4]


@dataclass(frozen=True)
class RandomCrop:
    """A window of the image's size at a random place in the image with a border of zeros.

    Args:
        padding: width of the border [pixel]; both offsets are uniform on 0..2 padding.

    Raises:
        ValueError: for a padding that is negative or, when called, could move the image out of the window.

    >>> RandomCrop(padding=1)(torch.ones(5, 2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
    torch.Size([5, 2, 3, 8, 8])
    """

    padding: int = 4

    def __post_init__(self) -> None:
        check_fields(self)
        require(whole(self.padding), self, "padding is a whole number of pixels, at least 0")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images(x, self)
        if self.padding >= min(height, width):
            raise ValueError(
                f"{self} can push images of {height} x {width} out of sight; give a padding under "
                f"{min(height, width)}, such as {min(height, width) // 8}"
            )
        down, right = integers(generator, x, 0, 2 * self.padding, 2, x.shape[1])  # [B] each

        def crop(x: Tensor) -> Tensor:
            windows = F.pad(x, [self.padding] * 4).unfold(3, height, 1).unfold(4, width, 1)
            places = windows.movedim((1, 3, 4), (0, 1, 2))  # [B, down, right, T, C, H, W]
            return places[torch.arange(len(down), device=x.device), down, right].transpose(0, 1)

        return still(crop, x)


@dataclass(frozen=True)
class RandomFlip:
    """Left and right swapped at random.

    Args:
        probability: of swapping a sample, 0.5 by default.

    Raises:
        ValueError: for a probability outside 0..1.

    >>> x = torch.arange(3.0).view(1, 1, 1, 1, 3)
    >>> RandomFlip(probability=1.0)(x, torch.Generator()).flatten().tolist()
    [2.0, 1.0, 0.0]
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        require(chance(self.probability), self, "give a probability between 0 and 1")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        images(x, self)
        flipped = (uniform(generator, x, x.shape[1]) < self.probability).view(SAMPLE)
        return still(lambda x: torch.where(flipped, x.flip(-1), x), x)


@dataclass(frozen=True)
class Cutout:
    """A square of zeros around a random pixel, clipped at the border.

    The square covers `centre - size // 2` up to, but without, `centre - size // 2 + size`.

    Args:
        size: side of the square [pixel], 16 by default.

    Raises:
        ValueError: for a size that is negative or, when called, could blank an image.

    >>> int((Cutout(size=2)(torch.ones(1, 1, 1, 8, 8), torch.Generator().manual_seed(0)) == 0).sum())
    4

    Reference: DeVries & Taylor 2017 (arXiv 1708.04552), whose code rounds an odd size down to an even one.
    """

    size: int = 16

    def __post_init__(self) -> None:
        check_fields(self)
        require(whole(self.size), self, "size is a whole number of pixels, at least 0")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images(x, self)
        if self.size >= min(height, width):
            raise ValueError(
                f"{self} can blank images of {height} x {width}; give a size under "
                f"{min(height, width)}, such as {min(height, width) // 2}"
            )
        rows = self._covered(integers(generator, x, 0, height - 1, x.shape[1]), height)  # [B, H]
        columns = self._covered(integers(generator, x, 0, width - 1, x.shape[1]), width)  # [B, W]
        hole = rows[:, None, :, None] & columns[:, None, None, :]  # [B, 1, H, W]
        return still(lambda x: x.masked_fill(hole, 0), x)

    def _covered(self, centre: Tensor, side: int) -> Tensor:
        inside = torch.arange(side, device=centre.device) - (centre[:, None] - self.size // 2)
        return (inside >= 0) & (inside < self.size)
