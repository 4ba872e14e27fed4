"""Samples that are mixed in pairs before a model sees them, and a loss of both of their classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from rules.contract import Batch, Objective, Run
from rules.errors import unknown
from rules.fields import check_fields
from rules.objectives.around import Around
from rules.objectives.labels import LABELS
from rules.objectives.readout import CROSS_ENTROPIES

IMAGES = 5  # axes: time, samples, channels, height, width


@dataclass(frozen=True)
class Mixed(Around):
    """Mixup and CutMix: each batch is mixed with its samples in another order, and so is the loss.

        x <- lam x + (1 - lam) x[order],  or a rectangle of x[order] of the share 1 - lam of the image is pasted into x
        loss = lam loss(y) + (1 - lam) loss(y[order]),    lam ~ Beta(alpha, alpha), one for the batch and all steps

    A rectangle that reaches beyond the edge is cut off, and lam is then the share that is left. Evaluation sees whole
    samples. Accuracy of mixed samples is that of the heavier class.

    Args:
        loss: "ce_mean", "ce_sum", "ce_rate", "tet", "ce_max_mem" or "ce_last"; in Python also such an objective itself.
        mixup: alpha of mixup, 0.8 by default; 0 for none.
        cutmix: alpha of CutMix; 0 for none, and None, the default, for 1 in images `[T, B, C, H, W]` and 0 in others.
        share: probability of CutMix where both are on, 0.5 by default.
        label_smoothing: of the loss, where that is given by name; 0 by default.
        timed: whether inputs have a time axis in front, `[T, B, ...]`; False for `[B, ...]`.

    Raises:
        ValueError: for a negative alpha, both at 0, a share outside 0 to 1, an unknown loss, and, when called, for
            sequences of different length, for answers of each step and labels that are not int64, for CutMix of
            samples that are no images, and for inputs whose axis of samples has not as many as there are labels.

    >>> x, y = torch.zeros(5, 4, 1, 8, 8), torch.arange(4)
    >>> seen = Mixed(cutmix=0.0).views(Batch(x, y), torch.Generator().manual_seed(0))
    >>> seen.x.shape, seen.y.shape
    (torch.Size([5, 4, 1, 8, 8]), torch.Size([4, 3]))

    Reference: Zhang et al. 2018 (arXiv 1710.09412) and Yun et al. 2019 (arXiv 1905.04899), both recalled; the defaults
    are those of the published settings of Spikformer.
    """

    loss: str | Objective = "ce_mean"
    mixup: float = 0.8
    cutmix: float | None = None
    share: float = 0.5
    label_smoothing: float = 0.0
    timed: bool = True

    timing: ClassVar[Literal["sequence", "step"]] = "sequence"  # one mixture for all of its steps

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("mixup", "cutmix"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: give alpha of a Beta distribution, or 0 for none")
        if not self.mixup and self.cutmix == 0:
            raise ValueError("mixup=0, cutmix=0: nothing would be mixed; use the loss itself, or give one of them")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share={self.share}: give a probability")
        if isinstance(self.loss, str) and self.loss not in CROSS_ENTROPIES:
            raise unknown("loss of Mixed", self.loss, CROSS_ENTROPIES)
        object.__setattr__(self, "inner", self._made())

    def _made(self) -> Objective:
        if isinstance(self.loss, str):
            return CROSS_ENTROPIES[self.loss](label_smoothing=self.label_smoothing)
        if self.label_smoothing:
            raise ValueError("label_smoothing belongs to a loss by name: give it to the objective itself")
        return self.loss

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return self.inner.needs | LABELS

    def views(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return a mixed batch, whose `y [B, 3]` holds both classes and the weight of the first."""
        batch = self.inner.views(batch, rng)
        if batch.lengths is not None and int(batch.lengths.min()) < len(batch.x):
            raise ValueError(
                "Mixed mixes whole samples, and these sequences have different lengths: use the loss itself"
            )
        if batch.y is None or batch.y.ndim != 1 or batch.targets is not None:
            raise ValueError(
                "Mixed wants one class for each sample, y [B]; for answers of each step use the loss itself"
            )
        if batch.y.dtype != torch.int64:
            raise ValueError(f"labels have dtype {batch.y.dtype}; Mixed wants class numbers, torch.int64: y.long()")
        x = self._as_sequence(batch.x, len(batch.y))
        dice = np.random.default_rng(int(torch.randint(2**62, (), generator=rng, device=rng.device)))
        order = torch.from_numpy(dice.permutation(len(batch.y))).to(batch.y.device)
        cutmix = float(x.ndim >= IMAGES) if self.cutmix is None else self.cutmix
        if not self.mixup and not cutmix:
            raise ValueError(f"mixup=0: CutMix is for images, and the input is {tuple(batch.x.shape)}: give mixup too")
        pastes = cutmix > 0 and (not self.mixup or dice.random() < self.share)
        alpha = cutmix if pastes else self.mixup
        lam = float(dice.beta(alpha, alpha))
        x, lam = (pasted if pastes else blended)(x, order, lam, dice)
        both = torch.stack([batch.y, batch.y[order]], 1).double()
        y = torch.cat([both, torch.full_like(both[:, :1], lam)], 1)
        return batch._replace(x=x if self.timed else x[0], y=y, plain=None)

    def _as_sequence(self, x: Any, samples: int) -> Tensor:
        """Return the input as `[T, B, ...]`; raise ValueError where it cannot be mixed."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ValueError(
                "Mixed mixes one tensor of real numbers; for nested inputs and indices use the loss itself"
            )
        found = x if self.timed else x[None]
        if found.ndim < 3 or found.shape[1] != samples:
            raise ValueError(
                f"the input {tuple(x.shape)} has not {samples} samples, as there are labels, "
                + ("on axis 1, behind time: for inputs [B, ...] set timed to False" if self.timed else "on axis 0")
            )
        if self.cutmix and found.ndim < 4:
            raise ValueError(
                f"CutMix wants images, [..., height, width], and the input is {tuple(x.shape)}: set cutmix to 0"
            )
        return found

    def examined(self, batch: Batch, rng: torch.Generator) -> Batch:
        return self.inner.examined(batch, rng)

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores, and the heavier class of samples that are mixed."""
        parts = halves(batch)
        return self.inner.answers(run, max(parts, key=lambda part: part[0])[1] if parts else batch)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        parts = halves(batch)
        if not parts:
            return self.inner(run, batch)
        (first, one), (second, other) = parts
        return first * self.inner(run, one) + second * self.inner(run, other)

    def each(self, run: Run, batch: Batch) -> Tensor | None:
        """Return the loss of every sample alone, `[B]`; None if the loss has none."""
        parts = halves(batch) or [(1.0, batch)]
        found = [(weight, self.inner.each(run, part)) for weight, part in parts]
        if any(loss is None for _, loss in found):
            return None
        return torch.stack([weight * loss for weight, loss in found if loss is not None]).sum(0)


