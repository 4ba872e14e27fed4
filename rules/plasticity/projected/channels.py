"""Feature maps taken out of a chain of convolutions, with everything that reads them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rules.errors import unknown

APART = (  # modules that treat every feature map by itself
    nn.Identity,
    nn.Flatten,
    nn.Dropout,
    nn.Dropout2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Upsample,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardtanh,
)


def prune_channels(module: nn.Sequential, keep: Mapping[str, Sequence[int] | Tensor]) -> nn.Sequential:
    """Return a smaller copy of a chain of layers, without some feature maps of its convolutions.

    The rows of a convolution, the entries of the batch normalisation behind it, and the columns of the next convolution
    or linear layer go together. Everything else in the chain must treat feature maps one by one: activations, pooling
    and dropout of torch.

    Args:
        module: `nn.Sequential` of `Conv2d`, `BatchNorm2d`, `Linear` and modules without parameters.
        keep: the feature maps that stay, by the name of the convolution.

    Raises:
        ValueError: for a module that is not an `nn.Sequential`, a name that belongs to none of its convolutions, no map
            that stays, an index out of range, a convolution in groups, another module, or maps that nothing in the
            chain reads.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    >>> prune_channels(net, {"0": [0, 2]})
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
      (1): ReLU()
      (2): Flatten(start_dim=1, end_dim=-1)
      (3): Linear(in_features=72, out_features=10, bias=True)
    )

    Reference: Wei et al. 2025 (arXiv 2502.05905), who leave the maps of the last convolution as they are.
    """
    if not isinstance(module, nn.Sequential):
        raise ValueError(
            f"{type(module).__name__} is not an nn.Sequential, so what reads which feature maps is not known: give a "
            "chain of layers as nn.Sequential"
        )
    found = copy.deepcopy(module)
    take_maps(list(found.named_children()), keep)
    return found


def take_maps(parts: Sequence[tuple[str, nn.Module]], keep: Mapping[str, Sequence[int] | Tensor]) -> None:
    """Take feature maps out of modules that follow one another, in place; see `prune_channels`.

    Args:
        parts: modules in the order of the forward pass, by name; what treats maps one by one may be left out.
        keep: the feature maps that stay, by the name of the convolution.

    Raises:
        ValueError: as `prune_channels`.

    >>> first, last = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)
    >>> take_maps([("first", first), ("last", last)], {"first": [0, 3]})
    >>> first.out_channels, last
    (2, Linear(in_features=2, out_features=2, bias=True))
    """
    convolutions = [name for name, part in parts if isinstance(part, nn.Conv2d)]
    for name in keep:
        if name not in convolutions:
            raise unknown("convolution", name, convolutions)
    maps: tuple[Tensor, int] | None = None  # that stay, and how many there were
    for name, part in parts:
        if isinstance(part, nn.Conv2d):
            if (maps is not None or name in keep) and part.groups > 1:
                raise ValueError(f"layer {name!r} convolves in {part.groups} groups: only whole ones can be pruned")
            if maps is not None:
                _take(part, "in_channels", 1, maps[0])
            maps = None if name not in keep else (_indices(name, keep[name], part.out_channels), part.out_channels)
            if maps is not None:
                _take(part, "out_channels", 0, maps[0])
        elif isinstance(part, nn.Linear):
            if maps is not None:
                each = part.in_features // maps[1]  # inputs of a map, which nn.Flatten puts side by side
                columns = (maps[0][:, None] * each + torch.arange(each)).flatten()
                _take(part, "in_features", 1, columns)
            maps = None
        elif isinstance(part, nn.BatchNorm2d):
            if maps is not None:
                _normalise(part, maps[0])
        elif maps is not None and not isinstance(part, APART):
            kind = type(part).__name__
            raise ValueError(
                f"layer {name!r} is a {kind}, which may mix feature maps: only chains without it are pruned"
            )
    if maps is not None:
        raise ValueError("the last convolution gives the output of the chain: leave it out of keep")


def _indices(name: str, keep: Sequence[int] | Tensor, count: int) -> Tensor:
    chosen = torch.as_tensor(keep, dtype=torch.long).cpu()
    if not len(chosen):
        raise ValueError(f"layer {name!r} would keep none of its {count} feature maps: keep at least one")
    if int(chosen.min()) < 0 or int(chosen.max()) >= count or len(chosen.unique()) < len(chosen):
        raise ValueError(f"layer {name!r} has the feature maps 0 to {count - 1}: give each at most once")
    return chosen


def _take(part: Any, size: str, dim: int, indices: Tensor) -> None:
    """Keep some rows or columns of a layer."""
    on = indices.to(part.weight.device)
    part.weight = nn.Parameter(part.weight.detach().index_select(dim, on), part.weight.requires_grad)
    if dim == 0 and part.bias is not None:
        part.bias = nn.Parameter(part.bias.detach()[on], part.bias.requires_grad)
    setattr(part, size, len(indices))


def _normalise(part: nn.BatchNorm2d, indices: Tensor) -> None:
    """Keep some maps of a batch normalisation."""
    if part.affine:
        _take(part, "num_features", 0, indices)
    if part.running_mean is not None and part.running_var is not None:
        on = indices.to(part.running_mean.device)
        part.running_mean, part.running_var = part.running_mean[on], part.running_var[on]
    part.num_features = len(indices)
