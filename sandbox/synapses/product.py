"""A matrix product that skips zeros, in the forward pass and in each backward product separately."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from sandbox.synapses.calibration import crossover
from sandbox.synapses.events import Events, active, columns, rows

WORTH_A_LOOK = 2**22  # multiplications; with fewer, the dense product is faster than counting active entries
WORTH_A_LOOK_IN_A_LOOP = 2**18  # the same in every step of a loop, which transposes the weight once
DENSEST = 0.5  # above this density events are never faster, and nothing is measured
VIEWS = {"ReshapeAliasBackward0", "UnsafeViewBackward0", "ViewBackward0"}
SAMPLED = 64  # rows in which active entries are counted

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Product(torch.autograd.Function):
    """The product `x W.T + b` for `x` [N, in], `W` [out, in], `b` [out]; by events below a density (see `sparse`).

    The output and the weight's gradient skip inputs that are zero; the input's gradient skips errors that are zero.
    Errors are often zero if the surrogate has bounded support, a triangle or a box, and neither the membrane of this
    step nor a later one that remembers it was near the threshold. With memory this is rarer: a network of LIF neurons
    at 5 % firing had 0 to 40 % of zeros. If the inputs are dense and the errors are not, the weight's gradient skips
    errors instead.

    Reference: Perez-Nieves & Goodman 2021 (arXiv 2105.08810). In the input's gradient they also skip what the surrogate
    of the layer below will multiply by zero. Here only errors that are zero on arrival are skipped, so the gradient
    with respect to the input is complete for every caller.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, below: float | None) -> Tensor:
        found = sparse(x, len(weight), below)
        ctx.below = below
        ctx.save_for_backward(x, weight, *(found or ()))
        return F.linear(x, weight, bias) if found is None else rows(found, weight.t(), bias)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, *found = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or batched(error) or not finite(error):  # zero times infinity is NaN: skip nothing
            return *dense(x, weight, error, wanted), None
        return *by_events(x, weight, error, wanted, Events(*found) if found else None, ctx.below), None


def dense(x: Tensor, weight: Tensor, error: Tensor, wanted: tuple[bool, ...]) -> Gradients:
    """Return the gradients as matrix products, which can be differentiated again."""
    return (
        error @ weight if wanted[0] else None,
        error.t() @ x if wanted[1] else None,
        error.sum(0) if wanted[2] else None,
    )


def by_events(
    x: Tensor, weight: Tensor, error: Tensor, wanted: tuple[bool, ...], inputs: Events | None, below: float | None
) -> Gradients:
    """Return the gradients from the events of the input, if known, and of the error, if it has few."""
    needed = wanted[0] or (wanted[1] and inputs is None)
    errors = sparse(error, weight.shape[1], below) if needed else None
    for_x, for_weight, for_bias = dense(
        x,
        weight,
        error,
        (wanted[0] and errors is None, wanted[1] and inputs is None and (errors is None or not finite(x)), wanted[2]),
    )
    if wanted[0] and errors is not None:
        for_x = rows(errors, weight)
    if wanted[1] and for_weight is None:
        if inputs is not None:
            for_weight = columns(inputs, error, weight.shape[1]).t().contiguous()
        elif errors is not None:
            for_weight = columns(errors, x, len(weight))
    return for_x, for_weight, for_bias


def sparse(x: Tensor, out: int, below: float | None) -> Events | None:
    """Return the events of `x` [N, K] for a product with a matrix [K, out]; None if that is to be dense.

    Args:
        x: the input.
        out: columns of the matrix.
        below: the density below which the product goes by events; 1 for always, None for the one below which that is
            faster on this machine.
    """
    if below is None:
        return active(x) if gains(x, out) else None
    return active(x) if below == 1 or density(x) < below else None


def gains(x: Tensor, out: int) -> bool:
    """Return whether a product of `x` [N, K] with a matrix [K, out] is faster by events, judged by a sample of rows."""
    found = density(x)
    return found < DENSEST and found < crossover(len(x), x.shape[1], out, x.dtype)


def density(x: Tensor) -> float:
    """Return the share of entries of `x` [N, K] that are not zero, judged by a sample of rows."""
    some = x[:: -(-len(x) // SAMPLED)]
    return float(torch.count_nonzero(some)) / some.numel()


def worthwhile_in_a_loop(x: Tensor, out: int) -> float:
    """Return the density below which products of `x` [N, K] with one matrix [K, out], step by step, go by events."""
    return min(DENSEST, crossover(len(x), x.shape[1], out, x.dtype, loop=True))


def events_of(y: Tensor, x: Tensor) -> Events | None:
    """Return the events of `x` [N, K], if the graph of `y`, up to views, is a `Product` of it by events."""
    node: Any = y.grad_fn
    while node is not None and node.name() in VIEWS:
        node = node.next_functions[0][0]
    if node is None or node.name() != "ProductBackward":
        return None
    known, _, *found = node.saved_tensors
    same = known.data_ptr() == x.data_ptr() and known.shape == x.shape and known.stride() == x.stride()
    return Events(*found) if found and same else None


def finite(x: Tensor) -> bool:
    """Return whether all entries are finite, judged by their sum."""
    return bool(torch.isfinite(x.detach().sum()))


def batched(error: Tensor) -> bool:
    """Return whether errors are batched, by torch.func.vmap or by `is_grads_batched` of torch.autograd.grad."""
    return not ordinary() or "Batched" in str(torch._C._dispatch_keys(error))


def ordinary() -> bool:
    """Return whether this is an ordinary pass: no transform, no mode, no tracer."""
    return not (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_function_stack()
        or torch._C._len_torch_dispatch_stack()
        or torch.is_autocast_enabled("cpu")
        or torch._C._is_tracing()
    )
