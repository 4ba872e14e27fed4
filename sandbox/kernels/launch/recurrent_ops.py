"""Synapse and neuron in one loop, as torch operators: a step of the kernel and a matrix product in turn.

    I[t] = x[t] + b + h[t] W.T,    s[t], state = step(I[t], state),    h[t + 1] = s[t]
    dL/dh[t] = dL/dI[t] W,         dL/dW = sum over t of dL/dI[t].T h[t],    dL/db = sum over t of dL/dI[t]

The gradient of the weight is one product after the loop, whereas the plain loop accumulates it step by step. Currents
and membranes of all steps are kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sandbox.kernels.launch import ops
from sandbox.kernels.launch.again import gradients, place, unchanged
from sandbox.kernels.launch.buffers import backward_buffers, forward_buffers, numbers, per_cell, read, summed
from sandbox.kernels.launch.compiled import Loaded
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.emit import Variant
from sandbox.machine.memory import empty
from sandbox.synapses import product
from sandbox.synapses.events import heard
from sandbox.synapses.linear import below

Weigh = Callable[
    [Tensor, Tensor, Tensor], object
]  # (spikes, current, out): writes the current plus the recurrent input to `out`
# `x` is [T, M], `last` [..., N], states [M], params [M] or (), draws [T, M], constants [C] in float64
RUN, BACKWARD = "sandbox::recur", "sandbox::recur_backward"
torch.library.define(
    RUN,
    "(Tensor x, Tensor last, Tensor weight, Tensor? bias, Tensor[] states, Tensor[] params, Tensor[] draws, "
    "Tensor constants, str key, str way, bool save) -> Tensor[]",
)
torch.library.define(
    BACKWARD,
    "(Tensor total, Tensor weight, Tensor[] saves, Tensor[] params, Tensor[] draws, Tensor constants, Tensor[] outs, "
    "Tensor[] ends, str key, int[] given, str names) -> Tensor[]",
)


@torch.library.impl(RUN, "cpu")
def _run(
    x: Tensor,
    last: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    draws: Sequence[Tensor],
    constants: Tensor,
    key: str,
    way: str,
    save: bool,
) -> list[Tensor]:
    """Run all steps; return outputs `[T, M]`, the last state `[M]` and, with `save`, total currents and membranes."""
    structure, width = STRUCTURES[key], weight.shape[0]
    variant = Variant(per_cell(params), save)
    room = forward_buffers(structure, variant, x, states)
    total = empty((len(x) if save else 1, x.shape[1]), x)
    buffers = {"x": total} | room.named | read(params, draws)
    kernel = Loaded(key, "forward", variant, x.dtype, buffers, numbers(constants, params, x))
    weigh = weighing(way, weight.detach(), None if bias is None else bias.detach())
    before = last.reshape(-1, width)
    for t in range(len(x)):
        weigh(before, x[t].view(-1, width), total[t if save else 0].view(-1, width))
        kernel.step(t, x.shape[1])
        before = room.outs[0][t].view(-1, width)
    return [*room.outs, *room.ends, *([total, *room.saves] if save else [])]


@torch.library.impl(BACKWARD, "cpu")
def _run_backward(
    total: Tensor,
    weight: Tensor,
    saves: Sequence[Tensor],
    params: Sequence[Tensor],
    draws: Sequence[Tensor],
    constants: Tensor,
    outs: Sequence[Tensor],
    ends: Sequence[Tensor],
    key: str,
    given: Sequence[int],
    names: str,
) -> list[Tensor]:
    """Return the gradients of the inputs in `names`, the total current first, and of the first state."""
    structure, each = STRUCTURES[key], per_cell(params)
    errors = {i: out.contiguous() for i, out in zip(given, outs, strict=True)}
    given_ = tuple(
        i == 0 or i in errors for i in range(len(structure.outputs))
    )  # the next step receives the first output
    variant = Variant(each, given=given_, wanted=tuple(names.split()))
    bars, found, buffers = backward_buffers(structure, variant, total, saves, params, ends, key)
    sums = {name: torch.zeros_like(g) for name, g in found.items() if name[0] == "p"}
    heard = total.new_zeros(1, total.shape[1])  # the error of the outputs of one step
    buffers |= {"x": total, **{f"g_out{i}": error for i, error in errors.items()}, "g_out0": heard}
    buffers |= read(params, draws)
    kernel = Loaded(key, "backward", variant, total.dtype, buffers, numbers(constants, params, total))
    rows = heard.view(-1, weight.shape[0])
    for t in range(len(total) - 1, -1, -1):
        if t + 1 < len(total):
            torch.mm(found["x"][t + 1].view_as(rows), weight, out=rows)
        if 0 in errors:
            heard += errors[0][t]
        kernel.step(t, total.shape[1])  # overwrites the gradients of the parameters: they are those of this step only
        for name, whole in sums.items():
            whole += found[name]
    found |= {name: g if each[int(name[1:])] else summed(g) for name, g in sums.items()}
    return [*found.values(), *bars]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, last, weight, bias, states, params, draws, constants, key, way, _ = inputs
    structure = STRUCTURES[key]
    outputs = len(structure.outputs)
    total, *saves = output[outputs + len(states) :]
    synapse = x.requires_grad or last.requires_grad or weight.requires_grad
    free = [
        synapse or (bias is not None and bias.requires_grad),
        *(t.requires_grad for t in (*states, *params, *draws)),
    ]
    unfollowed = ops.unfollowed(key, free, len(x), output[: outputs + len(states)], fed=True)
    ctx.mark_non_differentiable(*unfollowed, total, *saves)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(total, last, weight, constants, output[0], *saves, *params, *draws)
    ctx.how, ctx.counts = (key, way, outputs, bias is not None), (len(saves), len(params), len(draws))
    # not saved: only second derivatives and gradients of several errors read them, and of `x` and the bias no value
    ctx.first = [(state, state._version) for state in states]
    ctx.x, ctx.bias = place(x), None if bias is None else place(bias)


def _back(ctx: Any, grads: Sequence[Tensor | None]) -> tuple[Any, ...]:
    (key, way, outputs, biased), (n, p, d) = ctx.how, ctx.counts
    structure = STRUCTURES[key]
    total, last, weight, constants, spikes, *others = ctx.saved_tensors
    saves, params, draws = others[:n], others[n : n + p], others[n + p :]
    if torch.is_grad_enabled() or ops.batched(grads):
        return _in_torch(ctx, structure, (total, last, weight, constants), params, draws, grads)
    _, for_last, for_weight, for_bias, _, of_params, of_draws, *_ = ctx.needs_input_grad
    names = [*(f"p{i}" for i in range(p)), *(f"d{i}" for i in range(d))]
    reached = structure.backward[1]
    wanted = [name for name, need in zip(names, [*of_params, *of_draws], strict=True) if need and name in reached]
    errors = {i: g for i, g in enumerate(grads[:outputs]) if g is not None}
    bars = [total.new_zeros(total.shape[1:]) if g is None else g for g in grads[outputs : outputs + structure.states]]
    at_current, *found = recur_backward(
        total,
        weight,
        saves,
        params,
        draws,
        constants,
        list(errors.values()),
        bars,
        key,
        list(errors),
        " ".join(["x", *wanted]),
    )
    width = weight.shape[0]
    by_name = dict(zip(wanted, found, strict=False))
    return (
        at_current,
        (at_current[0].view(-1, width) @ weight).view_as(last) if for_last else None,
        of_weight(way, at_current, last, spikes, width) if for_weight else None,
        at_current.view(-1, width).sum(0) if biased and for_bias else None,
        list(found[len(wanted) :]),
        [by_name.get(f"p{i}") for i in range(p)],
        [by_name.get(f"d{i}") for i in range(d)],
        *[None] * 4,
    )


def _in_torch(
    ctx: Any,
    structure: Structure,
    saved: Sequence[Tensor],
    params: Sequence[Tensor],
    draws: Sequence[Tensor],
    grads: Sequence[Tensor | None],
) -> tuple[Any, ...]:
    """Do what `_back` does for errors that a kernel cannot take: torch computes and differentiates the steps again."""
    total, last, weight, constants = saved
    groups = {"s": unchanged(ctx.first), "p": params, "d": draws}
    tensors = {"x": ctx.x, "last": last, "weight": weight} | ops.named(groups)
    tensors |= {} if ctx.bias is None else {"bias": ctx.bias}
    errors = grads[: len(structure.outputs) + structure.states]
    found = gradients(structure, tensors, constants, errors, total)
    own = (found.get(name) for name in ("x", "last", "weight", "bias"))
    return (*own, *ops.listed(groups, found), *[None] * 4)


def _one_by_one(info: Any, dims: Any, *inputs: Any) -> tuple[list[Tensor], list[int]]:
    """Run the backward operator under vmap, for one sample after another."""

    def of(number: int, given: Any, dim: Any) -> Any:
        if isinstance(given, (list, tuple)):
            places = dim if isinstance(dim, (list, tuple)) else [None] * len(given)
            return [of(number, each, place) for each, place in zip(given, places, strict=True)]
        return given if dim is None else given.select(dim, number)

    rows = [recur_backward(*(of(i, *pair) for pair in zip(inputs, dims, strict=True))) for i in range(info.batch_size)]
    return [torch.stack(column) for column in zip(*rows, strict=True)], [0] * len(rows[0])


torch.library.register_autograd(RUN, _back, setup_context=_setup)
torch.library.register_autograd(BACKWARD, ops.twice)
torch.library.register_vmap(BACKWARD, _one_by_one)
recur, recur_backward = torch.ops.sandbox.recur.default, torch.ops.sandbox.recur_backward.default


def of_weight(way: str, at_current: Tensor, last: Tensor, spikes: Tensor, width: int) -> Tensor:
    """Return `sum over t of dL/dI[t].T h[t]`; h is `last` in the first step, then the spikes of the step before."""
    first = at_current[0].view(-1, width).t() @ last.reshape(-1, width)
    if len(spikes) == 1:
        return first
    errors, heard_ = at_current[1:].view(-1, width), spikes[:-1].view(-1, width)
    if way == "dense" or not product.finite(errors):  # zero times infinity is NaN: skip nothing
        return first + errors.t() @ heard_
    _, found, _ = product.by_events(
        heard_, first, errors, (False, True, False), product.sparse(heard_, width, way == "events"), way == "events"
    )
    assert found is not None
    return first + found


def weighing(way: str, weight: Tensor, bias: Tensor | None) -> Weigh:
    """Return the function that adds the recurrent input to the current, with the same roundings as the plain loop."""
    across = weight.t()

    def dense(spikes: Tensor, current: Tensor, out: Tensor) -> None:
        if bias is None:
            torch.mm(spikes, across, out=out)
        else:
            torch.addmm(bias, spikes, across, out=out)
        torch.add(current, out, out=out)

    if way == "dense":
        return dense
    source = across.contiguous()  # once for all steps
    if way == "events":
        return lambda spikes, current, out: heard(spikes, source, bias, current, out)
    if (share := below(way)) is not None:  # as the plain loop judges each step

        def by_share(spikes: Tensor, current: Tensor, out: Tensor) -> None:
            if product.density(spikes) < share:
                heard(spikes, source, bias, current, out)
            else:
                dense(spikes, current, out)

        return by_share
    few: list[bool] = []  # whether the last step had few enough events, once that is known
    crossing: list[float] = []

    def by_density(spikes: Tensor, current: Tensor, out: Tensor) -> None:
        if not crossing:
            crossing.append(product.worthwhile_in_a_loop(spikes, len(weight)))
        if few.pop() if few else product.density(spikes) < crossing[0]:
            few.append(heard(spikes, source, bias, current, out) < crossing[0] * spikes.numel())
        else:
            dense(spikes, current, out)

    return by_density
