"""Copies of a model that each differ in one weight; their losses are computed at once or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rules.credit.zero_order.flat.asking import Asking, Joined
from rules.credit.zero_order.flat.chunks import Chunk
from rules.credit.zero_order.flat.one_unit import Meeting, OneUnit
from rules.credit.zero_order.sharing import generator
from rules.forward import map_tensors, run_model
from rules.spikes.surrogate import differentiating


class Copies:
    """Slopes of the loss along single weights, by central differences, or forward ones from a known loss `centre`.

    `steps` are those of each parameter.
    """

    def __init__(
        self,
        asking: Asking,
        steps: Mapping[str, float],
        centre: float | None,
        together: bool,
        size: Callable[[Tensor], int],
        one: OneUnit | None = None,
    ) -> None:
        self.asking, self.steps, self.centre, self.size, self.one = asking, steps, centre, size, one
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
        step = self.steps[chunk.name]
        ahead, behind = here + step, here - step if self.centre is None else here
        ends = [ahead, behind] if self.centre is None else [ahead]
        span = (ahead.double() - behind.double()).cpu()
        if self.one is not None and chunk.name in self.one.ways:
            try:
                changes = self.one.changes(chunk, torch.stack([end - here for end in ends])).cpu()
                return (changes[0] - (changes[1] if self.centre is None else 0)) / span
            except Meeting:  # copies have changed each other: whole passes, from here on
                self.one.ways.clear()
        found = [torch.cat(list(map(self.losses, *self.pieces(chunk, end)))).double().cpu() for end in ends]
        return (found[0] - (found[1] if self.centre is None else self.centre)) / span

    def pieces(self, chunk: Chunk, values: Tensor) -> tuple[list[Chunk], list[Tensor]]:
        """Return the parts of a chunk, and of its values, of which copies fit into memory."""
        size = self.size(self.asking.parameters[chunk.name])
        return [chunk._replace(places=some) for some in chunk.places.split(size)], list(values.split(size))

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
