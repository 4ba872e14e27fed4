"""The gradient of a loss that is smoothed over the weights, for small spiking networks: random central differences.

The loss of a spiking network is constant almost everywhere, so only a smoothed loss has a useful gradient. Here noise
is added to the weights, and the network's own noise `xi` is averaged over:

    L_s(W) = E_{eps, xi} L(W + s eps, xi),    eps ~ N(0, 1) for every weight.

Write `eps = (eps_i, eps')`, where eps' is the noise on all weights but the i-th. Stein's identity in eps_i alone is

    dL_s/dW_i = E_{eps', xi} 1/s int z phi(z) L(W + s (z, eps'), xi) dz
              = E_{eps', xi, z} [L(W + s (z, eps'), xi) - L(W + s (-z, eps'), xi)] / (s sqrt(2 pi)),    z ~ Rayleigh(1),

since `z phi(z)` on z > 0 is a Rayleigh density over `sqrt(2 pi)`. This is a central difference with a random step. Both
sides, and all weights i, share eps', xi and z. Reference for the identity: Stein 1981 (Annals of Statistics 9). The
form with a Rayleigh step is our own rearrangement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rules.credit.zero_order.draws import normal_like
from rules.fields import at_least, check_fields
from rules.seeds import seeded
from sandbox.microscope.frozen import Frozen
from sandbox.microscope.losses import OWN_DRAWS, Losses, positive, refuse_large, rms, running
from sandbox.microscope.reference import Known, Reference


@dataclass(frozen=True)
class Smoothed(Reference):
    """The gradient of the smoothed expected loss by random central differences: true spikes, no surrogate.

        1/M sum_m [L(W + s (z_m e_i + eps'_m), xi_m) - L(W + s (-z_m e_i + eps'_m), xi_m)] / (s sqrt(2 pi))

    with `eps'_m ~ N(0, 1)` on all weight matrices but the i-th weight, `z_m ~ Rayleigh(1)`, and s = sigma x rms(W) for
    each layer. It is the gradient of `E L(W + s eps, xi)`, as derived at the top of this module. Each sample m averages
    eps' and -eps'. The z_m are stratified and scaled to the mean of their density, so that the gradient of a quadratic
    loss is exact. Biases get no noise.

    Args:
        sigma: standard deviation of the noise relative to the root mean square of a layer's weights, 0.1 by default.
        samples: M, 16 by default.
        largest: most weights of a model, 2000 by default.

    Raises:
        ValueError: a sigma or samples that are not positive; for a model of more than `largest` weights, when it runs.
    """

    sigma: float = 0.1
    samples: int = 16
    largest: int = 2000

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(1, self, "largest")
        positive(sigma=self.sigma, samples=self.samples)

    @property
    def label(self) -> str:
        """The name of the reference."""
        return "smoothed"

    def admit(self, weights: int) -> None:
        """Refuse a model of more than `largest` weights."""
        refuse_large(self.label, weights, self.largest)

    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """Return one sample for each eps'."""
        losses = running(Losses, frozen)
        layers = losses.frozen.layers
        centres = {name: p.detach().clone() for name, p in layers.items()}
        sizes = {name: self.sigma * rms(p) for name, p in layers.items()}
        rng = seeded(frozen.seed, "smoothed", frozen.step)
        steps = rayleigh(self.samples, rng)
        found: dict[str, list[Tensor]] = {name: [] for name in layers}
        for number, z in enumerate(steps.tolist()):
            noise = {name: normal_like(p, rng) for name, p in layers.items()}
            pair = {name: torch.zeros_like(p) for name, p in centres.items()}
            for sign in (1, -1):
                with torch.no_grad():
                    for name, p in layers.items():
                        p.copy_(centres[name] + sign * sizes[name] * noise[name])
                for name, centre in centres.items():
                    slope, _ = running(losses.slopes, name, centre, z * sizes[name], OWN_DRAWS + number)
                    pair[name] += slope / (2 * sizes[name] * math.sqrt(2 * math.pi))
            for name, slope in pair.items():
                found[name].append(slope)
        return Known({name: level(torch.stack(slopes), steps) for name, slopes in found.items()}, paired=False)


def level(samples: Tensor, steps: Tensor) -> Tensor:
    """Remove the part of the samples that is linear in the step, weight by weight; the mean stays the same.

    The steps are stratified, so their spread causes no error of the mean and should not count as one.
    """
    centred = (steps - steps.mean()).to(samples).view(-1, *[1] * (samples.ndim - 1))
    power = centred.square().sum()
    return samples - centred * (samples * centred).sum(0) / power if power > 0 else samples


def rayleigh(count: int, rng: torch.Generator) -> Tensor:
    """Draw once from each of `count` equally likely strata; scale to the mean `sqrt(pi / 2)` of the density.

    >>> drawn = rayleigh(5, torch.Generator().manual_seed(0))
    >>> round(float(2 * drawn.mean() ** 2), 6)
    3.141593
    """
    place = (torch.randperm(count, generator=rng) + torch.rand(count, generator=rng, dtype=torch.float64)) / count
    drawn = (-2 * torch.log1p(-place)).sqrt()
    return drawn * math.sqrt(math.pi / 2) / drawn.mean()
