"""Draws divided between processes, which exchange seeds and losses but no directions or gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from rules.contract import Cost
from rules.diagnostics.nonfinite import NonFinite
from rules.processes import processes, rank, summed


def generator(seed: int) -> torch.Generator:
    """Return a generator that starts at a seed."""
    return torch.Generator().manual_seed(seed)


def seeds(count: int, rng: torch.Generator) -> list[int]:
    """Draw seeds; all processes get those of the first one.

    >>> len(set(seeds(5, generator(0)))), seeds(5, generator(0)) == seeds(5, generator(0))
    (5, True)
    """
    drawn = torch.randint(2**62, (count,), generator=rng)
    first: list[int] = summed(drawn if rank() == 0 else torch.zeros_like(drawn)).tolist()
    return first


def shared(count: int, width: int, measure: Callable[[range], Tensor], cause: str) -> Tensor:
    """Divide measurements between processes and return all of them, `[count, width]` in float64.

    `measure` takes some of the numbers below `count` and returns a row for each, `[numbers, width]`. Raises NonFinite,
    in all processes, for a NaN or an infinity; the message advises to lower `cause`.

    >>> shared(3, 1, lambda numbers: torch.tensor([[10.0 * n] for n in numbers]), "step=1").flatten().tolist()
    [0.0, 10.0, 20.0]
    """
    found = torch.zeros(count, width, dtype=torch.float64)
    mine = range(rank(), count, processes())
    if mine:
        found[list(mine)] = measure(mine).to(found)
    found = summed(found)  # each entry plus zeros, hence the same bits for any number of processes
    bad = (~found.isfinite()).nonzero()[:1].tolist()
    if bad:
        raise NonFinite(
            f"probe {bad[0][0]} of {count} gave a loss of {float(found[tuple(bad[0])])}; lower {cause}, "
            "the learning rate or the input scale, or look for a log or a division behind it"
        )
    return found


def whole(cost: Cost) -> Cost:
    """Return the cost of all processes together."""
    return Cost(*summed(torch.tensor([*vars(cost).values()])).tolist()) if processes() > 1 else cost


def require_likeness(tensors: Iterable[Tensor]) -> None:
    """Raise ValueError, in all processes, if their weights or batches differ; they must divide only draws.

    The tolerance is 1e-12 of the sum in float64: above rounding errors, and below the difference of another batch.
    """
    if processes() == 1:
        return
    own = torch.stack([tensor.detach().sum(dtype=torch.float64).cpu() for tensor in tensors])
    mean = summed(own) / processes()
    apart = float(summed((own - mean).abs().sum()))
    if apart > 1e-12 * (1 + float(mean.abs().sum())):
        raise ValueError(
            f"weights and batches differ between the {processes()} processes (their sums by {apart:.3g}): "
            "give all the same model and batch; they divide draws, not samples"
        )