def halves(batch: Batch) -> list[tuple[float, Batch]]:
    """Return a mixed batch as two, one for each class, with their weights; none where it is not mixed."""
    if batch.y is None or batch.y.ndim != 2 or batch.y.shape[1] != 3 or not batch.y.is_floating_point():
        return []
    lam = float(batch.y[0, 2])
    return [(weight, batch._replace(y=batch.y[:, n].long())) for n, weight in enumerate((lam, 1 - lam))]


def blended(x: Tensor, order: Tensor, lam: float, dice: Any) -> tuple[Tensor, float]:
    """Return `lam x + (1 - lam) x[order]`, and lam."""
    steps = x if x.stride(0) else x[:1]  # an input that is constant in time stays so
    return (lam * steps + (1 - lam) * steps[:, order]).expand(x.shape), lam


def pasted(x: Tensor, order: Tensor, lam: float, dice: Any) -> tuple[Tensor, float]:
    """Return x with a rectangle of x[order], and the share of x that is left."""
    height, width = x.shape[-2:]
    cut = math.sqrt(1 - lam)
    top, bottom = edges(height, cut, int(dice.integers(height)))
    left, right = edges(width, cut, int(dice.integers(width)))
    steps = x if x.stride(0) else x[:1]  # an input that is constant in time stays so
    seen = steps.clone()
    seen[..., top:bottom, left:right] = steps[:, order][..., top:bottom, left:right]
    return seen.expand(x.shape), 1 - (bottom - top) * (right - left) / (height * width)


def edges(length: int, cut: float, centre: int) -> tuple[int, int]:
    """Return the ends of a stretch around a centre, cut off at the edges.

    >>> edges(8, 0.5, 0), edges(8, 0.5, 4)
    ((0, 2), (2, 6))
    """
    half = int(length * cut) // 2
    return max(centre - half, 0), min(centre + half, length)
