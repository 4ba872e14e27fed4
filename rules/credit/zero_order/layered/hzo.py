"""Hierarchical zero-order optimisation: a deep network is halved, and halved again, until a layer is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rules.credit.zero_order.layered.rule import Layered


@dataclass(frozen=True)
class HZO(Layered):
    """Hierarchical zero-order optimisation.

        HZO(i, j, e_j):  one layer:   dLoss/dW_j = sum e_j (x) a_{j-1}
                         else         k = floor((i + j) / 2)
                                      D_m = [N_{k..j}(a_k + eps u_m) - N_{k..j}(a_k - eps u_m)] / (2 eps)
                                      e_k = sum_m <D_m, e_j> u_m
                                      HZO(k, j, e_j), HZO(i, k, e_k)

    from HZO(0, L, dLoss/da_L), all with the same weights. For L a power of two and M units in every layer that takes
    `c M (L/2) log2 L` layer evaluations (c = 2 for central differences), beside L for the first pass; an error goes
    through at most log2 L estimated Jacobians. `branching` cuts into so many parts instead of halves; parts of
    `min_segment` layers or fewer are not cut, and each layer in them is probed to their end. All else as in `Layered`:
    diff, probes, q, step, repeats, cut, times, smooth, memory.

    What it is good for: to carry errors one layer at a time (`SequentialLocal`) takes fewer evaluations,
    `c M (L - 1)`, and without noise is as accurate. But measured with noise, an error passes through L - 1 estimates
    there, log2 L here and one to the loss (`LayerwiseZO`, `c M L (L - 1) / 2`), and the relative error of the first
    layer grows with the square root of that number. Deep networks that are read with noise are where halving wins.

    Claims: `exact` for central differences on the basis with the default step, `unbiased` for random probes with it,
    else `descent`; of spiking networks only with `smooth`, since spikes themselves have no slope: there a finite step,
    0.3 by default, stands for a surrogate, a boxcar of half-width eps on the basis and a Gaussian for `normal` probes.

    Raises ValueError for branching below 2 or min_segment below 1, and on use for what `Layered` refuses: batch
    normalisation or dropout in training mode, stages that change their input, raise or lose the batch (by name), a step
    that vanishes in the precision, too little memory for one probe; NonFinite for a NaN in a probe.

    >>> list(HZO().plan(4)), HZO().claim
    ([(2, 4), (1, 2), (3, 4)], 'exact')

    Reference: Cao, Ma & Tian 2026 (arXiv 2602.10607). Division over depth, the order `M L log L` and stability near
    layers of Lipschitz constant 1 are stated in its abstract; the halving and the Jacobian of the right half are
    second-hand; step sizes, cuts, the count with its constant and the comparison above are our reconstruction.
    """

    branching: int = 2
    min_segment: int = 1

    def check(self) -> None:
        if self.branching < 2:
            raise ValueError(f"branching={self.branching}: a segment is cut into at least 2 parts")
        if self.min_segment < 1:
            raise ValueError(f"min_segment={self.min_segment}: give a number of layers, at least 1")

    def plan(self, depth: int) -> Iterator[tuple[int, int]]:
        return self.split(0, depth)

    def split(self, i: int, j: int) -> Iterator[tuple[int, int]]:
        """The plan of layers i + 1 to j."""
        if j - i <= self.min_segment:
            yield from ((k, j) for k in range(i + 1, j))
            return
        cuts = sorted({i + (j - i) * part // self.branching for part in range(1, self.branching)} - {i})
        yield from reversed(list(zip(cuts, [*cuts[1:], j], strict=True)))
        for first, last in zip([i, *cuts], [*cuts, j], strict=True):
            yield from self.split(first, last)
