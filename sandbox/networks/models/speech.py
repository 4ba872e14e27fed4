"""What the models of speech share: neurons behind weights with dropout, the read-out, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rules.spikes.surrogate import Surrogate
from sandbox.networks.along_time import Along
from sandbox.networks.dense import Dropped, norm, normalised
from sandbox.networks.kinds import Given, Kind, kind_of, lif
from sandbox.networks.parts import Stateless
from sandbox.neurons import PLIF

ALPHA = 5.0  # of the surrogate of both papers


def cell(rest: float = 0.0) -> PLIF:
    """Return the LIF of these models, `v <- v - (v - rest) / 2 + current`, which fires at 1 and falls back to rest.

    The surrogate of a library neuron sees the membrane in units of its distance from rest to threshold, and that of the
    papers in units of 1.
    """
    return lif(r=2.0, v_leak=rest, v_reset=rest, surrogate=Surrogate("atan", alpha=ALPHA * (1 - rest)))


@dataclass(frozen=True)
class Builder:
    """Makes parts of one width.

    Attributes:
        width: D, channels.
        cells: the neurons.
        dropout: share of units that are dropped behind neurons in training.
    """

    width: int
    cells: Kind
    dropout: float

    def fires(self, synapse: nn.Module, channels: int | None = None) -> list[nn.Module]:
        """Return neurons behind a synapse."""
        return [self.cells.spiking(synapse, channels or self.width), *self.dropped()]

    def dropped(self) -> list[nn.Module]:
        """Return dropout, if there is any."""
        return [Dropped(self.dropout)] if self.dropout else []

    def dense(self, inputs: int, outputs: int, bias: bool = False) -> list[nn.Module]:
        """Return a dense layer, its normalisation and neurons."""
        return self.fires(normalised(inputs, outputs, self.cells.gain, bias), outputs)

    def along(self, convolution: Along, channels: int | None = None) -> list[nn.Module]:
        """Return a convolution along time, its normalisation and neurons."""
        return [convolution, *self.fires(norm(channels or self.width, self.cells.gain), channels)]

    def readout(self, classes: int) -> Stateless:
        """Return the read-out of every step."""
        return Stateless(nn.Linear(self.width, classes, bias=False))


def builder(
    shape: tuple[int, ...], width: int, heads: int, neuron: Given, own: PLIF, dropout: float, seed: int
) -> Builder:
    """Return the maker of parts; raise ValueError for other input than channels, and heads that do not divide D."""
    if len(shape) != 1 or shape[0] < 1:
        raise ValueError(
            f"shape={tuple(shape)}: this model takes sequences of channels [T, B, C], so give (C,), such as (140,)"
        )
    if width % heads:
        raise ValueError(f"width={width}, heads={heads}: give a width that is a multiple of the heads")
    return Builder(width, kind_of(neuron, own, seed=seed), dropout)
