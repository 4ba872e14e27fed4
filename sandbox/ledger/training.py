"""Energy of one update of a network, engine by engine, estimated as counts times named constants, not measured.

E_FP = T d C K r_s e_AC + T K e_soma_fp,    E_BP = T_b d C K r_g e_MAC + T_b K e_soma_bp,
E_WG = T_w d C K r_s r_g e_AC'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.ledger.primitives import PRIMITIVES


@dataclass(frozen=True)
class Engines:
    """Energies [pJ] of a training core with engines for forward, backward and weight-gradient work.

    The defaults are those of `sandbox.ledger.primitives`.
    """

    ac: float = PRIMITIVES.accumulate
    mac: float = PRIMITIVES.multiply_accumulate
    soma_forward: float = PRIMITIVES.soma_forward
    soma_backward: float = PRIMITIVES.soma_backward

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
    """Energy of one update, engine by engine, in the unit of the engines."""

    forward: float
    backward: float
    weight: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.forward + self.backward + self.weight


@dataclass(frozen=True)
class Synapses:
    """The numbers that describe a layer: inputs C of each cell, cells K, steps T, and the shares that are not zero."""

    inputs: int
    outputs: int
    steps: int
    batch: int = 1
    spikes: float = 1.0  # share of inputs that are spikes
    errors: float = 1.0  # share of errors that are not zero
    weights: float = 1.0  # share of weights that exist
    graded: bool = False  # whether inputs are numbers, and not spikes

    def __post_init__(self) -> None:
        for name in ("spikes", "errors", "weights"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a share between 0 and 1")


def training(
    layers: Sequence[Synapses], schedule: Schedule = SCHEDULES["bptt"], engines: Engines = NEUROMC, first: bool = True
) -> Training:
    """Estimate the energy of one update of these layers: computation alone, no optimiser, no memory.

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
    each = [of_layer(layer, schedule, engines, not first or number > 0) for number, layer in enumerate(layers)]
    return Training(*map(sum, zip(*each, strict=True))) if each else Training(0.0, 0.0, 0.0)


def of_layer(layer: Synapses, schedule: Schedule, engines: Engines, passes: bool = True) -> Training:
    """Estimate the energy of one update of one layer, as in `training`.

    Args:
        layer: its numbers.
        schedule: the backward work of the learning rule.
        engines: energy of each operation.
        passes: whether errors go on to the input of this layer.
    """
    pairs = layer.batch * layer.steps * layer.weights * layer.inputs * layer.outputs
    somas = layer.batch * layer.steps * layer.outputs
    met = pairs * layer.spikes * (engines.mac if layer.graded else engines.ac)
    passed = pairs * layer.errors * engines.mac if passes else 0.0
    price = engines.ac if schedule.spiking and not layer.graded else engines.mac
    return Training(
        (1 + schedule.probes) * (met + somas * engines.soma_forward),
        schedule.backward * (passed + somas * (engines.soma_backward + schedule.recursion * engines.mac)),
        schedule.weight * pairs * layer.spikes * layer.errors * price,
    )
