"""Two views of one batch: the pairs that a Siamese objective compares, by name."""

from __future__ import annotations

from collections.abc import Callable

from rules.views.base import Compose, Identity, View
from rules.views.colour import ColourJitter
from rules.views.images import Cutout, RandomCrop, RandomFlip
from rules.views.spikes import ChannelJitter, EventDrop, Roll, TimeShift
from rules.views.vectors import AdditiveNoise, FeatureDrop

Pair = tuple[View, View]


def image(*, padding: int = 4, flip: bool = True, jitter: float = 0.4, cutout: int = 16) -> Pair:
    """Both crop and flip; the second also jitters the colours and cuts a hole. 0 or False leaves a step out.

    The defaults are for images of 32 x 32; digits of 8 x 8 want `padding=1, flip=False, cutout=4`. `jitter` is the
    strength of brightness, contrast and saturation, and a quarter of it that of the hue (Chen et al. 2020, SimCLR).

    >>> image(flip=False, jitter=0.0)
    (Compose(views=(RandomCrop(padding=4),)), Compose(views=(RandomCrop(padding=4), Cutout(size=16))))
    """
    colour, hole = ColourJitter(jitter, jitter, jitter, jitter / 4), Cutout(cutout)
    weak = (RandomCrop(padding),) * bool(padding) + (RandomFlip(),) * bool(flip)
    return Compose(weak), Compose(weak + (colour,) * bool(jitter) + (hole,) * bool(cutout))


def spikes(*, shift: int = 2, steps: int = 1, drop: float = 0.1, reach: int = 1, swap: float = 0.1) -> Pair:
    """Both roll; the second also shifts in time, loses events and jitters their channel.

    `reach` is for units `[T, B, N]`, `swap` for polarities `[T, B, 2, H, W]`. The defaults are our own choice.
    """
    strong = (Roll(shift), TimeShift(steps), EventDrop(drop), ChannelJitter(reach, swap))
    return Roll(shift), Compose(strong)


def vector(*, noise: float = 0.1, drop: float = 0.1) -> Pair:
    """Both get noise; the second also loses features. The defaults are our own choice, for features in 0..1."""
    return AdditiveNoise(noise), Compose((AdditiveNoise(noise), FeatureDrop(drop)))


def same() -> Pair:
    """The batch twice, for telling what the views are worth."""
    return Identity(), Identity()


VIEWS: dict[str, Callable[..., Pair]] = {
    "image": image,
    "spikes": spikes,
    "vector": vector,
    "same": same,
}
