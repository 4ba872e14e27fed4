"""How good answers are, added up over batches: accuracy of classes, R2 and RMSE of numbers, F1 of sets of labels.

Each has `add(answers, truth)`, with one row for each answer, and `report()`. The first number of a report is the one by
which models are selected.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Protocol

import torch
from torch import Tensor


class Measure(Protocol):
    """Adds up answers over batches."""

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """Add the answers `[n, k]` of a batch, and what would be right."""
        ...

    def report(self) -> dict[str, float]:
        """Return the measures over all batches; empty where there is nothing to judge."""
        ...


class Accuracy:
    """`accuracy`, the share of rows whose largest entry is the right class; nothing where truths are not classes.

    Of equal entries the first counts, so that a silent network answers class 0 throughout. `ties`, where there are any,
    is the share of rows whose largest entry is not the only one.

    >>> counted = Accuracy()
    >>> counted.add(torch.tensor([[1.0, 0.0], [0.2, 0.3], [0.0, 0.0], [2.0, 2.0]]), torch.tensor([0, 0, 0, 1]))
    >>> counted.report()
    {'accuracy': 0.5, 'ties': 0.5}
    """

    def __init__(self) -> None:
        self.hits = self.tied = self.rows = 0
        self.classes: Counter[int] = Counter()  # rows of each

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """Add evidence `[n, classes]` and class numbers `[n]`."""
        if truth.ndim != 1 or truth.dtype != torch.int64:
            return
        if not len(truth):
            return
        self.hits += int((answers.argmax(-1) == truth).sum())
        self.tied += int(((answers == answers.amax(-1, keepdim=True)).sum(-1) > 1).sum())
        self.rows += len(truth)
        found, sizes = truth.unique(return_counts=True)
        self.classes.update(dict(zip(found.cpu().tolist(), sizes.cpu().tolist(), strict=True)))

    @property
    def guess(self) -> float:
        """The accuracy of the best answer that is always the same, the share of the most frequent class."""
        return max(self.classes.values()) / self.rows

    def report(self) -> dict[str, float]:
        """Return `accuracy`, and `ties` where there are any."""
        if not self.rows:
            return {}
        return {"accuracy": self.hits / self.rows, **({"ties": self.tied / self.rows} if self.tied else {})}


class Regression:
    """`r2`, the share of the variance that is explained, and `rmse`, the root mean square error.

        r2 = mean over outputs of 1 - sum (a - y)^2 / sum (y - mean y)^2

    over all rows of all batches; an output whose truths are all equal counts 1 if it is right everywhere, otherwise 0,
    as in scikit-learn. Sums are in float64; variances of batches are joined as in Chan et al. 1983, which keeps their
    precision where the mean is large.

    >>> counted = Regression()
    >>> counted.add(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
    >>> {name: round(value, 4) for name, value in counted.report().items()}  # 1 - 1/2, sqrt(1/2)
    {'r2': 0.5, 'rmse': 0.7071}
    """

    def __init__(self) -> None:
        self.rows = 0
        self.errors = self.mean = self.spread = torch.zeros((), dtype=torch.float64)

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """Add predictions `[n, k]` and the right values `[n, k]`."""
        answers, truth = answers.detach().double().cpu(), truth.detach().double().cpu()
        if not len(truth):
            return
        here = truth.mean(0)
        away, rows = here - self.mean, self.rows + len(truth)
        self.spread = self.spread + (truth - here).square().sum(0) + away.square() * self.rows * len(truth) / rows
        self.mean = self.mean + away * len(truth) / rows
        self.errors = self.errors + (answers - truth).square().sum(0)
        self.rows = rows

    def report(self) -> dict[str, float]:
        """Return `r2` and `rmse`."""
        if not self.rows:
            return {}
        constant = torch.where(self.errors == 0, 1.0, 0.0).double()
        explained = torch.where(self.spread > 0, 1 - self.errors / self.spread, constant)
        return {"r2": float(explained.mean()), "rmse": math.sqrt(float(self.errors.mean()) / self.rows)}


class MultiLabel:
    """`f1` over all labels of all samples (micro), and `exact_match`, the share of samples with every label right.

        f1 = 2 hits / (2 hits + false alarms + misses)

    A label is given where its logit is above 0, that is, where its probability is above 1/2.

    >>> counted = MultiLabel()
    >>> counted.add(torch.tensor([[3.0, -1.0], [2.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    >>> counted.report()
    {'f1': 0.8, 'exact_match': 0.5}
    """

    def __init__(self) -> None:
        self.hits = self.wrong = self.exact = self.rows = 0

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """Add logits `[n, labels]` and the right labels `[n, labels]`, 0 or 1."""
        given, right = answers > 0, truth > 0.5
        self.hits += int((given & right).sum())
        self.wrong += int((given != right).sum())
        self.exact += int((given == right).all(-1).sum())
        self.rows += len(truth)

    def report(self) -> dict[str, float]:
        """Return `f1`, 0 where no label is given or right, and `exact_match`."""
        if not self.rows:
            return {}
        return {"f1": 2 * self.hits / max(2 * self.hits + self.wrong, 1), "exact_match": self.exact / self.rows}
