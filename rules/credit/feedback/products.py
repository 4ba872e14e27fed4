"""The products of a synapse with a matrix in the place of its weight: back to its input, and a learned mirror of it."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.weight_gradients import correlated, padded


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


def reached(module: Any, features: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what noise of its own reaches, for an input of this shape.

    It is the input, and where a convolution pads it with copies of its entries, by "reflect", "replicate" or
    "circular", these too: with noise that repeats, an entry of the kernel would be mixed with those that meet its copy.

    >>> reached(nn.Conv1d(1, 1, 3, padding=1, padding_mode="reflect"), (1, 5))
    (1, 7)
    """
    if not repeats(module):
        return features
    return tuple(padded(module, torch.empty(1, *features, device="meta"))[0].shape[1:])


def repeats(module: Any) -> bool:
    """Return whether a synapse pads its input with copies of its entries."""
    return isinstance(module, _ConvNd) and module.padding_mode != "zeros"


def entered(module: Any, noise: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Return noise as it enters a convolution, and the zeros to pad it with."""
    return (noise, (0,) * len(module.kernel_size)) if repeats(module) else padded(module, noise)


def answered(module: Any, noise: Tensor) -> Tensor:
    """Return what the weight of a synapse makes of noise `[n, *reached]`, without its bias; no hook is called."""
    weight = cast("Tensor", module.weight).detach()
    if not isinstance(module, _ConvNd):
        return noise @ weight.T
    wide, padding = entered(module, noise)
    rest = (module.stride, padding, module.dilation, module.transposed, module.output_padding, module.groups)
    return cast("Tensor", torch.ops.aten.convolution(wide, weight, None, *rest))


def mirrored(module: Any, noise: Tensor, answer: Tensor) -> Tensor:
    """Return an estimate of a weight from noise `[n, *reached]` of mean 0 and variance 1, and from the answer to it.

        E[(W xi) xi^T] = W

    The Hebbian product of answer and noise, over the n samples; in a convolution over all places too, each entry of the
    kernel by the number of places where it meets an input.

    Reference: Akrout et al. 2019, Deep learning without weight transport (arXiv 1904.05391); reconstructed, the form
    for convolutions is ours.
    """
    if not isinstance(module, _ConvNd):
        return answer.T @ noise / len(noise)
    met, padding = entered(module, torch.ones_like(noise))
    places = correlated(module, met, padding, torch.ones_like(answer))
    return correlated(module, *entered(module, noise), answer) / places.clamp(min=1)


def unit_axes(module: nn.Module) -> int:
    """Return how many axes at the end of an input belong to one call on one sample: 1, of a convolution 2 to 4."""
    return len(module.kernel_size) + 1 if isinstance(module, _ConvNd) else 1
