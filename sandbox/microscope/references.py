"""The registry of references, and backpropagation through time as one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rules.credit.bptt import BPTT
from rules.errors import unknown
from rules.fields import check_fields
from sandbox.microscope.differences import Differences
from sandbox.microscope.frozen import Frozen
from sandbox.microscope.reference import CannotRun, Known, Reference
from sandbox.microscope.smoothed import Smoothed

__all__ = ["REFERENCES", "Backpropagation", "CannotRun", "Known", "Reference", "reference_of"]


@dataclass(frozen=True)
class Backpropagation(Reference):
    """Backpropagation through time, `rules.BPTT().assign`, with the surrogates of the model's neurons.

    Several windows, compared with no window, show how far back in time a rule's credit reaches. For a stochastic model,
    each draw of the rule gets a gradient of its own from the same random numbers.

    Args:
        window: steps after which the gradient of the state is cut; None, the default, for never.

    Raises:
        ValueError: the window is below 1.

    >>> Backpropagation().label, Backpropagation(window=5).label
    ('bptt', 'bptt of 5 steps')
    """

    window: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        self._rule()

    def _rule(self) -> BPTT:
        return BPTT(window=self.window)

    @property
    def label(self) -> str:
        """The name, with the window where there is one."""
        return "bptt" if self.window is None else f"bptt of {self.window} steps"

    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """Return one gradient, or one for each draw where the model is stochastic."""
        found = []
        for number in range(draws):
            with frozen.draw(number) as draw:
                try:
                    credit = self._rule().assign(frozen.model, frozen.objective, frozen.batch, (), draw.rng)
                except Exception as error:  # a model that is not made for autograd may raise anything
                    raise CannotRun(f"{type(error).__name__}: {error}") from error
            found.append(credit.grads)
            if not draw.used:
                break
        names = [name for name in frozen.layers if name in found[0]]
        return Known({name: torch.stack([grads[name] for grads in found]) for name in names}, paired=len(found) > 1)


REFERENCES: dict[str, Callable[..., Reference]] = {
    "bptt": Backpropagation,
    "differences": Differences,
    "smoothed": Smoothed,
}


def reference_of(name: str | Reference) -> Reference:
    """Return a reference by its name, or unchanged if it is one; raise ValueError for an unknown name."""
    if isinstance(name, Reference):
        return name
    if name not in REFERENCES:
        raise unknown("reference", name, REFERENCES)
    return REFERENCES[name]()
