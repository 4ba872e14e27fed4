"""Whether weights were written by somebody else since they were last shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Print = tuple[float, ...]


@torch.no_grad()
def prints(parameters: Sequence[Tensor]) -> list[Print]:
    """Return two numbers of each parameter that hardly any other values share, with one wait for the device.

    >>> prints([torch.tensor([[3.0, -4.0]])])
    [(-1.0, 5.0)]
    """
    sums = [torch.stack([p.sum(dtype=torch.float32), torch.linalg.vector_norm(p.float())]) for p in parameters]
    return [(a, b) for a, b in torch.stack([each.cpu() for each in sums]).tolist()] if sums else []


def written(
    held: Sequence[nn.Parameter], known: Sequence[Print], shown: Callable[[nn.Parameter], Tensor]
) -> list[nn.Parameter]:
    """Return the parameters that do not have the values that were shown.

    Args:
        held: the parameters.
        known: of each, what `prints` had when it was shown.
        shown: computes the values to compare with, where the two numbers differ: sums depend on the number of threads.
    """
    found = []
    for p, before, now in zip(held, known, prints(held), strict=True):
        if now != before and not _alike(p, shown(p)):
            found.append(p)
    return found


def _alike(p: Tensor, shown: Tensor) -> bool:
    """Return whether two tensors have the same values, infinite and undefined ones included, on the same device."""
    same = p.dtype == shown.dtype and p.device == shown.device
    return same and bool(((p == shown) | (p.isnan() & shown.isnan())).all())
