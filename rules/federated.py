"""Federated averaging: replicas that learn from data of their own, and whose weights are averaged in each round."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.optional import method_of
from rules.recipes import LearningRule
from rules.seeds import derived, seeded
from rules.trainer import StepInfo, Trainer

WORKERS = 5


class Round(NamedTuple):
    """What happened between two averages."""

    number: int  # from 1
    infos: tuple[tuple[StepInfo, ...], ...]  # of each worker, the steps that it has taken
    apart: float  # largest distance of a weight from the average, before it was replaced


def divide(samples: int, workers: int = WORKERS, seed: int = 0) -> list[Tensor]:
    """Return the samples of each worker, disjoint and in random order; the first ones have one more.

    Args:
        samples: how many there are.
        workers: how many share them, 5 by default.
        seed: of the order.

    Raises:
        ValueError: for more workers than samples, or none.

    >>> [len(share) for share in divide(12)]
    [3, 3, 2, 2, 2]
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: give at least 1")
    if workers > samples:
        raise ValueError(f"{workers} workers cannot share {samples} samples: give at most {samples} workers")
    order = torch.randperm(samples, generator=seeded(seed, "shares of workers"))
    return list(order.tensor_split(workers))


class Federation:
    """Workers that train replicas of a model, and average them after every `local` steps.

        w <- sum_k n_k w_k / sum_k n_k,    n_k the samples that worker k has seen in the round

    Weights, floating-point buffers, and what an objective trains are averaged; the state of each optimizer and the
    generators stay with their worker. Other buffers are those of the first worker. All workers begin with the state of
    the first one's rule, such as its feedback weights. They take turns in this process: as none of them sees another
    between two averages, the result is that of separate machines. With one worker it is that of `Trainer.fit`, bit for
    bit. A worker whose epochs are over waits, and takes no part in averages.

    Args:
        model: is not changed; `federation.model` is the average.
        rule: a `LearningRule`, or a name in `RULES`.
        loaders: one for each worker, of samples of its own (`divide`), as `Trainer.fit` takes them.
        local: steps of each worker in a round, 1 by default.
        epochs: of each worker over its own samples, 1 by default.
        seed: of every random draw, 0 by default; the first worker has this seed itself.
        options: other arguments of `Trainer`.

    Raises:
        ValueError: for no loader, one that can be read only once, less than one local step, and, among several
            workers, weights that are held in devices.

    >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch...>
    >>> federation = Federation(nn.Linear(2, 2), "bptt", [[(x[own], y[own])] for own in divide(40)], epochs=20)
    >>> losses = [sum(infos[0].loss for infos in each.infos) / 5 for each in federation.rounds()]
    >>> losses[-1] < losses[0]
    True

    Reference: McMahan et al. 2017 (arXiv 1602.05629), algorithm 1, with every worker in every round.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: LearningRule | str,
        loaders: Sequence[Iterable[Any]],
        *,
        local: int = 1,
        epochs: int = 1,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if not loaders:
            raise ValueError("a federation needs a loader for each worker: rules.federated.divide shares samples out")
        for worker, loader in enumerate(loaders):
            if len(loaders) > 1 and iter(loader) is loader:
                raise ValueError(
                    f"the loader of worker {worker} is an iterator, which can be read only once; hand over a list or a "
                    "DataLoader"
                )
        if local < 1:
            raise ValueError(f"local={local}: give at least one step of each worker in a round")
        seeds = [seed, *(derived(seed, "worker", worker) for worker in range(1, len(loaders)))]
        self.trainers = [Trainer(copy.deepcopy(model), rule, seed=each, **options) for each in seeds]
        self.loaders, self.local, self.epochs = loaders, local, epochs

    @property
    def model(self) -> nn.Module:
        """The model of the first worker: after a round, the average."""
        return self.trainers[0].model

    def rounds(self) -> Iterator[Round]:
        """Learn, yielding after every average, until all workers have seen their epochs."""
        self._begin()
        running = [
            trainer.fit(loader, self.epochs) for trainer, loader in zip(self.trainers, self.loaders, strict=True)
        ]
        number = 0
        while any(infos := tuple(tuple(islice(each, self.local)) for each in running)):
            number += 1
            yield Round(number, infos, self._average([sum(info.samples for info in each) for each in infos]))

    def _begin(self) -> None:
        """Prepare all trainers, and give them the state of the first one's rule; one alone prepares itself."""
        if len(self.trainers) == 1:
            return
        for trainer, loader in zip(self.trainers, self.loaders, strict=True):
            trainer.begin(next(trainer.rest_of(loader, 0)))
            if method_of(trainer.optimizer, "held") is not None:
                raise ValueError(
                    f"{type(trainer.optimizer).__name__} holds weights of its own, which an average cannot set: use a "
                    "rule with ideal weights, such as rules.make('bptt')"
                )
        for trainer in self.trainers[1:]:
            trainer.state = copy.deepcopy(self.trainers[0].state)

    def _average(self, seen: list[int]) -> float:
        """Give all workers the mean over those that have learned; return how far apart a weight was, at most."""
        if len(self.trainers) == 1:
            return 0.0
        apart = 0.0
        held = [_held(trainer) for trainer in self.trainers]
        for name, first in held[0].items():
            parts = [each[name] for each in held]
            mean = first.clone()
            if first.is_floating_point():  # whole numbers of samples: the mean of equal weights is each of them
                learned = [(part.double(), count) for part, count in zip(parts, seen, strict=True) if count]
                mean = torch.stack([part * count for part, count in learned]).sum(0) / sum(seen)
                apart = max(apart, *(float((part - mean).abs().max()) for part, _ in learned))
            for part in parts:
                part.copy_(mean)
        return apart


@torch.no_grad()
def _held(trainer: Trainer) -> dict[str, Tensor]:
    """Return the parameters and buffers of a trainer's model and of its objective, by name."""
    parts = {"model": trainer.model, "objective": trainer.rule.objective.module()}
    return {
        f"{place}.{name}": tensor.detach()
        for place, part in parts.items()
        if part is not None
        for name, tensor in [*part.named_parameters(), *part.named_buffers()]
        if tensor.numel()
    }
