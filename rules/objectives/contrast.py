"""The contrastive loss: it pulls related features together, over samples and over time, and pushes others apart."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rules.errors import unknown
from rules.objectives.attraction import PAIRS, Features, Piece, Place
from rules.processes import divided, gathered, in_team, processes, rank, summed
from rules.steps import power_of_two, wide

ALONE = (
    "no positive pair: no class occurs twice in this batch, so its contrast is 0 and teaches nothing; use a larger or "
    "a balanced batch, more steps, or two views of each sample"
)
CHUNK = 1 << 17  # entries of the similarity matrix held at once: half a MiB in float32, so that they fit into a cache


def class_any_t(a: Place, b: Place) -> Tensor:
    """Return whether both are of the same class, at any step; this includes the same sample at its other steps."""
    return a.label == b.label


def same_sample_other_t(a: Place, b: Place) -> Tensor:
    """Return whether both are of the same sample: at its other steps and, if there are views, in its other view."""
    return a.sample == b.sample


def class_same_t(a: Place, b: Place) -> Tensor:
    """Return whether both are of the same class at the same step."""
    return (a.label == b.label) & (a.step == b.step)


POSITIVES = {
    "class_any_t": class_any_t,
    "same_sample_other_t": same_sample_other_t,
    "class_same_t": class_same_t,
}
NEGATIVES = ("all", "same_t_only")


@dataclass(frozen=True)
class Contrast:
    """Supervised contrast over time: which pairs attract, which repel, and how strongly.

    With `n_a` the unit vector of anchor `a = (step, sample)`, P(a) its positives and D(a) its competitors, a itself in
    neither of them,

        L = (1/|A+|) sum_{a in A+} [ log sum_{q in D(a)} exp(n_a.n_q / tau(a, q))
                                     - sum_{p in P(a)} w(a, p) (n_a.n_p / tau(a, p)) / sum_{p in P(a)} w(a, p) ],

    where A+ are the anchors that have a positive.

    The gradient is computed with the loss, `dL/d(n_a.n_q) = (softmax_q - w(a, q) / sum_p w(a, p)) / (|A+| tau(a, q))`,
    so that nothing of the size of the matrix is kept; it cannot be differentiated again. A batch without a positive
    pair, such as a last batch of one sample, has a loss of 0 and a gradient of 0, with a warning.

    Args:
        temperature: tau, a number, which grows as `tau (1 + gamma |t - t'|)`, or a function of the lag `|t - t'|` in
            steps; 0.07 by default.
        gamma: growth of tau per step of lag, 0 by default.
        positives: a name in `POSITIVES`.
        negatives: "all", or "same_t_only", which removes those of other steps from D.
        exclude_self_time: remove the anchor's own sample at other steps from D (positives stay).
        time_weight: w, a function of the lag, or the time constant in steps of `exp(-|t - t'| / time_weight)`; None
            for equal weights.
        detach_time: treat features of other steps as constants: the same loss, but a different gradient.
        log_normalised: divide by log N, where an anchor is compared with N features, itself included.
        gather: contrast with the features of all processes of `torch.distributed`, with batches of equal size, so that
            the mean of the losses over the processes is the loss of the whole batch. A `rules.Team` always does.
        chunk: entries of the similarity matrix held at once; larger ones are computed in pieces.
        pairs: "all", the definition, which compares (T B)^2 pairs of features; or "cross", which compares an anchor
            with the features of its own step and with those of its own column at other steps, T B (T + B) pairs: both
            P and D keep these alone. That is another loss, not an estimate of the first. Positives of a class at other
            steps are left out, except the sample itself; negatives come from one step; and as fewer features compete,
            the loss is smaller.

    Raises:
        ValueError: for a temperature or another number that is not positive, and for an unknown name.

    Reference: SupCon, Khosla et al. 2020 (arXiv 2004.11362), in the form of its published code, with the mean outside
    the logarithm. Steps as further views, and all switches, are a reconstruction of ours.
    """

    temperature: float | Callable[[Tensor], Tensor] = 0.07
    gamma: float = 0.0
    positives: str = "class_any_t"
    negatives: str = "all"
    exclude_self_time: bool = False
    time_weight: float | Callable[[Tensor], Tensor] | None = None
    detach_time: bool = False
    log_normalised: bool = False
    gather: bool = False
    chunk: int = CHUNK
    pairs: str = "all"

    def __post_init__(self) -> None:
        if not callable(self.temperature) and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature}: give a positive number, 0.05 to 0.5 as a rule")
        if self.gamma < 0 or (self.gamma and callable(self.temperature)):
            raise ValueError(f"gamma={self.gamma}: give 0 or more, and only beside a temperature that is a number")
        if self.time_weight is not None and not callable(self.time_weight) and not self.time_weight > 0:
            raise ValueError(f"time_weight={self.time_weight}: give a positive time constant in steps, or None")
        if self.chunk < 1:
            raise ValueError(f"chunk={self.chunk}: give a number of entries, at least 1")
        choices = (
            ("positives", self.positives, POSITIVES),
            ("negatives", self.negatives, NEGATIVES),
            ("pairs", self.pairs, PAIRS),
        )
        for kind, name, known in choices:
            if name not in known:
                raise unknown(kind, name, known)

    def __call__(self, features: Tensor, labels: Tensor, samples: Tensor | None = None) -> Tensor:
        """Return the loss of `features [T, B, D]` with `labels [B]`; see `contrastive_loss`."""
        loss, heard = self.heard(features, labels, samples)
        if not heard:
            warnings.warn(ALONE, UserWarning, stacklevel=2)
        return loss

    def heard(self, features: Tensor, labels: Tensor, samples: Tensor | None = None) -> tuple[Tensor, bool]:
        """Return the loss, and whether any anchor has a positive; without one the loss is 0 and so is its gradient."""
        size = _checked(features, labels)
        samples = torch.arange(size, device=features.device) if samples is None else samples
        anchors = partners = unit(features)
        first, division = 0, divided()
        gather = division is not None or (self.gather and not in_team() and processes() > 1)
        if gather:
            first = rank() * size if division is None else division.start * size // division.held
            partners, labels, samples = gathered(anchors, 1), gathered(labels), gathered(samples + first)
        found = Features(anchors, partners, first, labels, samples)
        with torch.autocast(features.device.type, enabled=False):  # half precision is too coarse for similarities
            total, count, met = PAIRS[self.pairs](found, self._piece, self.chunk)
        if gather:  # so that the mean over processes, weighted by their samples, is the loss of the whole batch
            count = summed(count)
            count = count / processes() if division is None else count.double() * division.held / division.total
        if not count:
            return total * 0.0, False
        loss: Tensor = total / count
        return loss / math.log(met) if self.log_normalised else loss, True

    def _piece(self, similarities: Tensor, column: Place, place: Place, itself: Tensor) -> Piece:
        """Return losses and slopes of some anchors, from their similarities to others and to themselves."""
        positive = POSITIVES[self.positives](column, place).scatter_(1, itself, 0)  # [anchors, N]
        weights = positive.to(similarities.dtype)
        temperature: Any = self.temperature
        if callable(self.temperature) or self.gamma or self.time_weight is not None:
            lag = (column.step - place.step).abs().to(similarities.dtype)
            temperature, weights = self._temperature(lag), weights * self._weight(lag)
        mass = weights.sum(1, keepdim=True)
        heard = mass > 0
        weights /= torch.where(heard, mass, 1)
        logits = similarities.div_(temperature)
        never = torch.finfo(logits.dtype).min / 4  # not minus infinity, because that times a weight of 0 is NaN
        out = self._kept_out(column, place)
        if out is not None:
            logits.masked_fill_(out & ~positive, never)
        log_share = logits.scatter_(1, itself, never).log_softmax(1)
        total = -(weights * log_share).sum()
        pull = log_share.exp_().sub_(weights).mul_(heard / temperature)
        return Piece(total, heard.sum(), pull, pull * (column.step == place.step) if self.detach_time else pull)

    def _kept_out(self, column: Place, place: Place) -> Tensor | None:
        """Return the pairs that do not compete unless they are positives, `[anchors, N]`; None if all compete."""
        out = column.step != place.step if self.negatives == "same_t_only" else None
        if self.exclude_self_time:
            other = (column.sample == place.sample) & (column.step != place.step)
            out = other if out is None else out | other
        return out

    def _temperature(self, lag: Tensor) -> Any:
        if callable(self.temperature):
            return self.temperature(lag)
        return self.temperature * (1 + self.gamma * lag)

    def _weight(self, lag: Tensor) -> Tensor:
        if callable(self.time_weight):
            return self.time_weight(lag)
        return torch.exp(-lag / (self.time_weight or math.inf))


def contrastive_loss(
    features: Tensor,
    labels: Tensor,
    temperature: float | Callable[[Tensor], Tensor] = 0.07,
    *,
    samples: Tensor | None = None,
    **switches: Any,
) -> Tensor:
    """Return the supervised contrast over samples and time steps, a scalar; see `Contrast` for the equation.

    Args:
        features: `[T, B, D]` of any length, which are normalised here, in float32 at least.
        labels: `[B]`, int64.
        temperature: tau, 0.07 by default.
        samples: `[B]`, the number of each column's sample; views of one sample share a number. By default each column
            is a sample of its own.
        switches: the other fields of `Contrast`.

    Raises:
        ValueError: for shapes that do not fit.

    >>> features = torch.eye(2).repeat(2, 3, 1)  # two steps, six samples, two classes, perfectly collapsed
    >>> round(float(contrastive_loss(features, torch.tensor([0, 1]).repeat(3), 0.5)), 4)  # log(5 + 6 exp(-1 / 0.5))
    1.7599
    """
    return Contrast(temperature, **switches)(features, labels, samples)


def unit(features: Tensor) -> Tensor:
    """Return vectors of length 1 along the last axis, in float32 at least; zero vectors stay zero, without gradient.

    Where squares could over- or underflow, vectors are first divided by a power of two near their largest entry, which
    rounds nothing. Those below 64 times the smallest normal number count as zero: their gradient, which grows as
    1 / length, would overflow.

    >>> unit(torch.tensor([[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0]])).tolist()[1:]
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    features = wide(features)
    largest = torch.linalg.vector_norm(features.detach(), math.inf, dim=-1, keepdim=True)
    kind = torch.finfo(features.dtype)
    if bool(((largest > kind.max**0.25) | ((largest < kind.tiny**0.25) & (largest > 0))).any()):
        seen = ~(largest < 64 * kind.tiny)  # written so that NaN stays NaN
        features = torch.where(seen, features / power_of_two(largest), 0.0)
    norm = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    return features / torch.where(norm > 0, norm, 1)


def _checked(features: Tensor, labels: Tensor) -> int:
    if features.ndim != 3:
        raise ValueError(
            f"features have shape {tuple(features.shape)}; wanted [T, B, D], time first: for one step use "
            "features[None]"
        )
    if labels.shape != features.shape[1:2]:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}; wanted one number for each of {features.shape[1]} samples"
        )
    return features.shape[1]
