"""One-bit signals drawn from probabilities, and stochastic binary units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rules.draws import uniform
from rules.spikes.surrogate import Surrogate, generator_of_pass


def bernoulli(p: Tensor, generator: torch.Generator) -> Tensor:
    """Draw ones with probability `p`, zeros otherwise, in the dtype of `p`.

    >>> bernoulli(torch.tensor([0.0, 1.0]), torch.Generator().manual_seed(0))
    tensor([0., 1.])
    """
    return (uniform(p.shape, generator, p) < p).to(p.dtype)


def and_not(s: Tensor, again: Tensor) -> Tensor:
    """Return `s AND NOT s'` of two independent draws of one unit: 1 with probability `p (1 - p)`."""
    return s * (1 - again)


def xor(s: Tensor, again: Tensor) -> Tensor:
    """Return `s XOR s'` of two independent draws of one unit: 1 with probability `2 p (1 - p)`."""
    return (s - again).abs()


def logistic(uniform: Tensor) -> Tensor:
    """Return logistic noise from draws uniform on (0, 1): `u` exceeds it with probability `1 / (1 + exp(-u))`."""
    return torch.logit(uniform)


def is_bits(x: Tensor) -> bool:
    """Return whether every entry is 0 or 1."""
    return all(torch.equal(part, part * part) for part in _sooner(x))


def is_trits(x: Tensor) -> bool:
    """Return whether every entry is -1, 0 or 1."""
    return all(torch.equal(part, part.sign()) for part in _sooner(x))


def _sooner(x: Tensor) -> tuple[Tensor, ...]:
    """Return the first step, then the whole: for most signals that are not bits the first step decides."""
    return (x[:1], x) if x.ndim else (x,)


class StochasticBits(nn.Module):
    """Stochastic binary units: ones with probability `sigma(gain u)`, and its derivative backward.

    A noisy comparator, `s = 1[gain u + logistic noise > 0]`. The noise comes from the rule's generator; without one,
    from torch's global generator, as in `nn.Dropout`.

    Args:
        gain: 1 / temperature, 1 by default.

    Raises:
        ValueError: for a gain that is not positive.

    >>> StochasticBits()(torch.tensor([-100.0, 100.0]))
    tensor([0., 1.])
    """

    puts_out_bits = True  # read by rules.optional.offers

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        if not gain > 0:
            raise ValueError(f"gain={gain}: give a positive number")
        self.gain = gain
        self.surrogate = Surrogate("sigmoid", alpha=1.0)

    def forward(self, u: Tensor) -> Tensor:
        """Return zeros and ones in the shape of `u`."""
        drawn = uniform(u.shape, generator_of_pass(), u)
        return self.surrogate.spike(self.gain * u, noise=logistic(drawn))

    def extra_repr(self) -> str:
        return f"gain={self.gain:g}"
