"""An objective around another, to which it passes on whatever it does not override."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Objective, Run
from rules.measures import Measure


class Around(Objective):
    """An objective that wraps another, `inner`, as `rules.contract.Holding` wraps a credit."""

    inner: Objective

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return self.inner.needs

    @property
    def timing(self) -> Literal["sequence", "step"]:  # type: ignore[override]
        return self.inner.timing

    def shares(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        """Return the shares of the wrapped objective."""
        return self.inner.shares(batch)

    def extent(self, batch: Batch) -> float:
        """Return that of the wrapped objective."""
        return self.inner.extent(batch)

    def amount(self, batch: Batch) -> float:
        """Return that of the wrapped objective."""
        return self.inner.amount(batch)

    def views(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return the views of the wrapped objective."""
        return self.inner.views(batch, rng)

    def examined(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return that of the wrapped objective."""
        return self.inner.examined(batch, rng)

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        """Return the scores of the wrapped objective."""
        return self.inner.scores(run) if lengths is None else self.inner.scores(run, lengths)

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the answers of the wrapped objective."""
        return self.inner.answers(run, batch)

    def measure(self) -> Measure:
        """Return the measure of the wrapped objective."""
        return self.inner.measure()

    def reported(self, run: Run, batch: Batch) -> Tensor:
        """Return the reported loss of the wrapped objective."""
        return self.inner.reported(run, batch)

    def module(self) -> nn.Module | None:
        """Return the module of the wrapped objective."""
        return self.inner.module()

    def helpers(self) -> tuple[nn.Module, ...]:
        """Return the helpers of the wrapped objective."""
        return self.inner.helpers()

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return self.inner(run, batch)
