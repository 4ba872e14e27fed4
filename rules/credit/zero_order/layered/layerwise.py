"""Layerwise zero-order optimisation: every layer is probed to the output, with the most evaluations and least noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rules.credit.zero_order.layered.rule import Layered


@dataclass(frozen=True)
class LayerwiseZO(Layered):
    """Layer by layer to the loss.

        e_k = sum_m <[N_{k..L}(a_k + eps u_m) - N_{k..L}(a_k - eps u_m)] / (2 eps), e_L> u_m,  k = L - 1, ..., 1

    Takes `c M L (L - 1) / 2` layer evaluations in addition to the first pass; every error passes through one estimated
    Jacobian. Arguments, claims and exceptions are as in `HZO`, without `branching` and `min_segment`.

    >>> list(LayerwiseZO().plan(4))
    [(3, 4), (2, 4), (1, 4)]

    Reference: the abstract of Cao, Ma & Tian 2026 (arXiv 2602.10607) compares with a scheme of order `M L^2`; that it
    is this one is our reconstruction.
    """

    def plan(self, depth: int) -> Iterator[tuple[int, int]]:
        return ((k, depth) for k in range(depth - 1, 0, -1))
