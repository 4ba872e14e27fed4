"""The gradient of a smooth loss without autograd, for small networks: central differences in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rules.fields import at_least, check_fields
from sandbox.microscope.frozen import Frozen
from sandbox.microscope.losses import OWN_DRAWS, Losses, positive, refuse_large, rms, running
from sandbox.microscope.reference import Known, Reference


@dataclass(frozen=True)
class Differences(Reference):
    """Central differences of the unsmoothed loss in float64: the gradient of a smooth network.

        [L(W + h e_i, xi) - L(W - h e_i, xi)] / 2 h,    h = step x rms(W) of the layer

    The mean is taken over `samples` draws xi of the network's noise; both sides of a difference share the draw. A
    deterministic network is evaluated once. For a spiking network the difference is 0 or a jump: use `smoothed`, or,
    where the network's own noise smooths the loss, a step as large as the noise allows, such as 0.1. The error is of
    order h^2, the round-off about 1e-16 / h.

    Args:
        step: h relative to the root mean square of the layer's weights, 1e-5 by default.
        samples: draws of the network's noise, 8 by default.
        largest: most weights of a model, 2000 by default.

    Raises:
        ValueError: a step or samples that are not positive; for a model of more than `largest` weights, when it runs.
    """

    step: float = 1e-5
    samples: int = 8
    largest: int = 2000

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(1, self, "largest")
        positive(step=self.step, samples=self.samples)

    @property
    def label(self) -> str:
        """The name of the reference."""
        return "differences"

    def admit(self, weights: int) -> None:
        """Refuse a model of more than `largest` weights."""
        refuse_large(self.label, weights, self.largest)

    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """Return one sample for each draw of the network's noise."""
        losses, found = running(Losses, frozen), []
        sizes = {name: self.step * rms(p) for name, p in losses.frozen.layers.items()}
        for number in range(self.samples):
            sample, stochastic = {}, False
            for name, p in losses.frozen.layers.items():
                slope, drew = running(losses.slopes, name, p.detach(), sizes[name], OWN_DRAWS + number)
                sample[name] = slope / (2 * sizes[name])
                stochastic |= drew
            found.append(sample)
            if not stochastic:
                break
        return Known({name: torch.stack([sample[name] for sample in found]) for name in found[0]}, paired=False)
