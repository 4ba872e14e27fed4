"""What learning would cost in energy: counted operations times assumed unit energies, estimated and not measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from rules.contract import Cost


@dataclass(frozen=True)
class UnitEnergies:
    """Joules for one of each thing that `Cost` counts; every figure is an assumption and can be replaced.

    The defaults are those of analogue arrays of memristors: a device read is `V^2 G t` with 0.2 V, 10 uS and 10 ns.
    Raises ValueError for a negative energy.

    >>> MEMRISTOR.one_bit_reads, CMOS.multiplications
    (4e-15, 4.6e-12)

    Reference: 32-bit floating-point figures of 45 nm CMOS recalled from Horowitz 2014 (doi 10.1109/ISSCC.2014.6757323),
    not read again; the others are assumptions of ours.
    """

    multiplications: float = 4e-15  # a device read by a graded voltage
    one_bit_reads: float = 4e-15  # a device read by a pulse
    dac_conversions: float = 0.5e-12
    adc_conversions: float = 2e-12  # of 8 bits
    comparisons: float = 10e-15
    random_bits: float = 10e-15
    pulses: float = 1e-12

    def __post_init__(self) -> None:
        for name, joules in asdict(self).items():
            if not joules >= 0:
                raise ValueError(f"{name}={joules}: give an energy in joules, 0 or more")


MEMRISTOR = UnitEnergies()
CMOS = UnitEnergies(  # digital: no conversions; a one-bit signal needs an addition, a multiplication the whole MAC
    multiplications=4.6e-12, one_bit_reads=0.9e-12, dac_conversions=0.0, adc_conversions=0.0, pulses=0.0
)
MACHINES = {"memristor": MEMRISTOR, "cmos": CMOS}


class Item(NamedTuple):
    """One line of an estimate."""

    what: str
    number: int
    unit: float  # [J]

    @property
    def joules(self) -> float:
        """`number x unit`."""
        return self.number * self.unit


class Estimate(NamedTuple):
    """Joules, item by item; it prints counts first, and every constant."""

    items: tuple[Item, ...]

    @property
    def joules(self) -> float:
        """The sum [J]."""
        return sum(item.joules for item in self.items)

    @property
    def arithmetic(self) -> float:
        """The part of multiplying and accumulating: reads, multiplications, conversions, comparisons, dice [J]."""
        return sum(item.joules for item in self.items if item.what != "pulses")

    def __str__(self) -> str:
        lines = [f"{i.what:<18}{i.number:>16,d}  x {i.unit:.3g} J  = {i.joules:.3g} J" for i in self.items]
        return "\n".join([*lines, f"{'estimate, not measured':<54}{self.joules:.3g} J"])


def estimate(cost: Cost, units: UnitEnergies = MEMRISTOR) -> Estimate:
    """The energy of what was counted, `sum count x unit energy`; writing weights of digital machines is left out.

    >>> print(estimate(Cost(one_bit_reads=1000, pulses=2)))
    multiplications                  0  x 4e-15 J  = 0 J
    one_bit_reads                1,000  x 4e-15 J  = 4e-12 J
    dac_conversions                  0  x 5e-13 J  = 0 J
    adc_conversions                  0  x 2e-12 J  = 0 J
    comparisons                      0  x 1e-14 J  = 0 J
    random_bits                      0  x 1e-14 J  = 0 J
    pulses                           2  x 1e-12 J  = 2e-12 J
    estimate, not measured                                6e-12 J
    """
    return Estimate(tuple(Item(f.name, getattr(cost, f.name), getattr(units, f.name)) for f in fields(units)))
