"""One-bit signals: drawn from probabilities, and the stochastic binary units that put them out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rules.spikes.surrogate import Surrogate, generator_of_pass


def bernoulli(p: Tensor, generator: torch.Generator) -> Tensor:
    """Ones with probability `p`, zeros otherwise, in the dtype of `p`.

    >>> bernoulli(torch.tensor([0.0, 1.0]), torch.Generator().manual_seed(0))
    tensor([0., 1.])
    """
    return (torch.rand(p.shape, generator=generator, dtype=p.dtype, device=p.device) < p).to(p.dtype)


def and_not(s: Tensor, again: Tensor) -> Tensor:
    """`s AND NOT s'` of two independent draws of one unit: 1 with probability `p (1 - p)`."""
    return s * (1 - again)


def xor(s: Tensor, again: Tensor) -> Tensor:
    """`s XOR s'` of two independent draws of one unit: 1 with probability `2 p (1 - p)`."""
    return (s - again).abs()


def logistic(dice: Tensor) -> Tensor:
    """Logistic noise from dice uniform on (0, 1): `u` exceeds it with probability `1 / (1 + exp(-u))`."""
    return torch.logit(dice)


def is_bits(x: Tensor) -> bool:
    """Whether every entry is 0 or 1."""
    return all(torch.equal(part, part * part) for part in _sooner(x))


def is_trits(x: Tensor) -> bool:
    """Whether every entry is -1, 0 or 1."""
    return all(torch.equal(part, part.sign()) for part in _sooner(x))


def _sooner(x: Tensor) -> tuple[Tensor, ...]:
    """What is asked first, for most answers are no, and then all of it."""
    return (x[:1], x) if x.ndim else (x,)


class StochasticBits(nn.Module):
    """Stochastic binary units: ones with probability `sigma(gain u)`, with the derivative of that backward.

    A noisy comparator, `s = 1[gain u + logistic noise > 0]`. The dice are the rule's, or else, at every call anew,
    those of `seed`.

    >>> StochasticBits()(torch.tensor([-100.0, 100.0]))
    tensor([0., 1.])
    """

    puts_out_bits = True  # what rules.optional.offers looks for

    def __init__(self, gain: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        if not gain > 0:
            raise ValueError(f"gain={gain}: give a positive number")
        self.gain = gain
        self.seed = seed
        self.surrogate = Surrogate("sigmoid", alpha=1.0)

    def forward(self, u: Tensor) -> Tensor:
        """`u` of any shape to zeros and ones of that shape."""
        dice = generator_of_pass() or torch.Generator(u.device).manual_seed(self.seed)
        drawn = torch.rand(u.shape, generator=dice, dtype=u.dtype, device=u.device)
        return self.surrogate.spike(self.gain * u, noise=logistic(drawn))

    def extra_repr(self) -> str:
        return f"gain={self.gain:g}"
