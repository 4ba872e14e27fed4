"""From a real-valued update to whole pulses: stochastic rounding, or a stochastic pulse train."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rules.draws import binomial
from rules.plasticity.memristor.device import uniform


class Drawn(NamedTuple):
    """Whole pulses, and the cost of drawing them."""

    n: Tensor  # in the shape and dtype of the update
    random_bits: int
    clipped: int = 0  # updates longer than the train


def rounded(wish: Tensor, rng: torch.Generator) -> Drawn:
    r"""Round at random to an adjacent whole number, :math:`n = sign(a) (\lfloor |a| \rfloor + Bernoulli(|a| mod 1))`.

    The mean of n is the update a, `wish`; a whole number stays unchanged and takes no random bit.

    >>> rounded(torch.tensor([2.0, -1.0]), torch.Generator())
    Drawn(n=tensor([ 2., -1.]), random_bits=0, clipped=0)
    """
    if torch.equal(wish, wish.round()):
        return Drawn(wish, 0)
    size = wish.abs()  # rounded before the sign is put back: floor(-1e-9) = -1 would leave a fraction that rounds to 1
    below = size.floor()
    fraction = size - below
    return Drawn(below.add_(uniform(wish, rng) < fraction) * wish.sign(), int(fraction.count_nonzero()))


def train(wish: Tensor, length: int, rng: torch.Generator) -> Drawn:
    r"""Draw a stochastic pulse train, :math:`n = \mathrm{sign}(a)\,Binomial(N, \min(1, |a| / N))`.

    The mean of n is the update a, `wish`, if :math:`|a| \le N`, the `length` of the train; longer updates are clipped
    and counted.

    Source: Gokmen & Vlasov 2016 (Front. Neurosci. 10:333), here drawn for every cell independently: their trains are
    shared by rows and columns, which correlates the pulses of neighbouring cells.

    >>> train(torch.tensor([9.0, -4.0, 0.0]), 4, torch.Generator())
    Drawn(n=tensor([ 4., -4.,  0.]), random_bits=8, clipped=1)
    """
    size = wish.abs()
    chance = (size / length).clamp_(max=1.0)
    n = binomial(length, chance, rng)
    return Drawn(n * wish.sign(), length * int(wish.count_nonzero()), int((size > length).sum()))
