"""A chip of many cores, each with a forward, a backward and a weight-gradient engine: time, DRAM traffic, utilisation.

From the abstract of arXiv 2412.05302 come the three engines of each core, that they and the cores work at the same
time, several dataflows, the use of sparsity, and 1.05 TFLOPS/W. All else is our reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import NamedTuple

from rules.errors import unknown
from sandbox.hardware.arrays import DATAFLOWS, Accesses, Product, loops
from sandbox.hardware.constants import ANCHOR, MIB
from sandbox.hardware.workload import WORD, Layer, Workload


@dataclass(frozen=True)
class Chip:
    """The sizes of a chip; the defaults are ours, but for 20 cores.

    Args:
        cores: how many.
        rows: of the array of each engine: inputs, or places, at the same time.
        columns: of it: outputs at the same time.
        buffer: bytes on each core for what an engine holds.
        bandwidth: bytes from and to DRAM in a cycle, all cores together; infinite for none to wait for.
        dataflow: what the arrays hold, a key of DATAFLOWS.
        skips: whether products with a zero take no time.
        overlapped: whether the engines of a core work at the same time, on different batches.

    Raises:
        ValueError: for a size below 1 and an unknown dataflow.
    """

    cores: int = 20
    rows: int = 16
    columns: int = 16
    buffer: int = 2 * MIB
    bandwidth: float = 32.0
    dataflow: str = "weight_stationary"
    skips: bool = False
    overlapped: bool = False

    def __post_init__(self) -> None:
        for name in ("cores", "rows", "columns", "buffer"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
        if not self.bandwidth > 0:
            raise ValueError(f"bandwidth={self.bandwidth}: give bytes in a cycle, above 0; math.inf for no limit")
        if self.dataflow not in DATAFLOWS:
            raise unknown("dataflow", self.dataflow, DATAFLOWS)


class Pass(NamedTuple):
    """One engine on one layer, on all cores."""

    layer: str
    engine: str
    macs: int  # of all cores, zeros included
    work: float  # of those, the products that are made
    cycles: int
    busy: int  # of these cycles, those in which arrays work
    accesses: Accesses  # between arrays and buffers, of all cores
    dram_bytes: float


@dataclass(frozen=True)
class Simulation:
    """How long one update takes on a chip, and what moves."""

    chip: Chip
    passes: tuple[Pass, ...]

    @property
    def cycles(self) -> int:
        """Cycles of an update: of all passes one after the other, or of the busiest engine if these overlap."""
        engines = {each.engine for each in self.passes}
        spent = [sum(each.cycles for each in self.passes if each.engine == engine) for engine in engines]
        return max(spent) if self.chip.overlapped else sum(spent)

    @property
    def dram_bytes(self) -> float:
        """Bytes that move between chip and DRAM."""
        return sum(each.dram_bytes for each in self.passes)

    @property
    def utilisation(self) -> float:
        """Share of the products that the engines could have made: one engine at a time, or all if they overlap."""
        engines = len({each.engine for each in self.passes}) if self.chip.overlapped else 1
        could = self.cycles * self.chip.cores * self.chip.rows * self.chip.columns * engines
        return sum(each.work for each in self.passes) / could if could else 0.0  # nothing but zeros, all skipped

    @property
    def anchored(self) -> float:
        """Energy [pJ] at 1.05 TFLOPS/W, everything included, for the products that are made."""
        return ANCHOR * sum(each.work for each in self.passes)


def simulate_chip(workload: Workload, chip: Chip = Chip()) -> Simulation:
    """Simulate one update by backpropagation through all steps.

    The channels that an engine puts out are divided among cores, so that each core holds its own part of the weights
    and all of them read the same inputs. A pass takes as long as the core with most channels, or as its traffic to DRAM
    if that takes longer. What an array holds has the buffer: weights, or sums; if it does not fit, the operand that
    passes by is fetched once for each part that does.

    Args:
        workload: the layers.
        chip: its sizes.

    >>> one = simulate_chip(Workload((Layer("hidden", 256, 256, steps=16),)), Chip(cores=1, bandwidth=1e9))
    >>> one.cycles * 16 * 16 == 3 * 256 * 256 * 16, one.utilisation
    (True, 1.0)
    """
    return Simulation(
        chip,
        tuple(
            _pass(layer, engine, product, chip) for layer in workload.layers for engine, product in loops(layer).items()
        ),
    )


def speed_up(workload: Workload, chip: Chip = Chip()) -> float:
    """Return how many times faster an update is on all cores than on one of them; 1 if it takes no time."""
    one, many = (simulate_chip(workload, each).cycles for each in (replace(chip, cores=1), chip))
    return one / many if many else 1.0


def _pass(layer: Layer, engine: str, product: Product, chip: Chip) -> Pass:
    share = _share(layer, engine) if chip.skips else 1.0
    largest = product._replace(made=ceil(product.made / chip.cores))
    flow = DATAFLOWS[chip.dataflow]
    busy = ceil(flow.tiles(largest, chip.rows, chip.columns) * share)
    moved = _dram(layer, engine, product, chip)
    parts = [product._replace(made=made) for made in _divided(product.made, chip.cores) if made]
    each = [flow.accesses(part, chip.rows, chip.columns) for part in parts]
    accesses = Accesses(*map(sum, zip(*each, strict=True)))
    cycles = max(busy, ceil(moved / chip.bandwidth))
    return Pass(layer.name, engine, product.macs, product.macs * share, cycles, busy, accesses, moved)


def _divided(channels: int, cores: int) -> list[int]:
    """Return the channels of each core, as evenly as whole numbers can be.

    >>> _divided(10, 4)
    [3, 3, 2, 2]
    """
    each, rest = divmod(channels, cores)
    return [each + (core < rest) for core in range(cores)]


def _share(layer: Layer, engine: str) -> float:
    """Return the share of products without a zero."""
    shares = {"forward": layer.spikes, "backward": layer.errors, "weight": layer.spikes * layer.errors}
    return layer.weights * shares[engine]


def _dram(layer: Layer, engine: str, product: Product, chip: Chip) -> float:
    """Return the bytes of a pass that move between chip and DRAM."""
    number, spike = WORD / 8, (WORD if layer.graded else 1) / 8
    weights, gradients = layer.parameters * layer.bits / 8, layer.parameters * number
    rows = layer.batch * layer.steps
    entering, cells = rows * layer.afferents, rows * layer.cells * number
    held, passing, out = {
        "forward": (weights, entering * spike, cells),
        "backward": (weights, cells, entering * number),
        "weight": (cells, entering * spike, gradients),
    }[engine]
    return DATAFLOWS[chip.dataflow].fetched(held, passing, out, partial(_parts, channels=product.made, chip=chip))


def _parts(size: float, channels: int, chip: Chip) -> int:
    """Return into how many parts that fit a buffer a core divides its channels of something so large [bytes]."""
    return max(1, ceil(size * ceil(channels / chip.cores) / channels / chip.buffer))
