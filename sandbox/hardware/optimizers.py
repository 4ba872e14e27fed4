"""What an optimizer does for each weight: operations, and accesses to numbers of 32 bits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sandbox.hardware.constants import Hardware

MASTER = 32  # bits


@dataclass(frozen=True)
class Update:
    """Operations for each weight, and the numbers that are read and written.

    The counts are those of the preset "NeuroMC", read in its code.
    """

    add: int
    multiply: int
    root: int
    reads: int
    writes: int

    def operations(self, hardware: Hardware) -> float:
        """Return the energy of the operations for one weight; raise ValueError if square roots have no price."""
        if self.root and hardware.root is None:
            raise ValueError(
                f"{hardware.name} has no price of a square root, which Adam needs: give optimizer=None or 'sgd'"
            )
        return self.add * hardware.add + self.multiply * hardware.multiply + self.root * (hardware.root or 0.0)

    def memory(self, hardware: Hardware) -> float:
        """Return the energy of the accesses for one weight; 0 where memory is not covered."""
        if hardware.memory is None:
            return 0.0
        master = hardware.memory.master
        return master.reading(self.reads * MASTER) + master.writing(self.writes * MASTER)


OPTIMIZERS: dict[str, Update] = {
    "sgd": Update(1, 1, 0, 2, 1),
    "momentum": Update(2, 2, 0, 3, 2),
    "adam": Update(4, 11, 1, 6, 5),
}


def name_of(optimizer: torch.optim.Optimizer) -> str | None:
    """Return the name of an optimizer of torch in OPTIMIZERS; None if there is none.

    >>> name_of(torch.optim.SGD([torch.zeros(1, requires_grad=True)], momentum=0.9))
    'momentum'
    """
    if isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        return "adam"
    if isinstance(optimizer, torch.optim.SGD):
        return "momentum" if optimizer.defaults["momentum"] else "sgd"
    return None
