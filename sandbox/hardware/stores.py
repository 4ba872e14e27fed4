"""Prices of reading and writing: registers, SRAM and DRAM."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Store:
    """A memory that is accessed in lines.

    >>> Store(92.7, 92.7, 256).reading(16)
    5.79375
    """

    read: float  # of a line
    write: float  # of a line
    width: int  # bits of a line

    def reading(self, bits: float) -> float:
        """Return the energy of reading so many bits, as parts of full lines."""
        return bits / self.width * self.read

    def writing(self, bits: float) -> float:
        """Return the energy of writing so many bits, as parts of full lines."""
        return bits / self.width * self.write


@dataclass(frozen=True)
class Memory:
    """The memories of a core, by what they hold.

    Args:
        register: of 16 bits.
        bit: a register of one bit.
        spike: SRAM of spikes that enter synapses.
        weight: SRAM of weights and their gradients.
        activation: SRAM of currents and errors.
        membrane: SRAM of membranes.
        mask: SRAM of spikes and masks that come out of cells.
        master: SRAM of what an optimizer reads, 32 bits a number.
        dram: outside of the chip.
        buffer: bytes of SRAM that a tensor has to fit into.
    """

    register: Store
    bit: Store
    spike: Store
    weight: Store
    activation: Store
    membrane: Store
    mask: Store
    master: Store
    dram: Store
    buffer: int
