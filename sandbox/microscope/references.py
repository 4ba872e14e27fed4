"""The references by name, and backpropagation through time as one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rules.credit.bptt import BPTT
from rules.errors import unknown
from sandbox.microscope.differences import Differences
from sandbox.microscope.frozen import Frozen
from sandbox.microscope.reference import CannotRun, Known, Reference
from sandbox.microscope.smoothed import Smoothed

__all__ = ["REFERENCES", "Backpropagation", "CannotRun", "Known", "Reference", "reference_of"]


@dataclass(frozen=True)
class Backpropagation(Reference):
    """`rules.BPTT().assign`: backpropagation through time, with the surrogates that the model's neurons have.

    `window` cuts the gradient of the state every so many steps: beside the whole, windows of several lengths show how
    far back in time a rule's credit reaches. Where the model throws dice, every draw of the rule has a gradient of its
    own, made with the same dice. Raises ValueError for a window below 1.

    >>> Backpropagation().label, Backpropagation(window=5).label
    ('bptt', 'bptt of 5 steps')
    """

    window: int | None = None

    def __post_init__(self) -> None:
        self._rule()

    def _rule(self) -> BPTT:
        return BPTT(window=self.window)

    @property
    def label(self) -> str:
        """Its name, and the window where there is one."""
        return "bptt" if self.window is None else f"bptt of {self.window} steps"

    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """One gradient, or one for each draw where the model throws dice."""
        found = []
        for number in range(draws):
            with frozen.dice(number) as thrown:
                try:
                    credit = self._rule().assign(frozen.model, frozen.objective, frozen.batch, (), thrown.rng)
                except Exception as error:  # a model that was not made for autograd may raise anything
                    raise CannotRun(f"{type(error).__name__}: {error}") from error
            found.append(credit.grads)
            if not thrown.any:
                break
        names = [name for name in frozen.layers if name in found[0]]
        return Known({name: torch.stack([grads[name] for grads in found]) for name in names}, paired=len(found) > 1)


REFERENCES: dict[str, Callable[..., Reference]] = {
    "bptt": Backpropagation,
    "differences": Differences,
    "smoothed": Smoothed,
}


def reference_of(name: str | Reference) -> Reference:
    """A reference by its name, or as it is; an unknown name is a ValueError that lists the valid ones."""
    if isinstance(name, Reference):
        return name
    if name not in REFERENCES:
        raise unknown("reference", name, REFERENCES)
    return REFERENCES[name]()
