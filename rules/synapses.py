"""Which modules are synapses, asked in one place: by whoever counts, perturbs, reads or teaches them."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

SYNAPSES = (nn.Linear, _ConvNd)  # one weight, one output of weighted sums; transposed convolutions are among them
WEIGHTED = (*SYNAPSES, nn.RNNBase)  # everything whose products are counted; an RNN has several weights


def synapses(model: nn.Module) -> dict[str, nn.Module]:
    """The synapses inside a model, by name.

    >>> list(synapses(nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.ConvTranspose1d(2, 1, 1), nn.RNN(1, 1))))
    ['0', '2']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, SYNAPSES)}


def weighted(model: nn.Module) -> dict[str, nn.Module]:
    """The modules inside a model whose products are counted, by name.

    >>> list(weighted(nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.RNN(1, 1))))
    ['0', '2']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, WEIGHTED)}


def transposed(module: nn.Module) -> bool:
    """Whether a convolution spreads its input instead of gathering it, so that `weight` is `[in, out, ...]`."""
    return isinstance(module, _ConvTransposeNd)


def synaptic_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable weights and biases of the synapses inside a model, by name.

    A parameter that a synapse holds under another name than `weight` or `bias` is not among them.

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
