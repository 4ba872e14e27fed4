"""Hierarchical zero-order optimisation: a deep network is halved recursively until single layers are left."""

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

    from HZO(0, L, dLoss/da_L), all with the same weights. For L a power of two and M units in every layer it takes
    `c M (L/2) log2 L` layer evaluations (c = 2 for central differences), in addition to L for the first pass; an error
    passes through at most log2 L estimated Jacobians.

    When to use it: carrying errors one layer at a time (`SequentialLocal`) takes fewer evaluations, `c M (L - 1)`, and
    is as accurate without noise. With noise, the relative error of the first layer grows with the square root of the
    number of estimates that it passes through: L - 1 there, log2 L here, and one in `LayerwiseZO`, which takes
    `c M L (L - 1) / 2` evaluations. Halving pays off in deep networks that are read with noise.

    Claims `exact` for central differences on the basis with the default step, `unbiased` for random probes with it,
    otherwise `descent`. For spiking networks this holds only with `smooth`, because spikes have no slope: without it, a
    finite step, 0.3 by default, acts as a surrogate, a boxcar of half-width eps on the basis and a Gaussian for
    `normal` probes.

    Args:
        branching: number of parts into which a segment is cut, 2 by default.
        min_segment: number of layers up to which a segment is not cut; each layer in it is probed to its end.
        diff, probes, q, step, repeats, cut, times, smooth, memory: as in `Layered`.

    Raises:
        ValueError: for branching below 2 or min_segment below 1. On use, for batch normalisation or dropout in training
            mode, stages that change their input, fail or lose the batch (by name), a step that vanishes in the
            precision, and too little memory for one probe.
        NonFinite: for a NaN in a probe.

    >>> list(HZO().plan(4)), HZO().claim
    ([(2, 4), (1, 2), (3, 4)], 'exact')

    Reference: Cao, Ma & Tian 2026 (arXiv 2602.10607). Its abstract states the division over depth, the order
    `M L log L` and stability near layers of Lipschitz constant 1; the halving and the Jacobian of the right half are
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
        """Yield the plan of layers i + 1 to j."""
        if j - i <= self.min_segment:
            yield from ((k, j) for k in range(i + 1, j))
            return
        cuts = sorted({i + (j - i) * part // self.branching for part in range(1, self.branching)} - {i})
        yield from reversed(list(zip(cuts, [*cuts[1:], j], strict=True)))
        for first, last in zip([i, *cuts], [*cuts, j], strict=True):
            yield from self.split(first, last)
