"""Copies of a model that each differ in one weight; their losses are computed at once or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rules.credit.zero_order.flat.asking import Asking, Joined
from rules.credit.zero_order.sharing import generator
from rules.forward import map_tensors, run_model
from rules.spikes.surrogate import differentiating


class Chunk(NamedTuple):
    """Weights of one parameter that are perturbed in one call."""

    name: str
    places: Tensor  # indices in the flattened parameter


def divided(chosen: Tensor, parameters: Mapping[str, Tensor], size: Callable[[Tensor], int]) -> Iterator[Chunk]:
    """Divide chosen weights, numbered across all parameters, into chunks of at most `size(parameter)`.

    >>> [c.places.tolist() for c in divided(torch.tensor([0, 2, 3, 5]), {"a": torch.ones(4), "b": torch.ones(2)},
    ...                                     lambda p: 2)]
    [[0, 2], [3], [1]]
    """
    first = 0
    for name, p in parameters.items():
        here = chosen[(chosen >= first) & (chosen < first + p.numel())] - first
        for start in range(0, len(here), size(p)):
            yield Chunk(name, here[start : start + size(p)])
        first += p.numel()


class Copies:
    """Slopes of the loss along single weights, by central differences, or forward ones from a known loss `centre`."""

    def __init__(
        self, asking: Asking, step_for: Callable[[torch.dtype], float], centre: float | None, together: bool
    ) -> None:
        self.asking, self.step_for, self.centre = asking, step_for, centre
        self.losses = self.at_once if together and asking.read is None else self.in_turn
        self.joined = Joined(asking.model, asking.objective.module())

    def slopes(self, chunks: Sequence[Chunk]) -> Tensor:
        """Return a row of slopes for each chunk, with zeros behind the shorter ones."""
        rows = [self.slope(chunk) for chunk in chunks]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def slope(self, chunk: Chunk) -> Tensor:
        """Return `[l(w + mu) - l(w - mu)] / 2 mu` for each place, where 2 mu is the step after rounding."""
        p = self.asking.parameters[chunk.name]
        here = p.detach().flatten()[chunk.places.to(p.device)]
        step = self.step_for(p.dtype)
        ahead, behind = here + step, here - step if self.centre is None else here
        found = self.losses(chunk, ahead).double().cpu()
        base = self.losses(chunk, behind).double().cpu() if self.centre is None else self.centre
        return (found - base) / (ahead.double() - behind.double()).cpu()

    def at_once(self, chunk: Chunk, values: Tensor) -> Tensor:
        """Return the losses with each value in its place, all copies stacked.

        Raises RuntimeError if vmap cannot run the model or the objective.
        """
        asking, p = self.asking, self.asking.parameters[chunk.name]
        stacked = p.detach().flatten().repeat(len(values), 1)  # [copies, weights]
        stacked[torch.arange(len(values)), chunk.places] = values

        def ask() -> Tensor:
            return asking.objective(run_model(asking.model, asking.views, asking.objective.needs), asking.views)

        def one(weights: Tensor) -> Any:
            return self.joined.replacing({chunk.name: weights.view(p.shape)}, ask)

        try:
            with torch.no_grad(), asking.counted(len(values)), differentiating(generator=generator(asking.noise)):
                losses: Tensor = torch.func.vmap(one, randomness="same")(stacked)
        except Exception as error:
            raise RuntimeError(
                f"{type(asking.model).__name__} cannot be run as {len(values)} copies at once "
                f"({type(error).__name__}: {error}); use CoordinateWise(together=False)"
            ) from error
        return losses

    def in_turn(self, chunk: Chunk, values: Tensor) -> Tensor:
        """Return the losses with each value in its place, one after the other; weights are restored to the last bit."""
        p = self.asking.parameters[chunk.name]
        return torch.tensor(
            [self.moved(p, place, value) for place, value in zip(chunk.places, values, strict=True)],
            dtype=torch.float64,
        )

    def moved(self, p: Tensor, place: Tensor, value: Tensor) -> float:
        """Return the loss with one weight at another value."""
        at = torch.unravel_index(place, p.shape)
        before = p.data[at].clone()
        try:
            p.data[at] = value
            return self.asking.loss()
        finally:
            p.data[at] = before


class Widest:
    """A context that finds the largest count of numbers that a module takes and returns in one call."""

    def __init__(self, model: nn.Module) -> None:
        self.numbers = 0
        self._model = model
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Widest:
        self._handles = [module.register_forward_hook(self._look) for module in self._model.modules()]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    def _look(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        sizes: list[int] = []
        map_tensors(partial(self._add, sizes), (inputs, output))
        self.numbers = max(self.numbers, sum(sizes))

    @staticmethod
    def _add(sizes: list[int], tensor: Tensor) -> None:
        sizes.append(tensor.numel())
