"""Which modules are synapses: one definition for all code that counts, perturbs, reads or trains them."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

SYNAPSES = (nn.Linear, _ConvNd)  # one weight, one output of weighted sums; includes transposed convolutions
WEIGHTED = (*SYNAPSES, nn.RNNBase)  # all modules whose products are counted; an RNN has several weights


def synapses(model: nn.Module) -> dict[str, nn.Module]:
    """Return the synapses inside a model, by name.

    >>> list(synapses(nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.ConvTranspose1d(2, 1, 1), nn.RNN(1, 1))))
    ['0', '2']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, SYNAPSES)}


def weighted(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules inside a model whose products are counted, by name.

    >>> list(weighted(nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.RNN(1, 1))))
    ['0', '2']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, WEIGHTED)}


def transposed(module: nn.Module) -> bool:
    """Return whether a convolution is transposed, so that its `weight` is `[in, out, ...]`."""
    return isinstance(module, _ConvTransposeNd)


def synaptic_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable weights and biases of the synapses inside a model, by name.

    Parameters of a synapse with other names than `weight` or `bias` are not included.

    >>> list(synaptic_parameters(nn.Sequential(nn.Linear(1, 2), nn.LayerNorm(2))))
    ['0.weight', '0.bias']
    """
    owned = {
        id(p)
        for module in synapses(model).values()
        for name, p in module.named_parameters(recurse=False)
        if name in ("weight", "bias")
    }
    return {name: p for name, p in model.named_parameters() if id(p) in owned and p.requires_grad}
