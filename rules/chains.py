"""Chains of dense layers and elementwise activations: which layers are one, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

DENSE = (nn.Linear, nn.LazyLinear)  # by their exact type: a subclass may compute something else
ELEMENTWISE = (
    *(nn.Identity, nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardswish),
)
HARMLESS = ("rules.", "torch.nn.modules.lazy")  # hooks that count, or give lazy layers their shape
REMEDY = "build an nn.Sequential of nn.Linear and activations such as nn.Tanh, or sandbox.make_model('perceptron', ...)"


def _home(hook: object) -> str:
    """Return the module in which a hook was written."""
    return str(getattr(getattr(hook, "func", hook), "__module__", ""))


def altered(layer: nn.Module) -> str:
    """Return what makes a layer more than its own forward pass: hooks, or weights that are computed from others.

    >>> altered(nn.Linear(1, 1))
    ''
    """
    hooks = [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()]
    if any(not _home(hook).startswith(HARMLESS) for hook in hooks):
        return "has a hook"
    if type(layer) in DENSE and "weight" not in layer._parameters:
        return "has a weight that is computed from other parameters, as by pruning or weight_norm"
    return ""


def unchained(layers: Sequence[nn.Module] | None) -> str:
    """Return why layers are no chain, in words that name what was found; empty if they are one.

    A chain begins with nn.Flatten or a dense layer; behind each dense layer there may be activations, which act on each
    unit alone. No layer is used twice.

    >>> unchained([nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)])
    ''
    >>> unchained([nn.Conv1d(1, 2, 3), nn.Linear(3, 1)]).partition(":")[0]
    'layer 0 is Conv1d, neither a dense layer nor an elementwise activation'
    """
    layers = layers or []
    dense = [layer for layer in layers if type(layer) in DENSE]
    if not dense:
        return (
            f"none of its layers ({', '.join(type(layer).__name__ for layer in layers) or 'none'}) is dense: {REMEDY}"
        )
    for number, layer in enumerate(layers):
        if seen := altered(layer):
            return f"layer {number}, {type(layer).__name__}, {seen}, which a chain of weights and activations is not"
    if len(set(map(id, dense))) < len(dense) or len({id(layer.weight) for layer in dense}) < len(dense):
        return f"a dense layer is used twice, and a chain learns each use for itself: {REMEDY}"
    first = min(number for number, layer in enumerate(layers) if type(layer) in DENSE)
    for number, layer in enumerate(layers):
        kind = type(layer)
        if kind in DENSE or (kind is nn.Flatten if number < first else kind in ELEMENTWISE):
            continue
        if kind in ELEMENTWISE:
            return f"layer {number} is {kind.__name__}, before the first dense layer: {REMEDY}"
        return f"layer {number} is {kind.__name__}, neither a dense layer nor an elementwise activation: {REMEDY}"
    return ""
