"""The modules between two populations as one matrix, and a max pool in front of them as the windows of its outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sandbox.synapses import EventLinear, Sparse

Shape = tuple[int, ...]
RESHAPING = (nn.Identity, nn.Flatten, nn.Unflatten)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
AVERAGES = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d
)  # fmt: skip
WEIGHING = (
    nn.Linear, EventLinear, Sparse, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MAXIMA = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d
)  # fmt: skip
CHUNK = 256  # unit vectors that pass at once
KNOWN = (
    "nn.Linear, convolutions, sandbox.Sparse, average pools, nn.Flatten and batch normalisation; and max pools of "
    "spikes in front of all of them"
)


class Edges(NamedTuple):
    """The entries of a matrix `[post, pre]` that are not 0, row by row."""

    pre: NDArray[np.int64]
    post: NDArray[np.int64]
    weight: NDArray[np.float64]


class Affine(NamedTuple):
    """What modules do to a signal of one sample at one step, all its axes flattened: `W x + bias`."""

    edges: Edges
    bias: NDArray[np.float64]
    shape: Shape  # of what leaves


def affine(name: str, modules: Iterable[nn.Module], shape: Shape) -> Affine:
    """Return modules that run one after the other as one matrix and a bias, from the images of all unit vectors.

    The type of a module decides whether it is affine, exactly: a class that inherits from one may compute something
    else, and has to say `linear = True` if it does not.

    Args:
        name: of the layer, for messages.
        modules: in float64.
        shape: of what enters.

    Raises:
        ValueError: for modules that are not known to be affine, or not as they are now, with what to do.

    >>> affine("layers.0", [nn.AvgPool1d(2)], (1, 4)).edges.weight.tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    chain = list(flattened(modules))
    bare = [linear_part(name, module) for module in chain]
    with torch.no_grad():
        rest = torch.zeros(1, *shape, dtype=torch.float64)
        for module in chain:
            rest = module(rest)
        edges = images(lambda x: _through(bare, x), shape)
    return Affine(edges, rest.flatten().numpy().copy(), tuple(rest.shape[1:]))


def windows(name: str, modules: Sequence[nn.Module], shape: Shape) -> tuple[Edges, Shape] | None:
    """Return the inputs of every output of the max pools that modules begin with; None if there are none.

    Of zeros and ones the maximum of a window is 1 where any input is, so that pools of pools have windows as well.
    """
    if not any(type(module) in MAXIMA for module in modules):
        return None
    for module in modules:
        _steady(name, module)
        if getattr(module, "return_indices", False):
            raise ValueError(f"{name} has a {type(module).__name__} that returns indices too: return_indices=False")
    with torch.no_grad():
        after = tuple(_through(modules, torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])
        return images(lambda x: _through(modules, x), shape), after


def pooling(name: str, modules: Iterable[nn.Module]) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the modules up to the last max pool, and those behind it.

    Raises:
        ValueError: for a max pool behind weights or averages, whose inputs are not zeros and ones.
    """
    chain = list(flattened(modules))
    last = max((number for number, module in enumerate(chain) if type(module) in MAXIMA), default=-1)
    before, behind = chain[: last + 1], chain[last + 1 :]
    for module in before:
        if type(module) not in (*MAXIMA, *RESHAPING, *DROPOUTS):
            raise ValueError(
                f"{name} has a {type(chain[last]).__name__} behind a {type(module).__name__}: in Brian2 a max pool "
                "asks whether any spike of its window arrives, so put it in front of the weights, "
                "nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(...)), or use an average pool"
            )
    return before, behind


def flattened(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield modules, and those inside of an nn.Sequential one after the other."""
    for module in modules:
        if type(module) is nn.Sequential:
            yield from flattened(module)
        else:
            yield module


def reshapes(modules: Iterable[nn.Module]) -> bool:
    """Return whether modules leave every number as it is."""
    return all(type(module) in RESHAPING for module in flattened(modules))


def linear_part(name: str, module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what a module does without its bias."""
    _steady(name, module)
    if type(module) in WEIGHING:
        bare = copy.deepcopy(module)
        bare.bias = None  # type: ignore[assignment]
        return bare
    if isinstance(module, _BatchNorm) and type(module) in NORMS:
        return _gain(name, module)
    if type(module) in (*RESHAPING, *DROPOUTS, *AVERAGES) or vars(type(module)).get("linear") is True:
        return module
    raise ValueError(
        f"{name} has a {type(module).__name__} between its input and its cells, which is not known to be W x + b: use "
        f"{KNOWN}; a class of your own that is linear says so by `linear = True`"
    )


def images(linear: Callable[[Tensor], Tensor], shape: Shape) -> Edges:
    """Return the matrix of a linear map from the images of all unit vectors, some at a time."""
    count = int(np.prod(shape))
    pre, post, weight = [], [], []
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        unit = torch.zeros(size, count, dtype=torch.float64)
        unit[torch.arange(size), torch.arange(size) + start] = 1.0
        image = linear(unit.reshape(size, *shape)).flatten(1)
        rows, columns = image.nonzero(as_tuple=True)
        pre.append(rows.numpy() + start)
        post.append(columns.numpy())
        weight.append(image[rows, columns].numpy())
    found = Edges(np.concatenate(pre), np.concatenate(post), np.concatenate(weight))
    order = np.lexsort((found.pre, found.post))
    return Edges(*(values[order] for values in found))


def _gain(name: str, norm: _BatchNorm) -> Callable[[Tensor], Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(
            f"{name} has a {type(norm).__name__} without running statistics, which mixes samples: build it with "
            "track_running_stats=True"
        )
    gain = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.detach()
    return lambda x: x * gain.reshape(-1, *[1] * (x.ndim - 2))


def _steady(name: str, module: nn.Module) -> None:
    """Raise ValueError for a module that does something else in training, or has hooks."""
    kind = type(module).__name__
    if module.training and (isinstance(module, _BatchNorm) or type(module) in DROPOUTS):
        raise ValueError(
            f"{name} has a {kind} in training mode, which treats each batch anew; what Brian2 gets is fixed: call "
            "network.eval() first"
        )
    if module._forward_hooks or module._forward_pre_hooks:
        raise ValueError(
            f"{name} has a {kind} with hooks, whose effect is not seen in its weights: remove them, as with "
            "torch.nn.utils.prune.remove or torch.nn.utils.remove_weight_norm"
        )


def _through(modules: Iterable[Callable[[Tensor], Any]], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x
