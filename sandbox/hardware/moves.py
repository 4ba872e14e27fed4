"""Accesses to memory tensor by tensor, E_mem = sum (reads e_r + writes e_w): in SRAM if it fits, else in DRAM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sandbox.hardware.plans import Plan
from sandbox.hardware.stores import Memory, Store
from sandbox.hardware.workload import WORD, Layer


class Move(NamedTuple):
    """What an engine reads and writes of one tensor [bits], and how large the tensor is."""

    engine: str
    tensor: str
    size: float  # bits that are kept at the same time
    reads: float
    writes: float
    store: Store  # where it is if it fits
    added: bool = False  # by the learning rule, so that none of the three engines has it as an operand

    def place(self, memory: Memory, buffer: int) -> Store:
        """Return where the tensor is, given a buffer in bytes."""
        return self.store if self.size <= 8 * buffer else memory.dram

    def energy(self, memory: Memory, buffer: int) -> float:
        """Return the energy of all accesses."""
        place = self.place(memory, buffer)
        return place.reading(self.reads) + place.writing(self.writes)


def kept_steps(layer: Layer, plan: Plan) -> float:
    """Return the number of steps whose membranes and spikes are kept until errors come."""
    whole = {"steps": layer.steps, "sampled": min(plan.window or plan.sampled or layer.steps, layer.steps)}
    return float(whole.get(plan.state, 1))


def state_bits(layer: Layer, plan: Plan) -> float:
    """Return the bits that a rule keeps of one layer for learning, at most.

    Of each cell and kept step a membrane and its derivative of 16 bits, a spike and a mask; of each trace and each
    synapse 16 bits; of a spike its time in 16 bits; of probes a seed of 64 bits.
    """
    cells = layer.batch * layer.cells
    if plan.state == "seed":
        return 64.0
    if plan.state == "spikes":
        return cells * layer.steps * layer.fires * WORD
    traces = plan.traces * layer.batch * layer.afferents + plan.cell_traces * cells
    eligible = plan.eligibility * layer.batch * layer.parameters
    return kept_steps(layer, plan) * cells * (2 * WORD + 2) + WORD * (traces + eligible)


def touched(layer: Layer, plan: Plan) -> float:
    """Return the share of gradients that a step adds to, 1 - (1 - r_s r_g)^B, if zeros are independent: ours."""
    return float(1 - (1 - layer.spikes * plan.gating(layer)) ** layer.batch)


def moves(layer: Layer, plan: Plan, memory: Memory, last: bool = True, gradients: float = 1.0) -> Iterator[Move]:
    """Yield the accesses of one layer in one update.

    Weights are read once in each pass, gradients of weights are read and written at every step that has any; membranes
    and spikes are written forward and read again backward. Which tensors move how often is our reading of the
    description of SATA (arXiv 2204.05422), for all rules.

    Args:
        layer: its sizes.
        plan: of the learning rule.
        memory: of the core.
        last: whether this is the last layer, for rules that train no other.
        gradients: share of them that are accessed at a step, 1 by default: all.
    """
    over = plan.over(layer.steps)
    rows, kept = layer.batch * layer.steps, kept_steps(layer, plan) / layer.steps
    weights, cells, entering = layer.parameters * layer.bits, rows * layer.cells, rows * layer.afferents
    membranes = cells * WORD

    def inputs(engine: str, graded: bool, times: float) -> Move:
        bits = entering * (WORD if graded else 1)
        return Move(engine, "inputs", kept * bits, times * bits, 0.0, memory.activation if graded else memory.spike)

    passes = 1 + over.probes
    yield Move("forward", "weights", weights, passes * weights, 0.0, memory.weight)
    yield inputs("forward", layer.graded, passes)
    yield Move("forward", "membranes", kept * membranes, passes * membranes, passes * membranes, memory.membrane)
    yield Move("forward", "spikes", kept * cells, 0.0, passes * cells, memory.mask)
    if over.backward:
        errors, down = over.backward * membranes, layer.passes and plan.down
        yield Move("backward", "weights", weights, weights * down, 0.0, memory.weight)
        yield Move("backward", "membranes", kept * membranes, errors, 0.0, memory.membrane)
        yield Move("backward", "spikes and masks", 2 * kept * cells, 2 * over.backward * cells, 0.0, memory.mask)
        yield Move("backward", "errors", kept * membranes, errors, errors, memory.activation)
    if over.weight and (last or not plan.last):
        held = layer.parameters * WORD
        summed = over.weight * layer.steps * gradients * held
        yield inputs("weight", layer.graded or not over.spiking, over.weight)
        yield Move("weight", "errors", kept * membranes, over.weight * membranes, 0.0, memory.activation)
        yield Move("weight", "gradients", held, summed, summed, memory.weight)
    yield from _added(layer, plan, memory)


def _added(layer: Layer, plan: Plan, memory: Memory) -> Iterator[Move]:
    """Yield the accesses to traces, each read and written at every step."""
    held = {
        "traces": plan.traces * layer.batch * layer.afferents + plan.cell_traces * layer.batch * layer.cells,
        "eligibilities": plan.eligibility * layer.batch * layer.parameters,
    }
    for tensor, numbers in held.items():
        if numbers:
            bits = float(numbers * WORD)
            yield Move("weight", tensor, bits, layer.steps * bits, layer.steps * bits, memory.activation, added=True)
