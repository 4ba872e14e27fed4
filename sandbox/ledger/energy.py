"""Energy of inference, and of counted operations, estimated as counts times named constants, not measured.

E = E_AC sum of accumulations + E_MAC sum of multiply-accumulates
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from rules.contract import Cost
from rules.diagnostics.work import Work


@dataclass(frozen=True)
class Constants:
    """Energy [pJ] of a multiply-accumulate and of an accumulation alone."""

    mac: float
    ac: float
    source: str


CMOS_45NM = Constants(4.6, 0.9, "32-bit floating point in 45 nm: Horowitz 2014, as used by Spikingformer")


def inference(works: Iterable[Work], constants: Constants = CMOS_45NM) -> float:
    """Estimate the energy [pJ] of one sample, `E_AC accumulations + E_MAC multiplications`.

    Memory and neurons are left out.

    Args:
        works: accumulations and multiplications of each layer.
        constants: energy of each operation, CMOS_45NM by default.

    >>> layers = [Work("first", 0, 346_816_512, 0, 1.0), Work("rest", 0, 0, 6.51754094076244e9, 0.2),
    ...           Work("head", 0, 513_000, 0, 1.0)]
    >>> round(inference(layers) * 1e-9, 9)  # mJ, of Spikingformer-8-512 at four steps
    7.463502602

    Reference: Zhou et al. 2023 (arXiv 2304.11954), equations 19 and 20, and the numbers of its released log.
    """
    return sum(constants.ac * each.accumulated + constants.mac * each.multiplied for each in works)


@dataclass(frozen=True)
class UnitEnergies:
    """Energies [J] of the operations that `Cost` counts; every value is an assumption and can be replaced.

    The defaults are those of analogue arrays of memristors: a device read is `V^2 G t` with 0.2 V, 10 uS and 10 ns.

    Raises:
        ValueError: an energy is negative.

    >>> MEMRISTOR.one_bit_reads, CMOS.multiplications
    (4e-15, 4.6e-12)

    Reference: 32-bit floating-point figures of 45 nm CMOS recalled from Horowitz 2014 (doi 10.1109/ISSCC.2014.6757323),
    not checked against it; the others are our own assumptions.
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
CMOS = UnitEnergies(  # digital: no conversions; a one-bit signal takes an addition, a multiplication a whole MAC
    multiplications=CMOS_45NM.mac * 1e-12,
    one_bit_reads=CMOS_45NM.ac * 1e-12,
    dac_conversions=0.0,
    adc_conversions=0.0,
    pulses=0.0,
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
    """Energy [J], item by item; it prints every count with its constant."""

    items: tuple[Item, ...]

    @property
    def joules(self) -> float:
        """The sum [J]."""
        return sum(item.joules for item in self.items)

    @property
    def arithmetic(self) -> float:
        """The arithmetic part: reads, multiplications, conversions, comparisons and random bits [J]."""
        return sum(item.joules for item in self.items if item.what != "pulses")

    def __str__(self) -> str:
        lines = [f"{i.what:<18}{i.number:>16,d}  x {i.unit:.3g} J  = {i.joules:.3g} J" for i in self.items]
        return "\n".join([*lines, f"{'estimate, not measured':<54}{self.joules:.3g} J"])


def estimate(cost: Cost, units: UnitEnergies = MEMRISTOR) -> Estimate:
    """Estimate the energy of counted operations, `sum count x unit energy`.

    Writing the weights of digital machines is left out.

    Args:
        cost: the counts.
        units: energy of each operation [J], MEMRISTOR by default.

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
