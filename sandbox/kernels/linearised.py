"""Run a sequence in a kernel that also gives the derivatives of every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Local
from rules.local import differentiated
from sandbox.kernels.recurrent import admit, recurring
from sandbox.kernels.sequence import found_for, run
from sandbox.kernels.trace.derived import STEADY, Derived, derived
from sandbox.kernels.trace.step import Body
from sandbox.kernels.trace.structure import Structure
from sandbox.machine.memory import empty
from sandbox.neurons.stepping import differentiable


def linearised(
    neuron: Any,
    synapse: nn.Linear | None,
    body: Body,
    label: Any,
    currents: Tensor,
    state: Any,
    last: Tensor | None,
    dt: float,
) -> tuple[Tensor, Any, Local]:
    """Run all steps of cells `[T, B, ...]`; recurrent ones from the output `last`.

    Returns: Output, last state, and the derivatives of each step, `[..., T, B, ...]`. Those that are the same in every
    step are held once.

    Raises:
        Unsupported: if the plain loop has to run.
    """
    if synapse is not None and last is not None:
        admit(synapse, currents, last)
    found = found_for(neuron, body, label, currents, state, dt)
    names = differentiable(state)
    more = _derived(found.structure, tuple(found.states.index(name) for name in names))
    plan = replace(found, structure=more.structure)
    with torch.no_grad():
        if synapse is None or last is None:
            outputs, end = run(plan, neuron, currents, state)
        else:
            outputs, end = recurring(plan, neuron, [synapse], currents, state, last)
    first = state._replace(**{name: value[:1] for name, value in state._asdict().items() if value is not None})

    def step(current: Tensor, values: Any) -> Any:
        output, after = neuron.step(current, first._replace(**dict(zip(names, values, strict=True))), dt)
        return output, tuple(getattr(after, name) for name in names)

    one = differentiated(step, currents[0, :1], [getattr(first, name) for name in names])
    return outputs[0], end, filled(more, outputs, one, currents.shape)


def filled(more: Derived, outputs: Sequence[Tensor], one: Local, shape: torch.Size) -> Local:
    """Return the derivatives `[..., *shape]`: those of a kernel, and of `one` step where they are the same in all."""
    rows = [*torch.cat([one.kept, one.driven[:, None]], 1), one.shown]

    def part(entries: Sequence[tuple[int, int]]) -> Tensor:
        kinds = [more.table[i][j] for i, j in entries]
        values = [
            rows[i][j] if kind in (None, STEADY) else outputs[kind] for (i, j), kind in zip(entries, kinds, strict=True)
        ]
        if all(kind in (None, STEADY) for kind in kinds):
            return torch.stack(values)[:, None].expand(len(values), *shape)
        return torch.stack([value.expand(shape) for value in values], out=empty((len(values), *shape), values[0]))

    k = len(rows) - 1
    kept = part([(i, j) for i in range(k) for j in range(k)]).unflatten(0, (k, k))
    return Local(kept, part([(i, k) for i in range(k)]), part([(k, j) for j in range(k + 1)]))


@lru_cache(maxsize=512)
def _derived(structure: Structure, states: tuple[int, ...]) -> Derived:
    return derived(structure, states)
