"""The kinds of feedback: the matrix that carries a synapse's error back, where it comes from and how it changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rules.draws import normal, scale


def random(weight: Tensor, rng: torch.Generator) -> Tensor:
    """Draw a matrix shaped as a weight, normal, of its scale."""
    return normal(weight.shape, rng, weight) * scale(weight)


def random_magnitudes(weight: Tensor, rng: torch.Generator) -> Tensor:
    """Draw the magnitudes of such a matrix."""
    return random(weight, rng).abs()


def one_magnitude(weight: Tensor, rng: torch.Generator) -> Tensor:
    """Return the scale of a weight, as a tensor of one number."""
    return weight.detach().new_full((), scale(weight))


def as_it_is(matrix: Tensor, weight: Tensor, rng: torch.Generator) -> Tensor:
    """Return the matrix that is kept."""
    return matrix


def signed(matrix: Tensor, weight: Tensor, rng: torch.Generator) -> Tensor:
    """Return the magnitudes that are kept, with the signs of the weight."""
    return matrix * torch.sign(weight.detach())


def signed_anew(matrix: Tensor, weight: Tensor, rng: torch.Generator) -> Tensor:
    """Return magnitudes that are drawn now, with the signs of the weight."""
    return matrix * normal(weight.shape, rng, weight).abs() * torch.sign(weight.detach())


@dataclass(frozen=True)
class Kind:
    """How errors go back.

    `start` draws what is kept for a synapse; `present` returns the matrix of this step from it. A direct kind draws
    matrices from the output to the input of each synapse instead, and uses these two for recurrent synapses alone.
    `draws` says whether each step draws new numbers, and `paired` whether what is kept may be compared with the weight.
    """

    start: Callable[[Tensor, torch.Generator], Tensor] = random
    present: Callable[[Tensor, Tensor, torch.Generator], Tensor] = as_it_is
    direct: bool = False
    draws: bool = False
    paired: bool = True


KINDS: dict[str, Kind] = {
    "fa": Kind(),
    "usf": Kind(one_magnitude, signed, paired=False),
    "brsf": Kind(one_magnitude, signed_anew, draws=True, paired=False),
    "frsf": Kind(random_magnitudes, signed, paired=False),
    "weight_mirror": Kind(),
    "kolen_pollack": Kind(),
    "dfa": Kind(direct=True),
    "sdfa": Kind(direct=True),
    "drtp": Kind(direct=True),
}


def to_inputs(weight: nn.Parameter, outputs: int, classes: int, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Draw a matrix `[classes, *shape]` from the network's output to the input of a synapse with `outputs` units.

    Normal, with standard deviation `scale(W) sqrt(outputs / classes)`: an error arrives with the norm, on average, that
    an error of the same norm at the synapse's own output would have behind a random weight of its scale. At the
    read-out this is feedback alignment.
    """
    size = scale(weight) * math.sqrt(outputs / classes)
    return normal((classes, *shape), rng, weight) * size


def fan_out(module: nn.Module) -> int:
    """Return the number of units, or of channels, that a synapse drives."""
    return int(getattr(module, "out_features", 0) or getattr(module, "out_channels", 0))
