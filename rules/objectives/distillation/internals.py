"""What student and teacher tell of their inside: signals of every layer, checked, paired, and averaged."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rules.contract import Run

INSIDE = ("embedding", "attention", "hidden")  # terms that compare internals


class Counts(NamedTuple):
    """The tokens that count."""

    tokens: Tensor  # [L, B] bool
    lengths: Tensor | None  # [B]

    def mean(self, losses: Tensor) -> Tensor:
        """Return the mean of losses `[L, B, ...]` over the tokens that count."""
        return losses[self.tokens].mean()

    def apart(self, shown: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean squared error of two signals `[L, B, ...]`."""
        return self.mean((shown - wanted).square())

    def keys(self, attention: Tensor) -> Tensor:
        """Return the number of keys up to the end of each text, `[B]`, those of an earlier part included."""
        steps, samples, keys = len(attention), attention.shape[1], attention.shape[-1]
        behind = 0 if self.lengths is None else (steps - self.lengths).clamp(min=0)
        return attention.new_full((samples,), keys) - behind


def require_steps(run: Run, taught: Run) -> None:
    """Raise ValueError for a teacher that answers at other steps than the network."""
    if len(run.output) != len(taught.output):
        raise ValueError(
            f"the teacher answers at {len(taught.output)} of {len(run.output)} tokens, and SpAD compares every token: "
            "let it return the scores of all of them, [L, B, tokens], also where no targets are given"
        )


def require_signals(who: str, run: Run) -> None:
    """Raise ValueError for internals that do not begin with the axes of the output, and for attention below 0."""
    wanted = tuple(run.output.shape[:2])
    for name, part in run.internals.items():
        kind = name.split(".")[0]
        if kind in (*INSIDE, "rate") and (part.ndim != (4 if kind == "attention" else 3) or part.shape[:2] != wanted):
            raise ValueError(
                f"{name} of the {who} is {list(part.shape)}; wanted time and samples first, as in its output, "
                f"[{wanted[0]}, {wanted[1]}, {'heads, keys' if kind == 'attention' else 'channels'}]"
            )
        if kind == "attention" and bool((part < 0).any() or part.isinf().any()):
            raise ValueError(f"{name} of the {who} has entries below 0 or infinite: tell weights of keys, not scores")


def layers(name: str, run: Run) -> list[Tensor]:
    """Return an internal of every layer, first to last; raise ValueError unless they are numbered from 0."""
    told = [key for key in run.internals if key.startswith(f"{name}.")]
    wanted = [f"{name}.{number}" for number in range(len(told))]
    if sorted(told) != sorted(wanted) or name in run.internals:
        held = [key for key in sorted(run.internals) if key.split(".")[0] == name]
        raise ValueError(f"internals are {', '.join(held)}; wanted one a layer, from the first on: {name}.0, {name}.1")
    return [run.internals[key] for key in wanted]


def paired(name: str, run: Run, taught: Run) -> list[tuple[Tensor, Tensor]]:
    """Return an internal of every layer of the student, with that of the teacher's layer at the same relative depth.

    A single layer is compared with the last.
    """
    shown, wanted = layers(name, run), layers(name, taught)
    last = len(shown) - 1
    return [
        (each, wanted[round((place / last if last else 1) * (len(wanted) - 1))]) for place, each in enumerate(shown)
    ]


def normalised(attention: Tensor) -> Tensor:
    """Return attention whose rows add up to 1; a row of zeros stays one."""
    total = attention.sum(-1, keepdim=True)
    return attention / torch.where(total > 0, total, 1.0)
