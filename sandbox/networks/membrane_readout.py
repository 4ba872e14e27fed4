"""A read-out of membranes that never fire, at the last step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from sandbox.networks.parts import Whole
from sandbox.networks.population import Population
from sandbox.neurons import CPLIF
from sandbox.neurons.lif import LIFState


@dataclass(frozen=True)
class ChannelIntegrator(CPLIF):
    """The membrane of `CPLIF` without a threshold; its output is its voltage.

    >>> cell = ChannelIntegrator(channels=2)
    >>> output, _ = cell.step(torch.tensor([[6.0, 8.0]]), cell.initial_state((1, 2), torch.zeros(1)), dt=1.0)
    >>> output.tolist()
    [[3.0, 4.0]]
    """

    spiking: ClassVar[bool] = False

    def fire(self, state: LIFState, dt: float) -> tuple[Tensor, LIFState]:
        """Return the voltage [mV] and the same state."""
        return state.v, state

    def centred(self, state: LIFState) -> Tensor:
        """Return the membrane itself [mV]: there is no threshold."""
        return state.v


class MembraneReadout(Whole):
    """The mean over tokens as a current, and the membranes that it has charged at the end, `[T, B, D, N] -> [1, B, k]`.

    Args:
        width: D.
        classes: number of outputs k.
        generator: of the initial leaks.
    """

    def __init__(self, width: int, classes: int, generator: torch.Generator) -> None:
        super().__init__(None)
        self.cells = Population(ChannelIntegrator(), 1.0, None, generator, width)
        self.dense = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a whole sequence; the trace is that of the dense layer."""
        charged, _, _ = self.cells(x.mean(-1))
        pre = charged[-1:]
        output = self.dense(pre)
        return Run(output, None, (Trace("dense.weight", pre, output, output),) if record else ())
