"""Named sets of constants: what an operation and an access take, which zeros are skipped, and where this was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sandbox.hardware.stores import Memory, Store
from sandbox.ledger.energy import CMOS_45NM
from sandbox.ledger.primitives import PRIMITIVES
from sandbox.ledger.training import NEUROMC as NEUROMC_ENGINES
from sandbox.ledger.training import Engines

ANCHOR = 2 / 1.05  # [pJ] for a multiply-accumulate: the abstract of arXiv 2412.05302 has 1.05 TFLOPS/W, two FLOP each
MIB = 2**20


class Skips(NamedTuple):
    """Which engines leave out the work of a zero; none by default."""

    forward: bool = False  # where the input is zero
    backward: bool = False  # where the error is zero
    weight_spikes: bool = False  # of weight gradients where the input is zero
    weight_errors: bool = False  # where the error is zero
    gradients: bool = False  # accesses to gradients that no sample of the batch adds to


@dataclass(frozen=True)
class Hardware:
    """One set of constants and the estimator that they belong to.

    Args:
        name: as it is asked for.
        estimator: how counts are made.
        unit: of every energy.
        source: where the constants were read.
        covers: what totals include, and what they do not.
        engines: energies of an accumulation, a multiply-accumulate and a step of a neuron.
        add: energy of an addition.
        multiply: of a multiplication.
        root: of a square root; None if unknown, so that Adam cannot be priced.
        skips: the zeros that take no work.
        memory: prices of accesses; None where memory is not covered.
        streamed: whether operands are fetched tile by tile, as "NeuroMC" does, or tensor by tensor.
        dram: whether totals include accesses to DRAM, unless asked otherwise.
    """

    name: str
    estimator: str
    unit: str
    source: str
    covers: str
    engines: Engines
    add: float
    multiply: float
    root: float | None
    skips: Skips
    memory: Memory | None
    streamed: bool = False
    dram: bool = True


REGISTER = 0.14416 / 7.1 * 2  # [pJ] of 16 bits
BIT_REGISTER = 0.00901 / 7.1 * 2  # [pJ] of one bit
SPIKE, WEIGHT, ACTIVATION = 0.44854798, 5.302477904, 5.792676768  # [pJ] of an access to an SRAM: 1, 16 and 16 bits
MEMBRANE, MASK = 92.68282828, 7.176767677  # [pJ] of a line of 256 bits, and of 16 spikes
MASTER_READ, MASTER_WRITE = 458.1830181, 375.0422185  # [pJ] of a line of 256 bits in an SRAM of 6 MB
DRAM = 1300.0  # [pJ] of 64 bits

NEUROMC_MEMORY = Memory(
    register=Store(REGISTER, REGISTER, 16),
    bit=Store(BIT_REGISTER, BIT_REGISTER, 1),
    spike=Store(SPIKE, SPIKE, 1),
    weight=Store(WEIGHT, WEIGHT, 16),
    activation=Store(ACTIVATION, ACTIVATION, 16),
    membrane=Store(MEMBRANE, MEMBRANE, 256),
    mask=Store(MASK, MASK, 16),
    master=Store(MASTER_READ, MASTER_WRITE, 256),
    dram=Store(DRAM, DRAM, 64),
    buffer=2 * MIB,
)
CODE = (
    'the preset "NeuroMC" of SpikingJelly\'s operation counter (16 bits, 32 nm), read in its code; it names Nature '
    "Communications s41467-026-70586-x; for trends only, SpikingJelly #734 says"
)

NEUROMC = Hardware(
    name="neuromc",
    estimator="dense counts: zeros of spikes and errors take as much as other numbers, weights that are 0 nothing",
    unit="pJ",
    source=CODE,
    covers="operations, registers and SRAM; no DRAM unless asked, no network on chip",
    engines=NEUROMC_ENGINES,
    add=PRIMITIVES.add,
    multiply=PRIMITIVES.multiply,
    root=PRIMITIVES.root,
    skips=Skips(),
    memory=NEUROMC_MEMORY,
    streamed=True,
    dram=False,
)
NEUROMC_SPARSE = Hardware(
    name="neuromc_sparse",
    estimator="counts times the shares that are not zero, by learning rule; our own formula",
    unit="pJ",
    source=f"{CODE}; that zeros are skipped, and how tensors move, is our reconstruction",
    covers="operations, and each tensor in SRAM if it fits the buffer, otherwise in DRAM; no registers",
    engines=NEUROMC_ENGINES,
    add=PRIMITIVES.add,
    multiply=PRIMITIVES.multiply,
    root=PRIMITIVES.root,
    skips=Skips(True, True, True, True, True),
    memory=NEUROMC_MEMORY,
)

# Energies of SATA, in its own unit: a multiply-accumulate is 0.2779, so that an access to SRAM is 7 of these and one to
# DRAM 200.
_MULTIPLY, _ACCUMULATE, _ADD, _AND = 0.239, 0.0389, 0.00967, 0.000794
_COMPARE, _MULTIPLEX, _REGISTER, _SHIFT = 0.00309, 0.00172, 0.0301, 0.00605
_SRAM, _DRAM = Store(1.95, 1.95, 16), Store(55.58, 55.58, 16)
_NEAR = Store(0.2779, 0.2779, 16)  # a scratchpad

SATA = Hardware(
    name="sata",
    estimator=(
        "counts times the share of spikes (forward, weight gradients) or of errors (backward), dense layers included "
        "and each of them added, where the released script overwrites and ignores zeros"
    ),
    unit="unit of SATA (a multiply-accumulate is 0.2779)",
    source="Yin et al., arXiv 2204.05422, and the code of SATA_Sim; 16-bit words and a buffer of 2 MiB are ours",
    covers="operations, and each tensor in SRAM if it fits the buffer, otherwise in DRAM; no scratchpads",
    engines=Engines(
        ac=_AND + _ACCUMULATE,
        mac=_MULTIPLY + _ACCUMULATE,
        soma_forward=_ADD + _COMPARE + 2 * _MULTIPLEX + 3 * _REGISTER + _SHIFT,
        soma_backward=_MULTIPLY + 2 * _ADD + _MULTIPLEX + 2 * _SHIFT,
    ),
    add=_ADD,
    multiply=_MULTIPLY,
    root=None,
    skips=Skips(forward=True, backward=True, weight_spikes=True),
    memory=Memory(_NEAR, _NEAR, _SRAM, _SRAM, _SRAM, _SRAM, _SRAM, _SRAM, _DRAM, 2 * MIB),
)
HOROWITZ = Hardware(
    name="horowitz_45nm",
    estimator="counts times the shares that are not zero, by learning rule; our own formula",
    unit="pJ",
    source=CMOS_45NM.source,
    covers="additions and multiplications of synapses and traces; no neurons, no memory",
    engines=Engines(CMOS_45NM.ac, CMOS_45NM.mac, 0.0, 0.0),
    add=CMOS_45NM.ac,
    multiply=CMOS_45NM.mac - CMOS_45NM.ac,
    root=None,
    skips=Skips(True, True, True, True, True),
    memory=None,
)

HARDWARE: dict[str, Hardware] = {each.name: each for each in (NEUROMC, NEUROMC_SPARSE, SATA, HOROWITZ)}
