"""The source of a neuron's kernels, for people to read."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from sandbox.kernels.plans import planned
from sandbox.kernels.trace.derived import STEADY, derived
from sandbox.kernels.trace.plan import Plan
from sandbox.kernels.unsupported import Unsupported
from sandbox.kernels.write.emit import Variant, Words
from sandbox.kernels.write.emit_backward import backward
from sandbox.kernels.write.emit_forward import forward
from sandbox.kernels.write.numba_words import Numba
from sandbox.kernels.write.triton_words import Triton
from sandbox.machine.compiled import valid
from sandbox.neurons.stepping import body_of, differentiable

WORDS: dict[str, type[Words]] = {"numba": Numba, "triton": Triton}


def listing(
    neuron: Any, dt: float, dtype: torch.dtype, record: tuple[str, ...], backend: str, derivatives: bool
) -> str:
    """Return the source of forward and backward kernel, below a comment with the neuron's constants.

    With `derivatives`, also that of the forward kernel that has the derivatives of a step among its outputs.
    """
    words = WORDS[valid("back end of the kernels", backend, WORDS)]
    state = neuron.initial_state((1,), torch.zeros(1, dtype=dtype))
    try:
        plan = planned(neuron, partial(body_of, record, False), (record, False), dtype, state, dt)
    except Unsupported as reason:
        raise RuntimeError(f"{type(neuron).__name__} has no kernel: {reason}") from None
    structure = plan.structure
    draws = torch.full((1,), 0.5)
    before = plan.beforehand(neuron, lambda stream, dtype: draws.to(dtype))[: structure.params]
    each = tuple(value.numel() > 1 for value in before)
    given = tuple(True for _ in structure.outputs)
    wanted = ("x", *(f"p{i}" for i in range(structure.params)))
    ahead, _ = forward(structure, Variant(each, save=True), words)
    back, _ = backward(structure, Variant(each, given=given, wanted=wanted), words)
    numbers = ", ".join(f"k{i} = {value:.17g}" for i, value in enumerate(plan.constants.tolist()))
    states = ", ".join(f"s{i} = {name}" for i, name in enumerate(plan.states))
    text = f"# x = current, {states}\n# {numbers}\n# forward\n{ahead}# backward\n{back}"
    return text + with_derivatives(plan, differentiable(state), each, words) if derivatives else text


def with_derivatives(plan: Plan, names: list[str], each: tuple[bool, ...], words: type[Words]) -> str:
    """Return the source of the forward kernel with derivatives, below a comment that names these."""
    more = derived(plan.structure, tuple(plan.states.index(name) for name in names))
    text, _ = forward(more.structure, Variant(each), words)
    ends, inputs = (*names, "output"), (*names, "current")
    outputs = [
        f"out{number} = d {ends[i]} / d {inputs[j]}"
        for i, row in enumerate(more.table)
        for j, number in enumerate(row)
        if number is not None and number != STEADY
    ]
    return f"# forward with derivatives: {', '.join(outputs) or 'none that change'}\n{text}"
