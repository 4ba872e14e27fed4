"""Accesses to registers and SRAM as the preset "NeuroMC" maps them: tiles of sixteen channels, weights stationary."""

from __future__ import annotations

from math import ceil, prod

from sandbox.hardware.plans import Plan
from sandbox.hardware.stores import Memory, Store
from sandbox.hardware.workload import WORD, Layer
from sandbox.ledger.training import Training

TILE = 16  # channels that enter, and that leave, an array


def streamed(layer: Layer, plan: Plan, memory: Memory, last: bool = True) -> Training:
    """Return the energy of memory of one layer in one update, engine by engine, without DRAM.

    Forward and backward, the operand of an engine is read once for every tile of 16 channels that are summed, and its
    partial sums are read and written as often; weights are read once. For weight gradients both operands are read once
    for every 16 products. Registers are accessed with every product. A step of a neuron reads and writes what its
    formula has. Zeros are not skipped.

    Reference: the mapping of SpikingJelly's operation counter (`neuromc`), read in its code; shares of a learning rule
    are ours.
    """
    over = plan.over(layer.steps)
    somas = layer.batch * layer.steps * layer.cells
    down = over.backward if layer.passes and plan.down else 0.0
    learns = over.weight if last or not plan.last else 0.0
    return Training(
        (1 + over.probes) * (_products(layer, memory, layer.inputs, layer.cells) + somas * soma_forward(memory)),
        down * _products(layer, memory, layer.outputs, layer.afferents, back=True)
        + over.backward * somas * soma_backward(memory),
        learns * _gradients(layer, memory, layer.graded or not over.spiking),
    )


def _products(layer: Layer, memory: Memory, summed: int, put_out: int, back: bool = False) -> float:
    """Return the energy of accesses of the forward or the backward engine.

    Args:
        layer: its sizes.
        memory: of the core.
        summed: channels that are summed.
        put_out: numbers that leave the engine for a sample and a step.
        back: whether operands are errors.
    """
    made, out = layer.macs, layer.batch * layer.steps * put_out
    tiles = ceil(summed / TILE) * prod(layer.kernel)
    partial, moved = out * (tiles - 1), out * tiles
    wide, place = _operand(memory, layer.graded or back, memory.activation if back else memory.weight)
    weights = layer.fan_in * layer.outputs
    registers = _both(_register(memory, wide), made * wide) + _both(memory.register, weights * layer.bits)
    registers += memory.register.reading((2 * made - out) * WORD) + memory.register.writing((made + partial) * WORD)
    stores = place.reading(moved * wide) + memory.weight.reading(weights * layer.bits)
    return registers + stores + memory.activation.reading(partial * WORD) + memory.activation.writing(moved * WORD)


def _gradients(layer: Layer, memory: Memory, graded: bool) -> float:
    """Return the energy of accesses of the engine for weight gradients."""
    made, out = layer.macs, layer.fan_in * layer.outputs
    wide, place = _operand(memory, graded, memory.activation)
    inputs, errors = ceil(made / min(layer.outputs, TILE)), ceil(made / min(layer.inputs, TILE))
    registers = _both(_register(memory, wide), made * wide) + _both(memory.register, made * WORD)
    registers += _both(memory.register, made * WORD)  # sums
    stores = place.reading(inputs * wide) + memory.activation.reading(errors * WORD)
    return registers + stores + memory.weight.writing(out * WORD)


def _operand(memory: Memory, graded: bool, place: Store) -> tuple[int, Store]:
    """Return the bits of an operand, and where it comes from."""
    return (WORD, place) if graded else (1, memory.spike)


def _register(memory: Memory, bits: int) -> Store:
    return memory.bit if bits == 1 else memory.register


def _both(store: Store, bits: float) -> float:
    return store.reading(bits) + store.writing(bits)


def soma_forward(memory: Memory) -> float:
    """Return the energy of accesses of a step of a neuron: current, membrane, spike, and a mask that is written.

    Everything is read and written once, in registers and in SRAM.
    """
    near = _both(memory.register, 2 * WORD) + _both(memory.bit, 1) + memory.bit.writing(1)
    return (
        near
        + _both(memory.activation, WORD)
        + _both(memory.membrane, WORD)
        + _both(memory.mask, 1)
        + (memory.mask.writing(1))
    )


def soma_backward(memory: Memory) -> float:
    """Return the energy of accesses of a step back: the sum, membrane, spike, mask and error are read.

    The error is written into a register, and the membrane's line in SRAM, as in the preset.
    """
    near = memory.register.reading(3 * WORD) + memory.register.writing(WORD) + memory.bit.reading(2)
    lines = memory.membrane.reading(2 * WORD) + memory.membrane.writing(WORD)
    return near + memory.activation.reading(WORD) + lines + memory.mask.reading(2)
