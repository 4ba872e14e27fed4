"""The kernels as torch operators, so that autograd, vmap and torch.compile support them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sandbox.kernels.launch.buffers import backward_buffers, forward_buffers, numbers, per_cell, read, summed
from sandbox.kernels.launch.call import call
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.kernels.write.emit import Variant, saved
from sandbox.machine.memory import empty

# `x` is [T, M], states are [M], params [M] or (), draws [T, M], constants [C] in float64
RUN, BACKWARD = "sandbox::run", "sandbox::run_backward"
torch.library.define(
    RUN,
    "(Tensor x, Tensor[] states, Tensor[] params, Tensor[] draws, Tensor constants, str key, int every) -> Tensor[]",
)
torch.library.define(
    BACKWARD,
    "(Tensor x, Tensor[] saves, Tensor[] params, Tensor[] draws, Tensor constants, Tensor[] outs, Tensor[] ends, "
    "str key, int every, int[] given, str names) -> Tensor[]",
)


@torch.library.impl(RUN, ("cpu", "cuda"))
def _run(
    x: Tensor,
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    draws: Sequence[Tensor],
    constants: Tensor,
    key: str,
    every: int,
) -> list[Tensor]:
    """Run all steps; return outputs `[T, M]`, the last state `[M]`, and every `every`-th state; none if that is 0."""
    structure = STRUCTURES[key]
    variant = Variant(per_cell(params), every > 0, every > 1)
    room = forward_buffers(structure, variant, x, states, every)
    x = rows(x)
    if x.numel():
        call(key, "forward", variant, x, room.named | read(params, draws), numbers(constants, params, x), every)
    return [*room.outs, *room.ends, *room.saves]


@torch.library.impl(BACKWARD, ("cpu", "cuda"))
def _run_backward(
    x: Tensor,
    saves: Sequence[Tensor],
    params: Sequence[Tensor],
    draws: Sequence[Tensor],
    constants: Tensor,
    outs: Sequence[Tensor],
    ends: Sequence[Tensor],
    key: str,
    every: int,
    given: Sequence[int],
    names: str,
) -> list[Tensor]:
    """Return the gradients of the inputs `names` and of the first state, from those of outputs and the last state.

    `outs` are the gradients of the outputs with the numbers `given`; the others are zero.
    """
    structure, each = STRUCTURES[key], per_cell(params)
    errors = {i: out.contiguous() for i, out in zip(given, outs, strict=True)}
    given_ = tuple(i in errors for i in range(len(structure.outputs)))
    variant = Variant(each, False, every > 1, given_, tuple(names.split()))
    bars, found, buffers = backward_buffers(structure, variant, x, saves, params, ends, key)
    buffers |= {f"g_out{i}": error for i, error in errors.items()}
    if every > 1:
        buffers |= {f"trail_{name}": empty((every, x.shape[1]), x) for name in saved(structure, variant)}
    x = rows(x)
    if x.numel():
        call(key, "backward", variant, x, buffers | read(params, draws), numbers(constants, params, x), every)
    whole = [summed(g) if name[0] == "p" and not each[int(name[1:])] else g for name, g in found.items()]
    return [*whole, *bars]


@torch.library.register_fake(RUN)  # type: ignore[untyped-decorator]
def _fake_run(x: Any, states: Any, params: Any, draws: Any, constants: Any, key: str, every: int) -> list[Tensor]:
    structure = STRUCTURES[key]
    kept = saved(structure, Variant(per_cell(params), True, every > 1)) if every else []
    outs = [x.new_empty(x.shape) for _ in structure.outputs]
    ends = [state.new_empty(state.shape) for state in states]
    return [*outs, *ends, *(x.new_empty(-(-x.shape[0] // every), x.shape[1]) for _ in kept)]


@torch.library.register_fake(BACKWARD)  # type: ignore[untyped-decorator]
def _fake_backward(
    x: Any,
    saves: Any,
    params: Any,
    draws: Any,
    constants: Any,
    outs: Any,
    ends: Any,
    key: str,
    every: int,
    given: Any,
    names: str,
) -> list[Tensor]:
    shapes = {"x": x.shape} | {f"d{i}": d.shape for i, d in enumerate(draws)}
    shapes |= {f"p{i}": p.shape for i, p in enumerate(params)}
    return [*(x.new_empty(shapes[name]) for name in names.split()), *(end.new_empty(end.shape) for end in ends)]


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    keep(ctx, inputs, output)
    first, *others = ctx.needs_input_grad  # of every tensor by itself, those of lists as well
    states, params, draws = inputs[1:4]
    ctx.needs = [first, *others[len(states) : len(states) + len(params) + len(draws)]]


def keep(ctx: Any, given: Sequence[Any], output: Any) -> None:
    """Save for the backward pass what it needs of the inputs and outputs."""
    x, states, params, draws, constants, key, every = given
    structure = STRUCTURES[key]
    saves = output[len(structure.outputs) + len(states) :]
    ctx.mark_non_differentiable(*saves)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, *saves, *params, *draws, constants)
    ctx.key, ctx.every, ctx.counts = key, every, (len(saves), len(params), len(draws))


def back(ctx: Any, grads: Sequence[Tensor | None], operator: Any = None) -> tuple[Any, ...]:
    """Return the gradients of all inputs of `run`; `operator` is `run_backward` by default."""
    structure = STRUCTURES[ctx.key]
    x, *rest, constants = ctx.saved_tensors
    n, p, d = ctx.counts
    saves, params, draws = rest[:n], rest[n : n + p], rest[n + p :]
    outs, ends = grads[: len(structure.outputs)], grads[len(structure.outputs) :][: structure.states]
    given = [i for i, g in enumerate(outs) if g is not None]
    names = ["x", *(f"p{i}" for i in range(p)), *(f"d{i}" for i in range(d))]
    reached = structure.backward[1]
    wanted = [name for name, need in zip(names, ctx.needs, strict=True) if need and name in reached]
    bars = [x.new_zeros(x.shape[1:]) if g is None else g for g in ends]
    errors = [g for g in outs if g is not None]
    found = (operator or run_backward)(
        x, saves, params, draws, constants, errors, bars, ctx.key, ctx.every, given, " ".join(wanted)
    )
    by_name = dict(zip(wanted, found, strict=False))
    of_params = [by_name.get(f"p{i}") for i in range(p)]
    of_draws = [by_name.get(f"d{i}") for i in range(d)]
    return by_name.get("x"), list(found[len(wanted) :]), of_params, of_draws, None, None, None


def twice(ctx: Any, *grads: Any) -> Any:
    """Raise RuntimeError: kernels have no second derivative."""
    raise RuntimeError("second derivatives are not in the kernels: run this under sandbox.kernels.using('plain')")


torch.library.register_autograd(RUN, back, setup_context=_remember)
torch.library.register_autograd(BACKWARD, twice)
run, run_backward = torch.ops.sandbox.run.default, torch.ops.sandbox.run_backward.default


def rows(x: Tensor) -> Tensor:
    """Return `x` with cells adjacent in memory; an input with stride 0 in time stays one row.

    A kernel has one stride only, from row to row. Rows that overlap, such as those of `unfold`, are copied, too.
    """
    dense = x.shape[1] <= 1 or x.stride(1) == 1
    return x if dense and (x.stride(0) == 0 or x.stride(0) >= x.shape[1]) else x.contiguous()
