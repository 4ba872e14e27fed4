"""Errors carried back one layer at a time, with the fewest evaluations; noise accumulates over depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rules.credit.zero_order.layered.rule import Layered


@dataclass(frozen=True)
class SequentialLocal(Layered):
    """Sequential local Jacobians: backpropagation with every Jacobian measured.

        e_k = sum_m <[f_{k+1}(a_k + eps u_m) - f_{k+1}(a_k - eps u_m)] / (2 eps), e_{k+1}> u_m,  k = L - 1, ..., 1

    Takes `c M (L - 1)` layer evaluations in addition to the first pass, the fewest of the layered rules; the first
    layer's error passes through L - 1 estimated Jacobians. Arguments, claims and exceptions are as in `HZO`, without
    `branching` and `min_segment`.

    >>> list(SequentialLocal().plan(4))
    [(3, 4), (2, 3), (1, 2)]

    Reference: our own comparison; we do not know whether Cao, Ma & Tian 2026 (arXiv 2602.10607) discuss it.
    """

    def plan(self, depth: int) -> Iterator[tuple[int, int]]:
        return ((k, k + 1) for k in range(depth - 1, 0, -1))
