"""What inference and learning would cost in energy: counts times named constants, estimated and not measured.

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
    """Picojoules for a multiply-accumulate and for an accumulation alone."""

    mac: float
    ac: float
    source: str


CMOS_45NM = Constants(4.6, 0.9, "32-bit floating point in 45 nm: Horowitz 2014, as used by Spikingformer")


def inference(works: Iterable[Work], constants: Constants = CMOS_45NM) -> float:
    """Picojoules of one sample, `E_AC accumulations + E_MAC multiplications`; memory and neurons are left out.

    >>> layers = [Work("first", 0, 346_816_512, 0, 1.0), Work("rest", 0, 0, 6.51754094076244e9, 0.2),
    ...           Work("head", 0, 513_000, 0, 1.0)]
    >>> round(inference(layers) * 1e-9, 9)  # mJ, of Spikingformer-8-512 at four steps
    7.463502602

    Reference: Zhou et al. 2023 (arXiv 2304.11954), equations 19 and 20, and the numbers of its released log.
    """
    return sum(constants.ac * each.accumulated + constants.mac * each.multiplied for each in works)


@dataclass(frozen=True)
class Engines:
    """Picojoules of a training core with engines for forward, backward and weight-gradient work.

    The defaults are the 16-bit, 32 nm preset "NeuroMC" of SpikingJelly's operation counter: an accumulation of a spike
    is a multiplexer and an addition, a multiply-accumulate a multiplication and an addition.
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
    """How often a rule of learning goes backward, per time step of the forward pass.

    `backward` and `weight` are the shares of steps at which errors travel and weights' gradients are summed, `probes`
    the forward passes beyond the first, `spiking` whether the weight's gradient reads spikes or a graded trace.
    """

    backward: float = 1.0
    weight: float = 1.0
    probes: float = 0.0
    spiking: bool = True
    recursion: bool = False  # errors also travel in time: a multiply-accumulate more for each neuron and step


SCHEDULES = {
    "bptt": Schedule(recursion=True),
    "sampled steps, no path in time": Schedule(backward=0.25, weight=0.25),
    "three factors, local": Schedule(backward=0.0),
    "presynaptic trace": Schedule(spiking=False),
    "forward passes alone": Schedule(backward=0.0, weight=0.0, probes=1.0),
}


class Training(NamedTuple):
    """Picojoules of one update, engine by engine."""

    forward: float
    backward: float
    weight: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.weight


@dataclass(frozen=True)
class Synapses:
    """A dense layer in numbers: fan-in C, fan-out K, steps T, and how much of it is not zero."""

    inputs: int
    outputs: int
    steps: int
    batch: int = 1
    spikes: float = 1.0  # share of inputs that are spikes
    errors: float = 1.0  # share of errors that are not zero
    weights: float = 1.0  # share of weights that are there

    def __post_init__(self) -> None:
        for name in ("spikes", "errors", "weights"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a share between 0 and 1")


def training(
    layers: Sequence[Synapses], schedule: Schedule = SCHEDULES["bptt"], engines: Engines = NEUROMC, first: bool = True
) -> Training:
    """Picojoules of one update of these layers, compute alone: no optimiser, no memory.

    The first of them passes no error on where `first` says that its input is data. Shares of 1 are those of hardware
    that does not skip zeros.

    >>> dense = training([Synapses(700, 128, 100)], first=False)
    >>> [round(part * 1e-6, 2) for part in dense]  # uJ
    [5.24, 12.26, 5.22]

    Reference: a formula of ours, after SATA (arXiv 2204.05422) and the engines of Li et al. (arXiv 2412.05302), of
    which the abstract alone could be read.
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
