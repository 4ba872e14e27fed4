"""Synapse and neuron in one loop, as torch operators: a step of the kernel and a matrix product in turn.

    I[t] = x[t] + b + h[t] W.T,    s[t], state = step(I[t], state),    h[t + 1] = s[t]
    dL/dh[t] = dL/dI[t] W,         dL/dW = sum over t of dL/dI[t].T h[t],    dL/db = sum over t of dL/dI[t]

Cells with several inputs have a current I and a weight for each, and dL/dh is the sum. The gradient of a weight is one
product after the loop, whereas the plain loop accumulates it step by step. Currents and membranes of all steps are kept
for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, zip_longest
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
# `x` is [T, M], `last` [..., N], states [M], params [M] or (), draws [T, M], constants [C] in float64; a weight for
# each input, and a bias for each or for none; the currents of inputs after the first are the first draws
RUN, BACKWARD = "sandbox::recur", "sandbox::recur_backward"
torch.library.define(
    RUN,
    "(Tensor x, Tensor last, Tensor[] weights, Tensor[] biases, Tensor[] states, Tensor[] params, Tensor[] draws, "
    "Tensor constants, str key, str way, bool save) -> Tensor[]",
)
torch.library.define(
    BACKWARD,
    "(Tensor[] totals, Tensor[] weights, Tensor[] saves, Tensor[] params, Tensor[] draws, Tensor constants, "
    "Tensor[] outs, Tensor[] ends, str key, int[] given, str names) -> Tensor[]",
)


@torch.library.impl(RUN, "cpu")
def _run(
    x: Tensor,
    last: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    draws: Sequence[Tensor],
    constants: Tensor,
    key: str,
    way: str,
    save: bool,
) -> list[Tensor]:
    """Run all steps; return outputs `[T, M]`, the last state `[M]` and, with `save`, total currents and membranes."""
    structure, width = STRUCTURES[key], last.shape[-1]
    variant = Variant(per_cell(params), save)
    room = forward_buffers(structure, variant, x, states)
    totals = [empty((len(x) if save else 1, x.shape[1]), x) for _ in weights]
    buffers = room.named | read(params, draws) | _by_input(totals)
    kernel = Loaded(key, "forward", variant, x.dtype, buffers, numbers(constants, params, x))
    each = zip_longest(way.split(), weights, biases)
    ways = [weighing(how, weight.detach(), None if bias is None else bias.detach()) for how, weight, bias in each]
    flows = [*zip(ways, [x, *draws], totals, strict=False)]
    before = last.reshape(-1, width)
    for t in range(len(x)):
        for weigh, current, total in flows:
            weigh(before, current[t].view(-1, width), total[t if save else 0].view(-1, width))
        kernel.step(t, x.shape[1])
        before = room.outs[0][t].view(-1, width)
    return [*room.outs, *room.ends, *([*totals, *room.saves] if save else [])]


def _by_input(tensors: Sequence[Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Return a tensor for each input of the cells by the name of its current in a kernel."""
    return {f"{prefix}{f'd{i - 1}' if i else 'x'}": tensor for i, tensor in enumerate(tensors)}


