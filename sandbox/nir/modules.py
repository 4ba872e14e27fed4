"""Modules without memory as nodes of NIR and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sandbox.nir.metadata import noted, notes
from sandbox.nir.need import package
from sandbox.nir.parts import Scale, SumPool2d, Threshold
from sandbox.synapses import EventLinear, Sparse

Shape = tuple[int, ...]


# ---- from modules to nodes -------------------------------------------------------------------------------------------


def node_of(name: str, module: nn.Module, shape: Shape) -> Any:
    """Return the node of a module whose input at one step has a shape; None for the identity.

    Raises:
        ValueError: for a module without a node, and for options that no node has.
    """
    if isinstance(module, nn.Identity):
        return None
    for kind, make in WRITERS.items():
        if type(module) is kind:
            return make(name, module, shape)
    raise ValueError(f"{name} is a {type(module).__name__}, for which NIR has no node: {_remedy(module)}")


def _remedy(module: nn.Module) -> str:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "build the network without b, or fold the trained scale and shift into the weights before it"
    return f"replace it by one of {', '.join(sorted(kind.__name__ for kind in WRITERS))}"


def _array(value: Tensor) -> Any:
    return value.detach().cpu().numpy().copy()


def _linear(name: str, module: Any, shape: Shape) -> Any:
    weight = _array(module.dense() if isinstance(module, Sparse) else module.weight)
    more = {"metadata": _pattern(module)} if isinstance(module, Sparse) else {}
    if module.bias is None:
        return package().Linear(weight=weight, **more)
    return package().Affine(weight=weight, bias=_array(module.bias), **more)


def _pattern(module: Sparse) -> dict[str, Any]:
    return {**noted(sparse=True), "pre": _array(module.pre), "post": _array(module.post)}


def _convolution(name: str, module: Any, shape: Shape) -> Any:
    if module.padding_mode != "zeros":
        raise ValueError(f"{name} pads with {module.padding_mode!r}, and NIR with zeros: padding_mode='zeros'")
    one = isinstance(module, nn.Conv1d)
    given = {key: getattr(module, key) for key in ("stride", "padding", "dilation")}
    told = {key: value[0] if one and isinstance(value, tuple) else value for key, value in given.items()}
    weight, bias = _array(module.weight), module.bias
    made = (package().Conv1d if one else package().Conv2d)(
        input_shape=shape[1] if one else tuple(shape[1:]),
        weight=weight,
        **told,
        groups=module.groups,
        bias=np.zeros(len(weight), weight.dtype) if bias is None else _array(bias),
    )
    made.metadata = noted(bias=False) if bias is None else {}
    return made


def _average(name: str, module: Any, shape: Shape) -> Any:
    if module.ceil_mode or module.divisor_override is not None or (module.padding and not module.count_include_pad):
        raise ValueError(
            f"{name} averages with ceil_mode, divisor_override or without its padding, and NIR cannot say so: leave "
            "these options as they are by default"
        )
    return package().AvgPool2d(*(np.array(_pair(v)) for v in (module.kernel_size, module.stride, module.padding)))


def _sum(name: str, module: Any, shape: Shape) -> Any:
    return package().SumPool2d(*(np.array(v) for v in (module.kernel_size, module.stride, module.padding)))


def _flatten(name: str, module: Any, shape: Shape) -> Any:
    if module.start_dim < 1:
        raise ValueError(f"{name} flattens from axis {module.start_dim}, the batch among them: start_dim=1 or later")
    end = module.end_dim if module.end_dim < 0 else module.end_dim - 1
    return package().Flatten({"input": np.array(shape)}, start_dim=module.start_dim - 1, end_dim=end)


WRITERS: dict[type[nn.Module], Callable[[str, Any, Shape], Any]] = {
    nn.Linear: _linear,
    EventLinear: _linear,
    Sparse: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.AvgPool2d: _average,
    SumPool2d: _sum,
    nn.Flatten: _flatten,
    Scale: lambda name, module, shape: package().Scale(np.broadcast_to(_array(module.scale), shape).copy()),
    Threshold: lambda name, module, shape: package().Threshold(np.broadcast_to(_array(module.threshold), shape).copy()),
}


# ---- from nodes to modules -------------------------------------------------------------------------------------------


def module_of(name: str, node: Any, shape: Shape, dtype: torch.dtype) -> nn.Module:
    """Return the module of a node without memory, with weights of a dtype, for inputs of a shape.

    Raises:
        ValueError: for what arrives in another shape than the node says.
    """
    made = READERS[type(node).__name__](name, node, shape)
    return made.to(dtype)


def passed(name: str, module: nn.Module, shape: Shape, dtype: torch.dtype) -> Shape:
    """Return the shape that leaves a module.

    Raises:
        ValueError: for a shape that does not fit, with the name of the node.
    """
    try:
        with torch.no_grad():
            return tuple(module(torch.zeros(1, *shape, dtype=dtype)).shape[1:])
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"what arrives at node {name!r} has shape {shape}, which does not fit: {error}") from error


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(np.array(value))


def _dense(name: str, node: Any, shape: Shape) -> nn.Module:
    weight, bias = np.asarray(node.weight), getattr(node, "bias", None)
    if weight.ndim != 2 or shape != weight.shape[1:]:
        batch = shape[:-1] == (1,)
        remedy = "flatten it first, with nir.Flatten" if math.prod(shape) == weight.shape[-1] else "check the weights"
        remedy = "export from a sample without a batch axis, or set that of nir.Input" if batch else remedy
        raise ValueError(f"node {name!r} has weights {weight.shape}, and what arrives has shape {shape}: {remedy}")
    said = notes(f"node {name!r}", node.metadata)
    if said.get("sparse"):
        pre, post = (_tensor(node.metadata[key]).long() for key in ("pre", "post"))
        shown = None if bias is None else _tensor(bias)
        return Sparse.from_edges(pre, post, _tensor(weight)[post, pre], weight.shape, shown)
    made = EventLinear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight = nn.Parameter(_tensor(weight))
    if bias is not None:
        made.bias = nn.Parameter(_tensor(bias))
    return made


def _conv(name: str, node: Any, shape: Shape) -> nn.Module:
    weight, axes = np.asarray(node.weight), np.asarray(node.weight).ndim - 2
    if len(shape) != axes + 1:
        wanted = f"(C, {'L' if axes == 1 else 'H, W'})"
        raise ValueError(f"node {name!r} is nir.Conv{axes}d, and what arrives has shape {shape}; wanted {wanted}")
    told = None if node.input_shape is None else tuple(np.atleast_1d(node.input_shape).tolist())
    if told is not None and told != shape[1:]:
        raise ValueError(f"node {name!r} has input_shape {told}, and what arrives has {shape[1:]}: change one of them")
    size: Any = {key: _whole(getattr(node, key), axes) for key in ("stride", "padding", "dilation")}
    bias, groups = np.asarray(node.bias), int(node.groups)
    bare = notes(f"node {name!r}", node.metadata).get("bias") is False and not bias.any()
    kind = nn.Conv1d if axes == 1 else nn.Conv2d
    made = kind(weight.shape[1] * groups, len(weight), weight.shape[2:], **size, groups=groups, bias=not bare)
    made.weight = nn.Parameter(_tensor(weight))
    if not bare:
        made.bias = nn.Parameter(_tensor(bias))
    return made


def _whole(value: Any, axes: int) -> Any:
    return value if isinstance(value, str) else tuple(np.broadcast_to(np.asarray(value, int), (axes,)).tolist())


def _pair(value: Any) -> tuple[int, int]:
    first, second = np.broadcast_to(np.asarray(value, int), (2,)).tolist()
    return first, second


def _pool(kind: type[nn.Module]) -> Callable[[str, Any, Shape], nn.Module]:
    return lambda name, node, shape: kind(*(_pair(v) for v in (node.kernel_size, node.stride, node.padding)))


def _flat(name: str, node: Any, shape: Shape) -> nn.Module:
    start, end = int(node.start_dim), int(node.end_dim)
    return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)


READERS: dict[str, Callable[[str, Any, Shape], nn.Module]] = {
    "Affine": _dense,
    "Linear": _dense,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "AvgPool2d": _pool(nn.AvgPool2d),
    "SumPool2d": _pool(SumPool2d),
    "Flatten": _flat,
    "Scale": lambda name, node, shape: Scale(_tensor(node.scale)),
    "Threshold": lambda name, node, shape: Threshold(_tensor(node.threshold)),
}
