"""Pairs of views of one batch, for Siamese objectives, by name."""

from __future__ import annotations

from collections.abc import Callable

from rules.views.base import Compose, Identity, View
from rules.views.colour import ColourJitter
from rules.views.events import OneOf, Rotation
from rules.views.images import Cutout, RandomCrop, RandomFlip
from rules.views.spikes import ChannelJitter, EventDrop, Roll, TimeShift
from rules.views.times import StepDrop
from rules.views.vectors import AdditiveNoise, FeatureDrop

Pair = tuple[View, View]


def image(*, padding: int = 4, flip: bool = True, jitter: float = 0.4, cutout: int = 16) -> Pair:
    """Build a pair of views that crop and flip; the second also jitters the colours and cuts a hole.

    0 or False leaves a step out. The defaults are for images of 32 x 32; for digits of 8 x 8 use `padding=1,
    flip=False, cutout=4`.

    Args:
        padding: of `RandomCrop` [pixel].
        flip: whether to swap left and right.
        jitter: strength of brightness, contrast and saturation; that of the hue is a quarter of it (Chen et al. 2020,
            SimCLR).
        cutout: side of the hole [pixel].

    >>> image(flip=False, jitter=0.0)
    (Compose(views=(RandomCrop(padding=4),)), Compose(views=(RandomCrop(padding=4), Cutout(size=16))))
    """
    colour, hole = ColourJitter(jitter, jitter, jitter, jitter / 4), Cutout(cutout)
    weak = (RandomCrop(padding),) * bool(padding) + (RandomFlip(),) * bool(flip)
    return Compose(weak), Compose(weak + (colour,) * bool(jitter) + (hole,) * bool(cutout))


def spikes(*, shift: int = 2, steps: int = 1, drop: float = 0.1, reach: int = 1, swap: float = 0.1) -> Pair:
    """Build a pair of views that roll; the second also shifts in time, drops events and jitters their channel.

    The defaults are our own choice.

    Args:
        shift: of `Roll` [units or pixels].
        steps: of `TimeShift`.
        drop: probability of `EventDrop`.
        reach: of `ChannelJitter`, for units `[T, B, N]`.
        swap: of `ChannelJitter`, for polarities `[T, B, 2, H, W]`.
    """
    strong = (Roll(shift), TimeShift(steps), EventDrop(drop), ChannelJitter(reach, swap))
    return Roll(shift), Compose(strong)


def events(
    *, flip: bool = True, shift: int = 5, degrees: float = 15.0, cutout: int = 8, drop: float = 0.1, swap: float = 0.0
) -> Pair:
    """Build a pair of equal views of event frames `[T, B, 2, H, W]`: flipped, then one of several changes.

    Each sample is mirrored with probability 1/2, and then rolled, rotated, cut out, thinned, or left as it is, each as
    likely; 0 or False leaves a change out. Where left and right tell the class, as for gestures, say `flip=False`; for
    frames of 34 x 34 use `shift=2, cutout=6`.

    Args:
        flip: whether to swap left and right.
        shift: of `Roll` [pixel].
        degrees: of `Rotation`.
        cutout: side of the hole [pixel].
        drop: probability of `EventDrop`.
        swap: probability of swapping the polarities, by `ChannelJitter`.

    >>> events(flip=False, cutout=0, drop=0.0)[0]
    OneOf(views=(Identity(), Roll(shift=5), Rotation(degrees=15.0)))

    Reference: after Li, Kim, Park, Geller & Panda 2022 (arXiv 2203.06145), a flip and one change of several, and Gu et
    al. 2021 (arXiv 2106.05836), the drop of events; both recalled, not read, and the numbers are our choice.
    """
    changes: tuple[View, ...] = (Identity(),) + (Roll(shift),) * bool(shift) + (Rotation(degrees),) * bool(degrees)
    changes += (Cutout(cutout),) * bool(cutout) + (EventDrop(drop),) * bool(drop)
    first = (RandomFlip(),) * bool(flip) + (ChannelJitter(swap=swap),) * bool(swap)
    one = Compose((*first, OneOf(changes))) if first else OneOf(changes)
    return one, one


def vector(*, noise: float = 0.1, drop: float = 0.1) -> Pair:
    """Build a pair of views that add noise; the second also drops features.

    The defaults are our own choice, for features in 0..1 whose class does not turn on a tenth of them: on Yin-Yang they
    move points across borders (`sandbox.tasks.label_flips`).

    Args:
        noise: standard deviation, in the features' unit.
        drop: probability of dropping a feature.
    """
    return AdditiveNoise(noise), Compose((AdditiveNoise(noise), FeatureDrop(drop)))


def time(*, drop: float = 0.2) -> Pair:
    """Build a pair of views that each drop time steps, by their own draws: what is shown at a step keeps its label.

    The default is our own choice.

    Args:
        drop: probability of dropping a step.
    """
    return StepDrop(drop), StepDrop(drop)


def same() -> Pair:
    """Build a pair of unchanged batches, as a baseline for the other views."""
    return Identity(), Identity()


VIEWS: dict[str, Callable[..., Pair]] = {
    "image": image,
    "spikes": spikes,
    "events": events,
    "vector": vector,
    "time": time,
    "same": same,
}