@torch.library.impl(BACKWARD, "cpu")
def _run_backward(
    totals: Sequence[Tensor],
    weights: Sequence[Tensor],
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
    """Return the gradients of the inputs in `names`, the total currents first, and of the first state."""
    structure, each = STRUCTURES[key], per_cell(params)
    errors = {i: out.contiguous() for i, out in zip(given, outs, strict=True)}
    given_ = tuple(
        i == 0 or i in errors for i in range(len(structure.outputs))
    )  # the next step receives the first output
    variant, total = Variant(each, given=given_, wanted=tuple(names.split())), totals[0]
    bars, found, buffers = backward_buffers(structure, variant, total, saves, params, ends, key)
    sums = {name: torch.zeros_like(g) for name, g in found.items() if name[0] == "p"}
    heard = total.new_zeros(1, total.shape[1])  # the error of the outputs of one step
    buffers |= {**{f"g_out{i}": error for i, error in errors.items()}, "g_out0": heard}
    buffers |= read(params, draws) | _by_input(totals)
    kernel = Loaded(key, "backward", variant, total.dtype, buffers, numbers(constants, params, total))
    rows = heard.view(-1, weights[0].shape[0])
    (first, weight), *others = zip([found[name] for name in _by_input(totals)], weights, strict=True)
    for t in range(len(total) - 1, -1, -1):
        if t + 1 < len(total):
            torch.mm(first[t + 1].view_as(rows), weight, out=rows)
            for error, other in others:
                rows.addmm_(error[t + 1].view_as(rows), other)
        if 0 in errors:
            heard += errors[0][t]
        kernel.step(t, total.shape[1])  # overwrites the gradients of the parameters: they are those of this step only
        for name, whole in sums.items():
            whole += found[name]
    found |= {name: g if each[int(name[1:])] else summed(g) for name, g in sums.items()}
    return [*found.values(), *bars]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, last, weights, biases, states, params, draws, constants, key, way, _ = inputs
    structure, n = STRUCTURES[key], len(weights)
    outputs = len(structure.outputs)
    currents, drawn = [x, *draws[: n - 1]], draws[n - 1 :]
    saved = output[outputs + len(states) :]
    driven = any(t.requires_grad for t in (*currents, last, *weights, *biases))  # the plain loop stacks the currents
    free = [
        driven,
        *(t.requires_grad for t in (*states, *params)),
        *[driven] * (n - 1),
        *(t.requires_grad for t in drawn),
    ]
    unfollowed = ops.unfollowed(key, free, len(x), output[: outputs + len(states)], fed=n)
    ctx.mark_non_differentiable(*unfollowed, *saved)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(last, constants, output[0], *weights, *saved, *params, *drawn)
    ctx.how, ctx.counts = (key, way, outputs, n), (n, n, len(saved) - n, len(params), len(drawn))
    # not saved: only second derivatives and gradients of several errors read them, and of currents and biases no value
    ctx.first = [(state, state._version) for state in states]
    ctx.currents, ctx.biases = [place(current) for current in currents], [place(bias) for bias in biases]


def _back(ctx: Any, grads: Sequence[Tensor | None]) -> tuple[Any, ...]:
    key, way, outputs, n = ctx.how
    structure = STRUCTURES[key]
    last, constants, spikes, *others = ctx.saved_tensors
    weights, totals, saves, params, drawn = _parted(ctx.counts, others)
    if torch.is_grad_enabled() or ops.batched(grads):
        return _in_torch(ctx, structure, (last, constants), weights, totals, params, drawn, grads)
    _, for_last, for_weights, for_biases, _, of_params, of_draws, *_ = ctx.needs_input_grad
    currents = list(_by_input(totals))
    names = [*(f"p{i}" for i in range(len(params))), *(f"d{n - 1 + i}" for i in range(len(drawn)))]
    needs, reached = [*of_params, *of_draws[n - 1 :]], structure.backward[1]
    wanted = [*currents, *(name for name, need in zip(names, needs, strict=True) if need and name in reached)]
    errors = {i: g for i, g in enumerate(grads[:outputs]) if g is not None}
    like = totals[0]
    bars = [like.new_zeros(like.shape[1:]) if g is None else g for g in grads[outputs : outputs + structure.states]]
    found = recur_backward(
        totals,
        weights,
        saves,
        params,
        [like] * (n - 1) + drawn,
        constants,
        list(errors.values()),
        bars,
        key,
        list(errors),
        " ".join(wanted),
    )
    width, at = last.shape[-1], found[:n]
    by_name = dict(zip(wanted, found, strict=False))
    back = [error[0].view(-1, width) @ weight for error, weight in zip(at, weights, strict=True)]
    each = zip(way.split(), at, for_weights, strict=True)
    return (
        at[0],
        sum(back[1:], back[0]).view_as(last) if for_last else None,
        [of_weight(how, error, last, spikes, width) if need else None for how, error, need in each],
        [error.view(-1, width).sum(0) if need else None for error, need in zip(at, for_biases, strict=False)],
        list(found[len(wanted) :]),
        [by_name.get(f"p{i}") for i in range(len(params))],
        [by_name.get(f"d{i}") for i in range(n - 1 + len(drawn))],
        *[None] * 4,
    )


def _parted(counts: Sequence[int], tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return tensors in lists of these lengths."""
    rest = iter(tensors)
    return [list(islice(rest, count)) for count in counts]


def _in_torch(
    ctx: Any,
    structure: Structure,
    saved: Sequence[Tensor],
    weights: Sequence[Tensor],
    totals: Sequence[Tensor],
    params: Sequence[Tensor],
    drawn: Sequence[Tensor],
    grads: Sequence[Tensor | None],
) -> tuple[Any, ...]:
    """Do what `_back` does for errors that a kernel cannot take: torch computes and differentiates the steps again."""
    last, constants = saved
    x, *others = ctx.currents
    groups = {"s": unchanged(ctx.first), "p": params, "d": [*others, *drawn]}
    synapses = {"weight": weights, "bias": ctx.biases}
    tensors = {"x": x, "last": last} | ops.named(synapses) | ops.named(groups)
    errors = grads[: len(structure.outputs) + structure.states]
    found = gradients(structure, tensors, constants, errors, _by_input(totals))
    return (found.get("x"), found.get("last"), *ops.listed(synapses | groups, found), *[None] * 4)


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
