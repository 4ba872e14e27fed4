"""Energy of inference and learning, estimated as counts times named constants, not measured.

inference    E = E_AC sum of accumulations + E_MAC sum of multiply-accumulates
training     E_FP = T d C K r_s e_AC + T K e_soma_fp,    E_BP = T_b d C K r_g e_MAC + T_b K e_soma_bp,
             E_WG = T_w d C K r_s r_g e_AC'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
class Engines:
    """Energies [pJ] of a training core with engines for forward, backward and weight-gradient work.

    The defaults are the 16-bit, 32 nm preset "NeuroMC" of SpikingJelly's operation counter. Accumulating a spike takes
    a multiplexer and an addition; a multiply-accumulate takes a multiplication and an addition.
    """

    ac: float = 0.548 + 0.548 / 16
    mac: float = 0.548 + 0.812
    soma_forward: float = 1.56
    soma_backward: float = 4.38

    def __str__(self) -> str:
        return (
            f"e_MAC = {self.mac:.3g}, e_AC = {self.ac:.3g}, e_soma = {self.soma_forward:.3g} forward and "
            f"{self.soma_backward:.3g} back [pJ]"
        )


NEUROMC = Engines()


@dataclass(frozen=True)
class Schedule:
    """The backward work of a learning rule, per time step of the forward pass."""

    backward: float = 1.0  # share of steps at which errors are propagated
    weight: float = 1.0  # share of steps at which weight gradients are summed
    probes: float = 0.0  # forward passes beyond the first
    spiking: bool = True  # whether weight gradients read spikes, or else a graded trace
    recursion: bool = False  # whether errors also travel in time: one more multiply-accumulate per neuron and step


SCHEDULES = {
    "bptt": Schedule(recursion=True),
    "sampled steps, no path in time": Schedule(backward=0.25, weight=0.25),
    "three factors, local": Schedule(backward=0.0),
    "presynaptic trace": Schedule(spiking=False),
    "forward passes alone": Schedule(backward=0.0, weight=0.0, probes=1.0),
}


class Training(NamedTuple):
    """Energy [pJ] of one update, engine by engine."""

    forward: float
    backward: float
    weight: float

    @property
    def total(self) -> float:
        """The sum [pJ]."""
        return self.forward + self.backward + self.weight


@dataclass(frozen=True)
class Synapses:
    """The numbers that describe a dense layer: fan-in C, fan-out K, steps T, and the shares that are not zero."""

    inputs: int
    outputs: int
    steps: int
    batch: int = 1
    spikes: float = 1.0  # share of inputs that are spikes
    errors: float = 1.0  # share of errors that are not zero
    weights: float = 1.0  # share of weights that exist

    def __post_init__(self) -> None:
        for name in ("spikes", "errors", "weights"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a share between 0 and 1")


def training(
    layers: Sequence[Synapses], schedule: Schedule = SCHEDULES["bptt"], engines: Engines = NEUROMC, first: bool = True
) -> Training:
    """Estimate the energy [pJ] of one update of these layers: computation alone, no optimiser, no memory.

    Args:
        layers: from input to output. Shares of 1 describe hardware that does not skip zeros.
        schedule: the backward work of the learning rule, that of bptt by default.
        engines: energy of each operation, NEUROMC by default.
        first: whether the input of the first layer is data, so that it passes no error on; True by default.

    >>> dense = training([Synapses(700, 128, 100)], first=False)
    >>> [round(part * 1e-6, 2) for part in dense]  # uJ
    [5.24, 12.26, 5.22]

    Reference: our own formula, after SATA (arXiv 2204.05422) and the engines of Li et al. (arXiv 2412.05302), of which
    only the abstract was available to us.
    """
    ahead = back = weight = 0.0
    for number, layer in enumerate(layers):
        pairs = layer.batch * layer.steps * layer.weights * layer.inputs * layer.outputs
        somas = layer.batch * layer.steps * layer.outputs
        ahead += (1 + schedule.probes) * (pairs * layer.spikes * engines.ac + somas * engines.soma_forward)
        passed = 0.0 if first and number == 0 else pairs * layer.errors * engines.mac
        back += schedule.backward * (passed + somas * (engines.soma_backward + schedule.recursion * engines.mac))
        price = engines.ac if schedule.spiking else engines.mac
        weight += schedule.weight * pairs * layer.spikes * layer.errors * price
    return Training(ahead, back, weight)


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
