"""Spike-aware alignment distillation: a spiking language model compared with its teacher, in numbers and in rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Objective, Run, lengths_of
from rules.errors import unknown
from rules.objectives.distillation.internals import (
    INSIDE,
    Counts,
    layers,
    normalised,
    paired,
    require_signals,
    require_steps,
)
from rules.objectives.distillation.projector import Projector, projector
from rules.objectives.distillation.rate_code import RateCode
from rules.objectives.distillation.teachers import answered
from rules.objectives.labels import IGNORED, LABELS, labels_by_step
from rules.objectives.readout import RateCrossEntropy
from rules.steps import wide


class Terms(NamedTuple):
    """One number for each term: weights, those of the paper by default, or losses."""

    embedding: Any = 0.2  # (EA) squared error of the embeddings
    attention: Any = 0.1  # (SAA) of each layer, attention as rates and as numbers
    hidden: Any = 0.1  # (SFA) of each layer, the stream as rates and as numbers
    soft: Any = 0.3  # (STA) divergence from the teacher's outputs
    hard: Any = 0.3  # (HTA) cross-entropy of the next token


class SpikeAwareDistillation(nn.Module, Objective):
    """Spike-aware alignment distillation (SpAD): five terms, of which three look inside of student and teacher.

        L = 0.2 EA + 0.1 SAA + 0.1 SFA + 0.3 STA + 0.3 HTA

        EA    mean (e - e')^2                                                       embeddings
        SAA   mean over layers of  g mean (a - rate(theta a' / max a'))^2 + (1 - g) mean of |n(a) - n(a')|^2
        SFA   mean over layers of  g mean (r - rate(h'))^2 + (1 - g) mean (h - h')^2
        STA   tau^2 KL(softmax(o' / tau) || softmax(o / tau)) of every token
        HTA   cross-entropy of every token

    Primes mark the teacher. `rate(current)` is the mean rate of the student's own neurons under a constant current
    (`RateCode`), theta the current at which they fire at once, `max` that of a query, and `n` divides the attention of
    a query by its sum. `e`, `a`, `r` and `h` are the student's internals "embedding", "attention.k", "rate.k" and
    "hidden.k"; each layer is compared with the teacher's layer at the same relative depth. Where heads differ in
    number, their means are compared, and a single layer is compared with the teacher's last. The teacher is run in
    evaluation mode, nothing trains it, and its work is counted. Tokens that are left out, or behind the end of a text,
    count in no term; a batch has the mean over those that do, and of attention over the keys up to the end of a text.

    Without a teacher the loss is the cross-entropy alone, with weight 1.

    Args:
        teacher: a module that tells the same internals, beside outputs over the same tokens; None for none.
        weights: of the terms, by name: embedding, attention, hidden, soft, hard. Those of the paper by default.
        share: g, of rates in the second and third term, 0 to 1.
        temperature: tau, above 0.
        widths: channels of the student and of the teacher, where these differ: embeddings, streams and rates then pass
            through a projector, which is trained with the student. None where they are equal.
        ignore_index: target of tokens that are left out.
        seed: of the projector's weights.

    Raises:
        ValueError: for an unknown term, a weight below 0, a share outside 0 to 1, a temperature that is not above 0,
            and, when called, for a teacher of other tokens, steps or another width, internals that are missing or of
            another shape, and attention below 0.
        TypeError: for a teacher that is not a module, and weights that are not named.

    >>> run = Run(torch.zeros(3, 2, 4))
    >>> batch = Batch(torch.zeros(3, 2, dtype=torch.int64), targets=torch.zeros(3, 2, dtype=torch.int64))
    >>> round(float(SpikeAwareDistillation()(run, batch)), 4)  # ln 4
    1.3863

    Reference: Guo et al. 2026 (arXiv 2605.13859), known to us from two third-party readings: the terms and their
    weights are given as the paper's, `share`, `temperature` and the projector as those of a third-party implementation.
    What is compared with the rate of a stream, and layers and heads of other number, is our reconstruction.
    """

    timing: ClassVar[Literal["sequence", "step"]] = "sequence"

    def __init__(
        self,
        teacher: nn.Module | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        share: float = 0.5,
        temperature: float = 2.0,
        widths: tuple[int, int] | None = None,
        ignore_index: int = IGNORED,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if teacher is not None and not isinstance(teacher, nn.Module):
            raise TypeError(f"teacher={teacher!r}: give an nn.Module, which takes the same tokens")
        self.weights = weighted({} if weights is None else weights)
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: give the share of rates, from 0 to 1")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature={temperature}: give a number above 0")
        self.share, self.temperature, self.ignore_index = share, temperature, ignore_index
        self._teacher = (teacher,)  # in a tuple, so that it is neither trained nor saved
        self.cross_entropy = RateCrossEntropy(ignore_index=ignore_index)
        differ = teacher is not None and widths is not None and widths[0] != widths[1]
        self.project: nn.Module = projector(*widths, seed) if differ and widths else nn.Identity()

    @property
    def teacher(self) -> nn.Module | None:
        """The teacher."""
        return self._teacher[0]

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # depends on what is compared
        """`labels`, and `internals` under a teacher whose inside is compared."""
        return LABELS | {"internals"} if self.teacher is not None and self.inside else LABELS

    @property
    def inside(self) -> list[str]:
        """The terms with a weight that compare internals."""
        return [name for name in INSIDE if getattr(self.weights, name) > 0]

    def helpers(self) -> tuple[nn.Module, ...]:
        """Return the teacher."""
        return () if self.teacher is None else (self.teacher,)

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores of all tokens that are not left out, and the right tokens."""
        return self.cross_entropy.answers(run, batch)

    def amount(self, batch: Batch) -> float:
        """Return the number of tokens that count."""
        return self.cross_entropy.amount(batch)

    def forward(self, run: Run, batch: Batch) -> Tensor:
        if self.teacher is None:
            return self.cross_entropy(run, batch)
        losses = self.terms(run, batch)
        found = [weight * loss for weight, loss in zip(self.weights, losses, strict=True) if weight > 0]
        return torch.stack(found).sum()

    def reported(self, run: Run, batch: Batch) -> Tensor:
        """Return the cross-entropy alone, which needs no teacher."""
        return self.cross_entropy(run, batch)

    def terms(self, run: Run, batch: Batch) -> Terms:
        """Return the five losses, unweighted; 0 for those without a weight."""
        assert self.teacher is not None
        taught = answered(self.teacher, run, batch)
        require_steps(run, taught)
        if self.inside:
            self.require_internals(run, taught)
        kept = labels_by_step(run, batch, self.ignore_index) != self.ignore_index
        counts = Counts(kept, lengths_of(run, batch))
        made: dict[str, Callable[[Run, Run, Counts], Tensor]] = {
            "embedding": self.of_embedding,
            "attention": self.of_attention,
            "hidden": self.of_hidden,
            "soft": self.of_outputs,
            "hard": lambda run, taught, counts: self.cross_entropy(run, batch),
        }
        zero = run.output.new_zeros(())
        return Terms(
            **{
                name: make(run, taught, counts) if getattr(self.weights, name) > 0 else zero
                for name, make in made.items()
            }
        )

    def of_embedding(self, run: Run, taught: Run, counts: Counts) -> Tensor:
        """Return the mean squared error of the embeddings (EA)."""
        return counts.apart(*self.projected(run.internals["embedding"], taught.internals["embedding"]))

    def of_attention(self, run: Run, taught: Run, counts: Counts) -> Tensor:
        """Return the mean over layers of both comparisons of attention (SAA)."""
        losses = []
        for shown, wanted in paired("attention", run, taught):
            a, b = (shown, wanted) if shown.shape[2] == wanted.shape[2] else (shown.mean(2), wanted.mean(2))
            if a.shape != b.shape:
                raise ValueError(
                    f"attention of the network is {tuple(shown.shape)}, and of the teacher {tuple(wanted.shape)}: both "
                    "tell [L, B, heads, keys] for the same text"
                )
            numbers = counts.mean((normalised(a) - normalised(b)).square().sum(-1))
            rates = None
            if self.share > 0:
                code: RateCode = run.internals["code"]
                most = b.amax(-1, keepdim=True).clamp(min=torch.finfo(b.dtype).tiny)
                apart = (a - code.rate(code.threshold * b / most)).square().sum(-1)  # threshold: fires at once
                rates = counts.mean(apart / counts.keys(a).view(1, -1, *[1] * (apart.ndim - 2)))
            losses.append(self.shared(rates, numbers))
        return torch.stack(losses).mean()

    def of_hidden(self, run: Run, taught: Run, counts: Counts) -> Tensor:
        """Return the mean over layers of both comparisons of the stream (SFA)."""
        losses = []
        told = layers("rate", run) if self.share > 0 else [None] * len(layers("hidden", run))
        for rate, (shown, wanted) in zip(told, paired("hidden", run, taught), strict=True):
            numbers, rates = counts.apart(*self.projected(shown, wanted)), None
            if rate is not None:
                rates = counts.apart(*self.projected(rate, run.internals["code"].rate(wanted)))
            losses.append(self.shared(rates, numbers))
        return torch.stack(losses).mean()

    def shared(self, rates: Tensor | None, numbers: Tensor) -> Tensor:
        """Return both comparisons of a layer together."""
        return numbers if rates is None else self.share * rates + (1 - self.share) * numbers

    def of_outputs(self, run: Run, taught: Run, counts: Counts) -> Tensor:
        """Return tau^2 times the divergence from the teacher, mean over tokens (STA)."""
        tau = self.temperature
        wanted, shown = (torch.log_softmax(wide(each.output) / tau, -1) for each in (taught, run))
        return tau**2 * counts.mean((wanted.exp() * (wanted - shown)).sum(-1))

    def projected(self, shown: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return a signal of the student in the width of the teacher's, and that."""
        if isinstance(self.project, Projector) and shown.shape[-1] != (inputs := self.project.path[0].in_features):
            raise ValueError(f"the network has {shown.shape[-1]} channels, and widths say {inputs}: give its own first")
        found = self.project(shown)
        if found.shape != wanted.shape:
            raise ValueError(
                f"the network has {shown.shape[-1]} channels and the teacher {wanted.shape[-1]}: give "
                f"widths=({shown.shape[-1]}, {wanted.shape[-1]})"
            )
        return found, wanted

    def require_internals(self, run: Run, taught: Run) -> None:
        """Raise ValueError if student or teacher do not tell what is compared."""
        rates = [] if self.share == 0 else [name for name in ("attention", "hidden") if name in self.inside]
        coded = {"code"} if rates else set()
        coded |= {"rate"} if "hidden" in rates else set()
        for who, told, more in (("network", run, coded), ("teacher", taught, set())):
            known = {name.split(".")[0] for name in told.internals}
            for name in sorted({*self.inside, *more} - known):
                other = (
                    "compare numbers alone: share=0"
                    if name in coded
                    else f"leave the term out: weights={{'{name}': 0}}"
                )
                raise ValueError(
                    f"the {who} does not tell {name!r}, which SpAD compares: let it return rules.Run(output, "
                    f"internals={{{name!r}: ...}}), or {other}"
                )
            require_signals(who, told)


def weighted(given: Mapping[str, float]) -> Terms:
    """Return the weights, those of the paper by default; raise ValueError for an unknown term or one below 0."""
    if not isinstance(given, Mapping):
        raise TypeError(f"weights={given!r}: give a dict, such as {{'attention': 0.0}}")
    for name, value in given.items():
        if name not in Terms._fields:
            raise unknown("term", name, Terms._fields)
        if not 0 <= value < math.inf:
            raise ValueError(f"weights[{name!r}]={value}: give a finite weight of at least 0")
    found = Terms(**given)
    if not any(found):
        raise ValueError("all weights are 0: leave one above 0")
    return found
