"""The gradient of a loss smoothed over weights, for small networks that spike: central differences, drawn.

A network that spikes has a loss that is constant almost everywhere, so there is a gradient only of a smoothed one. Here
the weights are smeared, and the network's own noise `xi` is averaged over:

    L_s(W) = E_{eps, xi} L(W + s eps, xi),    eps ~ N(0, 1) for every weight.

With `eps = (eps_i, eps')`, all but the i-th weight being smeared by eps', Stein's identity in the i-th alone is

    dL_s/dW_i = E_{eps', xi} 1/s int z phi(z) L(W + s (z, eps'), xi) dz
              = E_{eps', xi, z} [L(W + s (z, eps'), xi) - L(W + s (-z, eps'), xi)] / (s sqrt(2 pi)),    z ~ Rayleigh(1),

since `z phi(z)` on z > 0 is a Rayleigh density over `sqrt(2 pi)`: a central difference whose step is drawn. Both sides,
and all weights i, share eps', xi and z. Reference: Stein 1981 (Annals of Statistics 9), for the identity; the Rayleigh
step is a rearrangement of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rules.seeds import seeded
from sandbox.microscope.frozen import Frozen
from sandbox.microscope.losses import OWN_DICE, Losses, positive, refuse_large, rms, running
from sandbox.microscope.reference import Known, Reference


@dataclass(frozen=True)
class Smoothed(Reference):
    """The gradient of the smoothed expected loss, by central differences whose steps are drawn: spikes, no surrogate.

        1/M sum_m [L(W + s (z_m e_i + eps'_m), xi_m) - L(W + s (-z_m e_i + eps'_m), xi_m)] / (s sqrt(2 pi))

    with `eps'_m ~ N(0, 1)` on all weight matrices but the i-th weight, `z_m ~ Rayleigh(1)`, and s = sigma x rms(W) for
    each layer: the gradient of `E L(W + s eps, xi)`, as the head of this module derives. Each of `samples` m is the
    mean of eps' and -eps'; the z_m are stratified and scaled to the mean of their density, so that a quadratic loss has
    exactly its gradient. Biases are not smeared.

    Raises ValueError for a sigma or samples that are not positive, and for models of more than `largest` weights.
    """

    sigma: float = 0.1
    samples: int = 16
    largest: int = 2000

    def __post_init__(self) -> None:
        positive(sigma=self.sigma, samples=self.samples)

    @property
    def label(self) -> str:
        """Its name."""
        return "smoothed"

    def admit(self, weights: int) -> None:
        """No more than `largest`."""
        refuse_large(self.label, weights, self.largest)

    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """A sample for each eps'."""
        losses = running(Losses, frozen)
        layers = losses.frozen.layers
        centres = {name: p.detach().clone() for name, p in layers.items()}
        sizes = {name: self.sigma * rms(p) for name, p in layers.items()}
        rng = seeded(frozen.seed, frozen.step, -2)
        steps = rayleigh(self.samples, rng)
        found: dict[str, list[Tensor]] = {name: [] for name in layers}
        for number, z in enumerate(steps.tolist()):
            smear = {name: torch.randn(p.shape, generator=rng, dtype=torch.float64).to(p) for name, p in layers.items()}
            pair = {name: torch.zeros_like(p) for name, p in centres.items()}
            for sign in (1, -1):
                with torch.no_grad():
                    for name, p in layers.items():
                        p.copy_(centres[name] + sign * sizes[name] * smear[name])
                for name, centre in centres.items():
                    slope, _ = running(losses.slopes, name, centre, z * sizes[name], OWN_DICE + number)
                    pair[name] += slope / (2 * sizes[name] * math.sqrt(2 * math.pi))
            for name, slope in pair.items():
                found[name].append(slope)
        return Known({name: level(torch.stack(slopes), steps) for name, slopes in found.items()}, paired=False)


def level(samples: Tensor, steps: Tensor) -> Tensor:
    """The samples without what follows from the size of their steps, which is stratified and no source of error.

    A regression on the step, weight by weight; the mean remains.
    """
    centred = (steps - steps.mean()).to(samples).view(-1, *[1] * (samples.ndim - 1))
    power = centred.square().sum()
    return samples - centred * (samples * centred).sum(0) / power if power > 0 else samples


def rayleigh(count: int, rng: torch.Generator) -> Tensor:
    """One draw from each of `count` equally likely strata, scaled to the mean `sqrt(pi / 2)` of the density.

    >>> drawn = rayleigh(5, torch.Generator().manual_seed(0))
    >>> round(float(2 * drawn.mean() ** 2), 6)
    3.141593
    """
    place = (torch.randperm(count, generator=rng) + torch.rand(count, generator=rng, dtype=torch.float64)) / count
    drawn = (-2 * torch.log1p(-place)).sqrt()
    return drawn * math.sqrt(math.pi / 2) / drawn.mean()
