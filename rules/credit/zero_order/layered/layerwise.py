"""Every layer probed to the output: the most evaluations, and the least noise in each error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rules.credit.zero_order.layered.rule import Layered


@dataclass(frozen=True)
class LayerwiseZO(Layered):
    """Layer by layer to the loss.

        e_k = sum_m <[N_{k..L}(a_k + eps u_m) - N_{k..L}(a_k - eps u_m)] / (2 eps), e_L> u_m,  k = L - 1, ..., 1

    Takes `c M L (L - 1) / 2` layer evaluations beside the first pass; every error goes through one estimated Jacobian.
    Arguments, claims and errors as in `HZO`, without branching and min_segment.

    >>> list(LayerwiseZO().plan(4))
    [(3, 4), (2, 4), (1, 4)]

    Reference: the order `M L^2` that it is compared with is stated in the abstract of Cao, Ma & Tian 2026 (arXiv
    2602.10607); that this is the scheme behind it is our reconstruction.
    """

    def plan(self, depth: int) -> Iterator[tuple[int, int]]:
        return ((k, depth) for k in range(depth - 1, 0, -1))
