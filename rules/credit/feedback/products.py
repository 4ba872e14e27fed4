"""The products of a synapse with a matrix in the place of its weight: back to its input, and a learned mirror of it."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.weight_gradients import correlation, padded


def carried(module: Any, matrix: Tensor, x: Tensor, error: Tensor) -> Tensor:
    """Return the error at the input `x` of a synapse, given that at its output, as if `matrix` were its weight.

        delta_x = B^T delta_y,    B shaped as the weight W; with B = W this is the product that autograd computes

    >>> carried(nn.Linear(2, 1), torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2), torch.tensor([[3.0]])).tolist()
    [[3.0, -3.0]]
    """
    matrix, error = matrix.to(x.dtype), error.to(x.dtype)
    if not isinstance(module, _ConvNd):
        return (error.flatten(0, -2) @ matrix).reshape(x.shape)
    axes = len(module.kernel_size)
    with torch.enable_grad():  # the adjoint of padding that repeats or mirrors its input
        maps = x.detach().reshape(-1, *x.shape[x.ndim - axes - 1 :]).requires_grad_()
        wide, padding = padded(module, maps)
    back = torch.ops.aten.convolution_backward(
        error.reshape(-1, *error.shape[error.ndim - axes - 1 :]).contiguous(),
        wide.detach().contiguous(),
        matrix,
        None,
        module.stride,
        padding,
        module.dilation,
        module.transposed,
        module.output_padding,
        module.groups,
        [True, False, False],
    )[0]
    return (back if wide is maps else torch.autograd.grad(wide, maps, back)[0]).reshape(x.shape)


def answered(module: Any, noise: Tensor) -> Tensor:
    """Return what the weight of a synapse makes of noise, without its bias; no hook is called."""
    weight = cast("Tensor", module.weight).detach()
    if not isinstance(module, _ConvNd):
        return noise @ weight.T
    wide, padding = padded(module, noise)
    rest = (module.stride, padding, module.dilation, module.transposed, module.output_padding, module.groups)
    return cast("Tensor", torch.ops.aten.convolution(wide, weight, None, *rest))


def mirrored(module: Any, noise: Tensor, answer: Tensor) -> Tensor:
    """Return an estimate of a weight from noise `[n, *in]` of mean 0 and variance 1, and from the answer to it.

        E[(W xi) xi^T] = W

    The Hebbian product of answer and noise, over the n samples; in a convolution over all places too, each entry of the
    kernel by the number of places where it meets an input.

    Reference: Akrout et al. 2019, Deep learning without weight transport (arXiv 1904.05391); reconstructed, the form
    for convolutions is ours.
    """
    if not isinstance(module, _ConvNd):
        return answer.T @ noise / len(noise)
    places = correlation(module, torch.ones_like(noise), torch.ones_like(answer))
    return correlation(module, noise, answer) / places.clamp(min=1)


def unit_axes(module: nn.Module) -> int:
    """Return how many axes at the end of an input belong to one call on one sample: 1, of a convolution 2 to 4."""
    return len(module.kernel_size) + 1 if isinstance(module, _ConvNd) else 1
