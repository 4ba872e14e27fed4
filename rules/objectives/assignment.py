"""Read-outs of what cells learned without labels: each cell stands for a class, or a linear classifier reads them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rules.contract import Batch, Objective, Run, lengths_of
from rules.fields import admit
from rules.objectives.labels import IGNORED, LABELS
from rules.steps import mean


class ReadOut(nn.Module, Objective):
    """Base class of read-outs that are fitted to the rates of cells, and teach nothing.

    `rules.Trainer.fit_read_out(loader)` fits them to labelled samples: the model runs and does not learn. Runs of
    `sandbox` do so before each evaluation, on training samples. The rates are spikes for each step of the last layer
    that fires, or of the output where no recorded layer does. The loss that an evaluation reports is
    the cross-entropy of the scores of `Probe`, and the share of wrong answers of `Assignment`.

    Raises:
        ValueError: for scores before a fit, or of other cells than in the fit.
    """

    needs: ClassVar[frozenset[str]] = LABELS | {"layers"}
    teaches: ClassVar[bool] = False

    weight: Tensor  # [cells, classes]
    offset: Tensor  # [classes]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(0, 0))
        self.register_buffer("offset", torch.zeros(0))

    def rates(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        """Return the rate of each cell, `[B, cells]`, in spikes for each step that counts."""
        return mean(heard(run), lengths)

    def fit(self, found: Iterable[tuple[Run, Batch]]) -> None:
        """Fit the read-out to runs of labelled batches; samples of class -100 have no label, and are left out.

        Raises:
            ValueError: for batches without a class for each sample, no batch, and no label at all.
        """
        rates, classes = [], []
        for run, batch in found:
            if batch.y is None or batch.y.ndim != 1 or batch.y.is_floating_point():
                seen = "none" if batch.y is None else f"{batch.y.dtype} {tuple(batch.y.shape)}"
                raise ValueError(
                    f"{type(self).__name__} is fitted to samples with a class each, y of shape [B], and these have "
                    f"{seen}: hand fit_read_out a loader of (x, y)"
                )
            rates.append(self.rates(run, lengths_of(run, batch)).detach())
            classes.append(batch.y.long())
        if not rates:
            raise ValueError("fit_read_out got no batch: hand it the labelled samples once more, as a list or a loader")
        x, y = torch.cat(rates), torch.cat(classes)
        x, y = x[y != IGNORED], y[y != IGNORED]
        if not len(y):
            raise ValueError(f"every label is {IGNORED}, which means none: a read-out is fitted to labelled samples")
        if int(y.min()) < 0:
            raise ValueError(f"y holds {int(y.min())}: classes count from 0, and {IGNORED} stands for none")
        self.weight, self.offset = self.fitted(x, y, int(y.max()) + 1)

    @abstractmethod
    def fitted(self, rates: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Return `weight [cells, classes]` and `offset [classes]` for rates `[n, cells]` and classes `[n]`."""

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        """Return `rates weight + offset`, `[B, classes]`."""
        rates = self.rates(run, lengths)
        if not self.weight.numel():
            raise ValueError(
                f"{type(self).__name__} has not been fitted: trainer.fit_read_out(loader) with labelled samples, after "
                "learning"
            )
        if rates.shape[1] != len(self.weight):
            raise ValueError(
                f"{type(self).__name__} was fitted to {len(self.weight)} cells, and this run has {rates.shape[1]}: fit "
                "it anew, trainer.fit_read_out(loader)"
            )
        return rates @ self.weight.to(rates) + self.offset.to(rates)

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores and classes of samples that have one."""
        scores, y = super().answers(run, batch)
        return scores[y != IGNORED], y[y != IGNORED]

    def __call__(self, run: Run, batch: Batch) -> Tensor:  # not through nn.Module, which has nothing to hook here
        scores, y = self.answers(run, batch)
        return self.loss(scores, y)

    @abstractmethod
    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return what an evaluation reports as the loss, a scalar."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        for name in ("weight", "offset"):  # of any size
            if (kept := state_dict.get(prefix + name)) is not None:
                setattr(self, name, kept.clone().to(getattr(self, name).device))
        super()._load_from_state_dict(dict(state_dict), prefix, *others)


class Assignment(ReadOut):
    """Each cell stands for the class that it answers most; the score of a class is the mean rate of its cells.

    A cell that fires for no sample stands for none, and a class without a cell has a score of 0.

    >>> spikes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # [T=1, B=2, cells=2]
    >>> read = Assignment()
    >>> read.fit([(Run(spikes), Batch(spikes, torch.tensor([1, 0])))])
    >>> read.scores(Run(spikes)).argmax(1).tolist()
    [1, 0]

    Reference: Diehl & Cook 2015 (doi 10.3389/fncom.2015.00099), the highest average rate of the cells of a class.
    """

    def fitted(self, rates: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        of = F.one_hot(y, classes).to(rates)
        answer = (of.T @ rates) / of.sum(0).clamp(min=1)[:, None]  # [classes, cells]
        stands = F.one_hot(answer.argmax(0), classes).to(rates) * (answer.sum(0) > 0)[:, None]
        return stands / stands.sum(0).clamp(min=1), rates.new_zeros(classes)

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        return (scores.argmax(1) != y).to(scores).mean()


class Probe(ReadOut):
    """A linear classifier of the rates, fitted to the least cross-entropy: multinomial logistic regression.

        minimise  mean CE(z W + b, y) + decay / 2 |W|^2,   z the rates in units of their largest standard deviation

    Args:
        decay: of the weights, 1e-3 by default.

    Raises:
        ValueError: for a negative decay.

    >>> spikes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> read = Probe(decay=0.1)
    >>> read.fit([(Run(spikes), Batch(spikes, torch.tensor([1, 0])))])
    >>> read.scores(Run(spikes)).argmax(1).tolist()
    [1, 0]

    Reference: Alain & Bengio 2017 (arXiv 1610.01644), for linear classifiers as probes; recalled.
    """

    def __init__(self, decay: float = 1e-3) -> None:
        super().__init__()
        self.decay = admit("decay", decay, float)
        if not self.decay >= 0:
            raise ValueError(f"decay={decay}: give 0 or more")

    def fitted(self, rates: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        scale = rates.double().std(0, correction=0).max().clamp(min=1e-12)
        z = rates.double() / scale
        weight = z.new_zeros(z.shape[1], classes, requires_grad=True)
        offset = z.new_zeros(classes, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, offset],
            max_iter=ITERATIONS,
            tolerance_grad=1e-9,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = F.cross_entropy(z @ weight + offset, y) + self.decay / 2 * weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        return (weight.detach() / scale).to(rates), offset.detach().to(rates)

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(scores, y)


ITERATIONS = 500  # of L-BFGS, which stops by itself where the gradient is 0


def heard(run: Run) -> Tensor:
    """Return what the last layer that fires puts out, `[T, B, cells]`, or the output of the run if no layer fires.

    A layer fires if its outputs are numbers of spikes, 0, 1 or more in a step, and not its membranes themselves.

    >>> heard(Run(torch.full((1, 1, 2), 0.5))).tolist()
    [[[0.5, 0.5]]]
    """
    for trace in reversed(run.traces):
        whole = bool(((trace.post >= 0) & (trace.post == trace.post.round())).all())
        if whole and not torch.equal(trace.post, trace.u):
            return trace.post[: len(run.output)].flatten(2)  # the first steps alone, where no more are asked about
    return run.output.flatten(2)
