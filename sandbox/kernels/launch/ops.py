"""The kernels as torch operators, so that autograd, vmap and torch.compile support them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

from sandbox.kernels.launch.buffers import backward_buffers, forward_buffers, numbers, per_cell, read, summed
from sandbox.kernels.launch.call import call
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.kernels.trace.structure import Structure
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
    needs = ctx.needs_input_grad  # of every tensor by itself, those of lists as well
    states, params, draws = inputs[1:4]
    ctx.free = needs[: 1 + len(states) + len(params) + len(draws)]
    ctx.versioned = True
    keep(ctx, inputs, output)


def keep(ctx: Any, given: Sequence[Any], output: Any) -> None:
    """Save for the backward pass what it needs of the inputs and outputs."""
    x, states, params, draws, constants, key, every = given
    results = len(STRUCTURES[key].outputs) + len(states)
    saves = output[results:]
    ctx.mark_non_differentiable(*unfollowed(key, ctx.free, len(x), output[:results]), *saves)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, *saves, *params, *draws, constants)
    ctx.key, ctx.every, ctx.counts = key, every, (len(saves), len(params), len(draws))
    # not saved: only second derivatives read them, and a state may be changed in place before a first one
    ctx.first = [(state, state._version if ctx.versioned else 0) for state in states]


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
    needs = [ctx.free[0], *ctx.free[1 + structure.states :]]
    wanted = [name for name, need in zip(names, needs, strict=True) if need and name in reached]
    if ctx.versioned and (torch.is_grad_enabled() or batched([*outs, *ends])):
        return _in_torch(ctx, structure, x, params, draws, constants, [*outs, *ends])
    bars = [x.new_zeros(x.shape[1:]) if g is None else g for g in ends]
    errors = [g for g in outs if g is not None]
    found = (operator or run_backward)(
        x, saves, params, draws, constants, errors, bars, ctx.key, ctx.every, given, " ".join(wanted)
    )
    by_name = dict(zip(wanted, found, strict=False))
    of_params = [by_name.get(f"p{i}") for i in range(p)]
    of_draws = [by_name.get(f"d{i}") for i in range(d)]
    return by_name.get("x"), list(found[len(wanted) :]), of_params, of_draws, None, None, None


def batched(errors: Sequence[Tensor | None]) -> bool:
    """Return whether gradients are several at once (`is_grads_batched`), for which an operator has no rule."""
    return any(error is not None and _functorch.is_legacy_batchedtensor(error) for error in errors)


def _in_torch(
    ctx: Any,
    structure: Structure,
    x: Tensor,
    params: Sequence[Tensor],
    draws: Sequence[Tensor],
    constants: Tensor,
    errors: Sequence[Tensor | None],
) -> tuple[Any, ...]:
    """Do what `back` does for errors that a kernel cannot take: torch computes and differentiates the steps again."""
    from sandbox.kernels.launch.again import gradients, unchanged

    groups = {"s": unchanged(ctx.first), "p": params, "d": draws}
    found = gradients(structure, {"x": x} | named(groups), constants, errors)
    return (found.get("x"), *listed(groups, found), None, None, None)


def named(groups: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of groups by the letter of the group and their number."""
    return {f"{kind}{i}": each for kind, group in groups.items() for i, each in enumerate(group)}


def listed(groups: Mapping[str, Sequence[Tensor]], found: Mapping[str, Tensor | None]) -> list[list[Tensor | None]]:
    """Return what was found for `named(groups)` in lists, group by group; None for what is missing."""
    return [[found.get(f"{kind}{i}") for i in range(len(group))] for kind, group in groups.items()]


def unfollowed(key: str, free: Sequence[bool], steps: int, results: Sequence[Tensor], fed: int = 0) -> list[Tensor]:
    """Return the outputs and last states that, as in the plain loop, do not require a gradient.

    Args:
        key: of the structure.
        free: which inputs do: `x`, states, parameters and draws.
        steps: of the sequence.
        results: the outputs, and the last states.
        fed: how many inputs the first output of a step is part of in the next one.
    """
    followed = _followed(key, tuple(free), min(steps, len(results) + 2), fed)
    return [result for result, live in zip(results, followed, strict=True) if not live]


@lru_cache(maxsize=1024)
def _followed(key: str, free: tuple[bool, ...], steps: int, fed: int) -> tuple[bool, ...]:
    structure = STRUCTURES[key]
    names = ["x", *(f"{kind}{i}" for kind, n in structure.sizes.items() for i in range(n))]
    return structure.followed(frozenset(name for name, need in zip(names, free, strict=True) if need), steps, fed)


def twice(ctx: Any, *grads: Any) -> Any:
    """Raise RuntimeError: the kernel of a gradient has no derivative itself, and nothing in the house asks for one."""
    raise RuntimeError("this gradient cannot be differentiated again: run it under sandbox.kernels.using('plain')")


torch.library.register_autograd(RUN, back, setup_context=_remember)
torch.library.register_autograd(BACKWARD, twice)
run, run_backward = torch.ops.sandbox.run.default, torch.ops.sandbox.run_backward.default


def rows(x: Tensor) -> Tensor:
    """Return `x` with cells adjacent in memory; an input with stride 0 in time stays one row.

    A kernel has one stride only, from row to row. Rows that overlap, such as those of `unfold`, are copied, too.
    """
    dense = x.shape[1] <= 1 or x.stride(1) == 1
    return x if dense and (x.stride(0) == 0 or x.stride(0) >= x.shape[1]) else x.contiguous()
