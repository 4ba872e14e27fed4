"""What takes the place of a softmax in attention: winners of each row, sparsemax, raw scores, and softmax itself.

Every competition maps scores and which of them are allowed, `[..., queries, keys]` both, to weights of the keys. What
is not allowed is left out before the competition, so that it cannot win, and gets no weight and no gradient.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rules.errors import unknown
from rules.spikes.surrogate import generator_of_pass

Ties = Literal["lowest", "recent", "random"]


class Softmax(nn.Module):
    """`softmax(scores / temperature)` over the keys that are allowed.

    Raises:
        ValueError: for a temperature that is not above 0.

    >>> scores, allowed = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[True, True, False]])
    >>> Softmax()(scores, allowed).tolist()
    [[0.5, 0.5, 0.0]]
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature}: give a number above 0")
        self.temperature = temperature

    def forward(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return torch.softmax(scores.masked_fill(~allowed, -torch.inf) / self.temperature, -1)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


class Raw(nn.Module):
    """The scores themselves, 0 where they are not allowed: attention without normalisation, as that of Spikformer."""

    def forward(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return torch.where(allowed, scores, 0.0)


class Winners(nn.Module):
    """Winner-take-all: 1 for the `count` largest scores of each row, and 0 for the others.

    With one winner a row of weights times values is a gather of one value, without multiplications. The gradient is
    that of `softmax(scores / temperature)`, whose whole Jacobian takes the place of the derivative of the winner:

        dL/dscores = (diag(p) - p p') dL/dweights / temperature,    p = softmax(scores / temperature)

    Products of spikes are small whole numbers, so that ties are common, and who wins them is said.

    Args:
        count: winners of each row; all that are allowed, where those are fewer.
        ties: of equal scores the one with the "lowest" index wins, the most "recent", which has the highest, or in
            training a "random" one, and otherwise the lowest.
        temperature: of the softmax whose gradient is taken, above 0.

    Raises:
        ValueError: for fewer than one winner, an unknown way of breaking ties, and a temperature that is not above 0.

    >>> scores = torch.tensor([[2.0, 3.0, 3.0, 1.0]])
    >>> allowed = torch.ones(1, 4, dtype=torch.bool)
    >>> Winners()(scores, allowed).tolist(), Winners(ties="recent")(scores, allowed).tolist()
    ([[0.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]])
    >>> Winners(3)(scores, allowed).tolist()
    [[1.0, 1.0, 1.0, 0.0]]

    Reference: Zhou et al. 2026 (arXiv 2604.11321), known to us from its abstract and reviews: ties and the surrogate
    are our reconstruction.
    """

    def __init__(self, count: int = 1, ties: Ties = "lowest", temperature: float = 1.0) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"count={count}: give the number of winners of a row, at least 1")
        if ties not in get_args(Ties):
            raise unknown("ties", ties, get_args(Ties))
        self.count, self.ties = count, ties
        self.soft = Softmax(temperature)

    def forward(self, scores: Tensor, allowed: Tensor) -> Tensor:
        hard = self.won(scores.detach(), allowed)
        if not (torch.is_grad_enabled() and scores.requires_grad):
            return hard
        soft: Tensor = self.soft(scores, allowed)
        return hard + (soft - soft.detach())  # the difference is exactly 0

    def won(self, scores: Tensor, allowed: Tensor) -> Tensor:
        """Return 1 for winners and 0 for others."""
        ranked = self.ordered(scores.masked_fill(~allowed, -torch.inf))
        hard = torch.zeros_like(scores).scatter_(-1, ranked, 1.0)
        return hard * allowed

    def ordered(self, scores: Tensor) -> Tensor:
        """Return the indices of the winners, `[..., count]`; stable sorting keeps equal scores in their order."""
        keys = scores.shape[-1]
        count = min(self.count, keys)
        place = torch.arange(keys, device=scores.device)
        if self.ties == "recent":
            place = place.flip(0)
        elif self.ties == "random" and self.training:
            place = torch.randperm(keys, generator=generator_of_pass(), device=scores.device)
        shuffled = scores[..., place]
        if count > 1:
            return place[shuffled.sort(dim=-1, descending=True, stable=True).indices[..., :count]]
        best = shuffled == shuffled.amax(-1, keepdim=True)  # takes less time than sorting
        first = torch.where(
            best, torch.arange(keys, 0, -1, device=scores.device), 0
        )  # torch leaves ties of argmax open
        return place[first.argmax(-1, keepdim=True)]

    def extra_repr(self) -> str:
        return f"count={self.count}, ties={self.ties!r}"


class Sparsemax(nn.Module):
    """The point of the simplex that is nearest to the scores: a sparse row of weights that adds up to 1.

        p = max(scores - tau, 0),    tau such that sum p = 1

    >>> allowed = torch.ones(1, 3, dtype=torch.bool)
    >>> Sparsemax()(torch.tensor([[1.0, 0.5, -1.0]]), allowed).tolist()
    [[0.75, 0.25, 0.0]]

    Reference: Martins & Astudillo 2016 (arXiv 1602.02068), algorithm 1.
    """

    def forward(self, scores: Tensor, allowed: Tensor) -> Tensor:
        far = scores.masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True).detach() - 2  # 1 below the top is outside
        z = torch.where(allowed, scores, far)
        ranked = z.sort(dim=-1, descending=True).values
        sums = ranked.cumsum(-1) - 1
        number = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
        support = (number * ranked > sums).sum(-1, keepdim=True)
        tau = sums.gather(-1, support - 1) / support
        return (z - tau).clamp(min=0)
