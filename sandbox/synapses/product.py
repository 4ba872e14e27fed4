"""A matrix product that skips what is zero, forward and backward, each for itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from sandbox.synapses.calibration import crossover
from sandbox.synapses.events import Events, active, columns, rows

WORTH_A_LOOK = 2**22  # multiplications; the dense product of fewer is done before anything is counted
DENSEST = 0.5  # above it no machine gains anything, and nothing is measured
SAMPLED = 64  # rows that are counted

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Product(torch.autograd.Function):
    """`x W.T + b` for `x` [N, in], `W` [out, in], `b` [out]; `forced`, by events whatever the density.

    Forward and for the weight, the inputs that are zero are left out; for the input, the errors that are. Those are
    many behind neurons whose surrogate has bounded support, a triangle or a box, where neither this step's membrane nor
    a later one's that remembers it was near the threshold: few neurons that remember are so lucky, and a network of LIF
    neurons at 5 % firing had 0 to 40 % of zeros there. If the inputs are dense and the errors are not, the weight's
    gradient leaves out the errors.

    Reference: Perez-Nieves & Goodman 2021 (arXiv 2105.08810). They leave out, at the input, what the surrogate of the
    layer below will multiply by zero; here only what is zero on arrival is left out, so that the gradient with respect
    to the input is whole, whoever asks for it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, forced: bool) -> Tensor:
        found = sparse(x, len(weight), forced)
        ctx.forced = forced
        ctx.save_for_backward(x, weight, *(found or ()))
        return F.linear(x, weight, bias) if found is None else rows(found, weight.t(), bias)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, *found = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or batched(error) or not finite(error):  # zero times infinity is no zero
            return *dense(x, weight, error, wanted), None
        return *by_events(x, weight, error, wanted, Events(*found) if found else None, ctx.forced), None


def dense(x: Tensor, weight: Tensor, error: Tensor, wanted: tuple[bool, ...]) -> Gradients:
    """The gradients as matrix products, which can be differentiated again."""
    return (
        error @ weight if wanted[0] else None,
        error.t() @ x if wanted[1] else None,
        error.sum(0) if wanted[2] else None,
    )


def by_events(
    x: Tensor, weight: Tensor, error: Tensor, wanted: tuple[bool, ...], inputs: Events | None, forced: bool
) -> Gradients:
    """The gradients from the events of the input, where they are known, and of the error, where it has few."""
    asked = wanted[0] or (wanted[1] and inputs is None)
    errors = sparse(error, weight.shape[1], forced) if asked else None
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


def sparse(x: Tensor, out: int, forced: bool) -> Events | None:
    """The events of `x` [N, K] where a product with a matrix [K, out] gains by them, or is forced to take them."""
    return active(x) if forced or gains(x, out) else None


def gains(x: Tensor, out: int) -> bool:
    """Whether a product of `x` [N, K] with a matrix [K, out] is quicker by events, as every so many rows tell."""
    some = x[:: -(-len(x) // SAMPLED)]
    density = float(torch.count_nonzero(some)) / some.numel()
    return density < DENSEST and density < worthwhile(x, out)


def worthwhile(x: Tensor, out: int) -> float:
    """The density of `x` [N, K] below which its product with a matrix [K, out] is quicker by events."""
    return crossover(len(x), x.shape[1], out, x.dtype)


def finite(x: Tensor) -> bool:
    """Whether no entry is a NaN or infinite, seen by their sum."""
    return bool(torch.isfinite(x.detach().sum()))


def batched(error: Tensor) -> bool:
    """Whether many errors come at once, by torch.func.vmap or by `is_grads_batched` of torch.autograd.grad."""
    return not ordinary() or "Batched" in str(torch._C._dispatch_keys(error))


def ordinary() -> bool:
    """Whether nothing stands between this call and its arithmetic: no transform, no mode, no tracer."""
    return not (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_function_stack()
        or torch._C._len_torch_dispatch_stack()
        or torch.is_autocast_enabled("cpu")
        or torch._C._is_tracing()
    )
