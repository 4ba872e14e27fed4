"""Supervised contrast over time: features of a class should be alike at every step, and unlike those of others."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, Objective, Run
from rules.errors import unknown
from rules.objectives.contrast import ALONE, Contrast, contrastive_loss
from rules.objectives.features import FEATURES, READ_FROM
from rules.objectives.labels import LABELS, labels, require_whole_sequences
from rules.objectives.projection import Projection
from rules.objectives.readout import TET, MeanCrossEntropy
from rules.options import also_takes
from rules.processes import divided, processes
from rules.spikes.surrogate import current_pass
from rules.views import VIEWS, View

__all__ = ["SiameseTemporalContrast", "TemporalContrast", "contrastive_loss"]

CE_MODES: dict[str, Objective] = {"mean": MeanCrossEntropy(), "tet": TET()}
HEADS = ("mlp", "linear", "none")
NO_PAIR = (
    "no batch of this epoch had a positive pair, so the contrast taught nothing: use larger batches, more time steps, "
    'or two views of each sample, rules.make("stcl")'
)


class TemporalContrast(nn.Module, Objective):
    """Temporal contrastive learning (TCL): cross-entropy, plus supervised contrast over samples and time steps.

        L = L_CE + weight L_con,    L_con = Contrast(**switches)(g(r), y),

    where `r[t]` are the features of step t, `[T, B, d]`, and g the projection head, which is trained, saved and resumed
    with this objective and does not affect the model's output. A batch without a positive pair, such as a last batch of
    one sample, has no contrast, which a warning says once; an epoch without any is said when it ends. An evaluation
    reports L_CE alone: the contrast depends on the size of its batches, and takes longer than the passes.

    Args:
        weight: lambda, 1 by default.
        feature: a name in `FEATURES`.
        head: "mlp" (`Linear(d, d)-ReLU-Linear(d, width)`), "linear" or "none".
        width: length of the projected features, 128 by default.
        ce_mode: "tet" (cross-entropy at every step) or "mean".
        warmup: training steps over which the weight rises linearly to lambda, 0 by default.
        seed: of the head's weights, which are drawn at the first batch; None for that of the Trainer.
        switches: fields of `Contrast`, which has the equation.

    Raises:
        ValueError: for an unknown switch or a number out of range; when called, for missing labels or a run without
            traces.

    >>> from rules.contract import Trace
    >>> spikes = torch.rand(4, 6, 5, generator=torch.Generator().manual_seed(0))
    >>> run = Run(torch.zeros(4, 6, 3), traces=(Trace("weight", spikes, spikes, spikes),))
    >>> batch = Batch(spikes, torch.tensor([0, 1, 2, 0, 1, 2]))
    >>> bool(TemporalContrast(weight=0.5, temperature=0.1)(run, batch) > TemporalContrast(weight=0.0)(run, batch))
    True

    Reference: the abstract of the TCL paper states that representations of different steps are contrasted, with
    classes. Its body was not accessible: every equation, default and switch here is a reconstruction on top of SupCon,
    Khosla et al. 2020 (arXiv 2004.11362).
    """

    @also_takes(Contrast)
    def __init__(
        self,
        weight: float = 1.0,
        *,
        feature: str = "gap_spike_rate_t",
        head: str = "mlp",
        width: int = 128,
        ce_mode: str = "tet",
        warmup: int = 0,
        seed: int | None = None,
        **switches: Any,
    ) -> None:
        super().__init__()
        choices = (("feature", feature, FEATURES), ("head", head, HEADS), ("ce_mode", ce_mode, CE_MODES))
        for kind, name, known in choices:
            if name not in known:
                raise unknown(kind, name, known)
        for name, number, least in (("weight", weight, 0), ("warmup", warmup, 0), ("width", width, 1)):
            if not number >= least:
                raise ValueError(f"{name}={number}: give a number of at least {least}")
        if seed is not None and seed < 0:
            raise ValueError(f"seed={seed}: give a whole number of at least 0, or None for that of the Trainer")
        self.weight, self.warmup, self.feature, self.ce = weight, warmup, feature, CE_MODES[ce_mode]
        self.contrast = Contrast(**switches)
        bare = head == "none" or weight == 0
        self.head = nn.Identity() if bare else Projection(width, hidden=head == "mlp", seed=seed)
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.batches = self.alone = 0  # since the last remark: all, and those without a positive pair
        self.told: set[str] = set()  # what was said, which is said once

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # depends on what is contrasted
        """`labels`, and what the feature is read from, unless the weight is 0."""
        return LABELS if self.weight == 0 else LABELS | READ_FROM[self.feature]

    @property
    def repeats(self) -> Hashable:
        """What the products of a call depend on; None among processes that divide a batch."""
        return (self.contrast, self.feature, self.weight == 0) if processes() == 1 and divided() is None else None

    def advance(self) -> None:
        """Count one step of the warm-up."""
        self.steps += 1

    def remark(self) -> str | None:
        """Return that no batch since the last call had a positive pair, if so and if it was not said before."""
        silent = 0 < self.batches == self.alone and NO_PAIR not in self.told
        self.batches = self.alone = 0
        if not silent:
            return None
        self.told.add(NO_PAIR)
        return NO_PAIR

    def forward(self, run: Run, batch: Batch, samples: Tensor | None = None) -> Tensor:
        """Return the loss; `samples [B]` are sample numbers, for columns that show the same sample."""
        require_whole_sequences(batch, self)
        fit = self.ce(run, batch)
        if self.weight == 0:
            return fit
        features = FEATURES[self.feature](run)
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        rise = min(1.0, (int(self.steps) + 1) / self.warmup) if self.warmup else 1.0
        contrast, heard = self.contrast.heard(self.head(features), labels(run, batch), samples)
        self._count(heard)
        return fit + rise * self.weight * contrast

    def reported(self, run: Run, batch: Batch) -> Tensor:
        """Return the cross-entropy, without the contrast."""
        require_whole_sequences(batch, self)
        return self.ce(run, batch)

    def _count(self, heard: bool) -> None:
        """Count a batch, and say once that one has no positive pair; a look, such as one at health, does neither."""
        around = current_pass()
        if around is not None and around.evaluating:
            return
        self.batches, self.alone = self.batches + 1, self.alone + (not heard)
        if not heard and ALONE not in self.told:
            self.told.add(ALONE)
            warnings.warn(ALONE, stacklevel=4)


class SiameseTemporalContrast(nn.Module, Objective):
    """Siamese temporal contrastive learning (STCL): `TemporalContrast` over two views of every sample.

    The model sees both views side by side, `[T, 2B, *features]`; cross-entropy is the mean of theirs, and the contrast
    runs over all 2 B T features, where a sample's other view is a positive of every kind but "class_same_t" at another
    step.

    Args:
        contrast: the objective over the views; `TemporalContrast()` if None.
        views: a name in `rules.views.VIEWS`, or a pair of views; "time" by default, which changes no label of features
            that are shown at a step. Others may: `sandbox.tasks.label_flips` measures it where a task can label.

    Raises:
        ValueError: for views of different shapes, and for a batch with a carry, because two views cannot continue
            from one state.

    >>> stcl = SiameseTemporalContrast(TemporalContrast(temperature=0.1), views="vector")
    >>> batch = Batch(torch.ones(4, 6, 5), torch.tensor([0, 1, 2, 3, 4, 5]))
    >>> stcl.views(batch, torch.Generator().manual_seed(0)).x.shape
    torch.Size([4, 12, 5])

    Reference: the abstract of the paper states that augmentation, time and class constrain together; the rest is a
    reconstruction, as in `TemporalContrast`.
    """

    def __init__(self, contrast: TemporalContrast | None = None, views: str | tuple[View, View] = "time") -> None:
        super().__init__()
        if isinstance(views, str):
            if views not in VIEWS:
                raise unknown("views", views, VIEWS)
            views = VIEWS[views]()
        self.contrast = TemporalContrast() if contrast is None else contrast
        self.pair = views

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # those of the contrast
        """The needs of the contrast."""
        return self.contrast.needs

    @property
    def repeats(self) -> Hashable:
        """That of the contrast."""
        return self.contrast.repeats

    def advance(self) -> None:
        """Count one step of the warm-up."""
        self.contrast.advance()

    def remark(self) -> str | None:
        """Return the remark of the contrast."""
        return self.contrast.remark()

    def views(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return both views of every sample, `[T, 2B, *features]`: all first views, then all second ones."""
        if batch.carry is not None:
            raise ValueError("two views of a sample start from rest, but this batch has a carry; leave it None")
        if not isinstance(batch.x, Tensor):
            raise ValueError(
                f"views are made of one input tensor, and this batch has a {type(batch.x).__name__}: join the inputs, "
                'as in rules.Batch(torch.cat([x1, x2], -1), y), or use rules.make("tcl"), which takes no views'
            )
        require_whole_sequences(batch, self)
        static = still(batch)
        x = batch.x[None] if static else batch.x
        first, second = (view(x, rng) for view in self.pair)
        if first.shape != second.shape:
            raise ValueError(
                f"the views have shapes {tuple(first.shape)} and {tuple(second.shape)}; choose two views of equal shape"
            )
        pair = beside(first, second)
        return Batch(pair[0] if static else pair, None if batch.y is None else batch.y.repeat(2))

    def forward(self, run: Run, batch: Batch) -> Tensor:
        """Return the loss over both views."""
        size = run.output.shape[1]
        if size % 2:
            raise ValueError(f"a run over {size} columns is not over two views; run the model on what `views` returned")
        loss: Tensor = self.contrast(run, batch, torch.arange(size // 2, device=run.output.device).repeat(2))
        return loss

    def reported(self, run: Run, batch: Batch) -> Tensor:
        """Return the cross-entropy over both views, without the contrast."""
        return self.contrast.reported(run, batch)


def still(batch: Batch) -> bool:
    """Return whether the input is static, `[B, *features]`, for a model without time."""
    x, y = batch.x, batch.y
    return x.ndim == 2 or (y is not None and len(x) == len(y) != x.shape[1])


def beside(first: Tensor, second: Tensor) -> Tensor:
    """Stack two sequences along B; if both are constant in time, so is the result, and a layer weighs it once."""
    if len(first) > 1 and first.stride(0) == 0 and second.stride(0) == 0:
        once = torch.cat([first[:1], second[:1]], 1)
        return once.expand(len(first), *once.shape[1:])
    return torch.cat([first, second], 1)
