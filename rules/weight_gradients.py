"""The gradient of a synapse from the error at its output and its input, in closed form."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.synapses import Patterned, transposed

CHUNK = 2**20  # products of a pattern at once


def weight_gradients(module: nn.Module, pre: Tensor, error: Tensor) -> dict[str, Tensor]:
    """Return the gradients of `weight` and `bias`, by those names, if they are trainable.

        dLoss/dW = sum_rows error (x) pre,    dLoss/db = sum_rows error

    for a convolution the correlation of the error map with the input map, and for a synapse with a pattern the entries
    on its pattern alone. Rows are all axes before the features:
    time and batch in any form, the same in both.

    >>> synapse = nn.Linear(2, 1)
    >>> weight_gradients(synapse, torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
    {'weight': tensor([[3., 6.]]), 'bias': tensor([3.])}
    """
    own = {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}
    found: dict[str, Tensor] = {}
    axes = len(module.kernel_size) if isinstance(module, _ConvNd) else 0
    pre = pre.reshape(-1, *pre.shape[pre.ndim - axes - 1 :])
    error = error.reshape(-1, *error.shape[error.ndim - axes - 1 :])
    if "weight" in own:
        found["weight"] = (
            correlation(module, pre, error)
            if isinstance(module, _ConvNd)
            else on_pattern(module, pre, error)
            if isinstance(module, Patterned)
            else error.T @ pre
        )
    if "bias" in own:
        found["bias"] = error.sum([axis for axis in range(error.ndim) if axis != 1])
    return found


def outer_products(module: nn.Module, pre: Tensor, error: Tensor) -> int:
    """Return the multiply-accumulates of `weight_gradients`; 0 for a frozen weight.

    >>> outer_products(nn.Linear(2, 1), torch.zeros(5, 2), torch.zeros(5, 1))
    10
    """
    weight = cast("nn.Parameter", module.weight)
    if isinstance(module, Patterned):
        return module.pairs((pre,), error) if weight.requires_grad else 0
    return (pre if transposed(module) else error).numel() * weight[0].numel() if weight.requires_grad else 0


def on_pattern(module: Patterned, pre: Tensor, error: Tensor) -> Tensor:
    """Return the sum over rows of `error[post] pre[pre]` for each synapse, a few rows at a time."""
    total = torch.zeros_like(module.weight)
    for some in torch.arange(len(pre)).split(max(1, CHUNK // max(1, len(total)))):
        total += (error[some][:, module.post] * pre[some][:, module.pre]).sum(0)
    return total


def correlation(module: _ConvNd, pre: Tensor, error: Tensor) -> Tensor:
    """Return the correlation of the error map with the input map, both `[N, C, ...]`."""
    return correlated(module, *padded(module, pre), error)


def correlated(module: _ConvNd, pre: Tensor, padding: tuple[int, ...], error: Tensor) -> Tensor:
    """Return the correlation of the error map with an input map that is to be padded with so many zeros."""
    _, weight, _ = torch.ops.aten.convolution_backward(
        error.contiguous(),
        pre.contiguous(),
        module.weight,
        None,
        module.stride,
        padding,
        module.dilation,
        module.transposed,
        module.output_padding,
        module.groups,
        [False, True, False],
    )
    return cast("Tensor", weight)


def padded(module: _ConvNd, maps: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input of a convolution and the zeros to pad it with; padded already where that is not by as many."""
    if module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return maps, module.padding
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return nn.functional.pad(maps, module._reversed_padding_repeated_twice, mode=mode), (0,) * len(module.kernel_size)


def transposed_product(module: nn.Module, pre: Tensor, error: Tensor, squared: bool = False) -> Tensor:
    """Return `W^T e`: the error at the input of a synapse, from that at its output.

    Args:
        module: an nn.Linear, or a convolution that pads with zeros.
        pre: an input in the shape of the result, `[T, B, *in]`.
        error: `[T, B, *out]`.
        squared: whether to take the squares of the weights in place of the weights; False by default.

    >>> synapse = nn.Linear(2, 1)
    >>> _ = nn.init.constant_(synapse.weight, 3.0)
    >>> transposed_product(synapse, torch.zeros(1, 1, 2), torch.ones(1, 1, 1), squared=True).tolist()
    [[[9.0, 9.0]]]
    """
    weight = cast("Tensor", module.weight).detach()
    weight = weight.square() if squared else weight
    if not isinstance(module, _ConvNd):
        return error @ weight
    found, _, _ = torch.ops.aten.convolution_backward(
        error.flatten(0, 1).contiguous(),
        pre.flatten(0, 1).contiguous(),
        weight,
        None,
        module.stride,
        padded(module, pre)[1],
        module.dilation,
        module.transposed,
        module.output_padding,
        module.groups,
        [True, False, False],
    )
    return cast("Tensor", found).reshape(pre.shape)
