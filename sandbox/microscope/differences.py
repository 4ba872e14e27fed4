"""The gradient of a smooth loss without autograd, for small networks: central differences in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sandbox.microscope.frozen import Frozen
from sandbox.microscope.losses import OWN_DICE, Losses, positive, refuse_large, rms, running
from sandbox.microscope.reference import Known, Reference


@dataclass(frozen=True)
class Differences(Reference):
    """Central differences of the loss as it is, in float64: the gradient of a smooth network.

        [L(W + h e_i, xi) - L(W - h e_i, xi)] / 2 h,    h = step x rms(W) of the layer

    It is the mean over `samples` of the network's dice xi, common to both sides; a network that throws none is asked
    once. Of a network that spikes it is 0 or a jump: take `smoothed`, or, where the network's own noise does the
    smoothing, a step as large as what the noise lets by, such as 0.1. Error of order h^2, round-off of 1e-16 / h.

    Raises ValueError for a step or samples that are not positive, and for models of more than `largest` weights.
    """

    step: float = 1e-5
    samples: int = 8
    largest: int = 2000

    def __post_init__(self) -> None:
        positive(step=self.step, samples=self.samples)

    @property
    def label(self) -> str:
        """Its name."""
        return "differences"

    def admit(self, weights: int) -> None:
        """No more than `largest`."""
        refuse_large(self.label, weights, self.largest)

    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """A sample for each throw of the network's dice."""
        losses, found = running(Losses, frozen), []
        sizes = {name: self.step * rms(p) for name, p in losses.frozen.layers.items()}
        for number in range(self.samples):
            sample, random = {}, False
            for name, p in losses.frozen.layers.items():
                slope, thrown = running(losses.slopes, name, p.detach(), sizes[name], OWN_DICE + number)
                sample[name] = slope / (2 * sizes[name])
                random |= thrown
            found.append(sample)
            if not random:
                break
        return Known({name: torch.stack([sample[name] for sample in found]) for name in found[0]}, paired=False)
