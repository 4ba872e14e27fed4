"""Energy of single operations of the core "NeuroMC", from which its engines, neurons and optimizers are priced."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Primitives:
    """Energy of single operations on numbers of 16 bits, in the unit of the hardware.

    The defaults [pJ] are those of the preset "NeuroMC" of SpikingJelly's operation counter, 32 nm: read in its code. A
    multiplexer counts as one bit of an addition.

    >>> print(f"{Primitives().accumulate:.4f} {Primitives().multiply_accumulate:.3f}")
    0.5823 1.360
    """

    add: float = 0.548
    multiply: float = 0.812
    compare: float = 0.056
    root: float = 0.514
    multiplex: float = 0.548 / 16

    @property
    def accumulate(self) -> float:
        """Accumulating a weight where there is a spike: a multiplexer and an addition."""
        return self.add + self.multiplex

    @property
    def multiply_accumulate(self) -> float:
        """A multiplication and an addition."""
        return self.add + self.multiply

    @property
    def soma_forward(self) -> float:
        """One step of a neuron: a multiplexer, an addition, a multiplication, three comparisons."""
        return self.multiplex + self.add + self.multiply + 3 * self.compare

    @property
    def soma_backward(self) -> float:
        """One step of a neuron and its surrogate derivative, back: a multiplexer, 2 additions, 4 multiplications."""
        return self.multiplex + 2 * self.add + 4 * self.multiply


PRIMITIVES = Primitives()
