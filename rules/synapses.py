"""Which modules are synapses: one definition for all code that counts, perturbs, reads or trains them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

# A weight that its parent, nn.MultiheadAttention, uses itself: no call shows what enters it.
SILENT = (nn.modules.linear.NonDynamicallyQuantizableLinear,)


class Patterned(nn.Module):
    """Base class of synapses that have weights for some pairs of inputs and outputs only.

    Attributes:
        weight: `[synapses]`.
        bias: `[out]`, or None.
        pre: the input of each synapse, `[synapses]`.
        post: its output, `[synapses]`.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    pre: Tensor
    post: Tensor

    def pairs(self, inputs: tuple[Tensor, ...], output: Tensor) -> int:
        """Return the multiply-accumulates of a call: those of the synapses that exist."""
        return inputs[0].numel() // inputs[0].shape[-1] * self.weight.numel()


SYNAPSES = (nn.Linear, _ConvNd, Patterned)  # one weight, one output of weighted sums; transposed convolutions, too
WEIGHTED = (*SYNAPSES, nn.RNNBase)  # all modules whose products are counted; an RNN has several weights


class Constants(nn.ParameterDict):
    """Learned constants of cells, such as time constants or filters over time: no weights between signals.

    >>> weights_of(Constants({"filter": nn.Linear(3, 3).weight}))
    []
    """


class Changes(Constants):
    """Constants that are stored as changes from 0 on, in units of the initial value: 1 is a change of its own size.

    Rules that perturb parameters take 1 for the size of each, which its entries do not show.
    """


def weights_of(module: nn.Module) -> list[nn.Parameter]:
    """Return the weights that a module owns itself: parameters of two axes or more, and those of a pattern.

    >>> [tuple(p.shape) for p in weights_of(nn.Linear(2, 3))]
    [(3, 2)]
    """
    if isinstance(module, Constants):
        return []
    return [
        p
        for name, p in module.named_parameters(recurse=False)
        if p.ndim > 1 or (name == "weight" and isinstance(module, Patterned))
    ]


def weights_in(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable weights inside a model, without biases, by name.

    >>> list(weights_in(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))))
    ['0.weight']
    """
    owned = {id(p) for module in model.modules() for p in weights_of(module)}
    return {name: p for name, p in model.named_parameters() if p.requires_grad and id(p) in owned}


class Weights(dict[str, nn.Parameter]):
    """Weights by name; `inputs_first` are those whose axis 0 is that of the inputs, and axis 1 that of the outputs.

    Of these, `grouped` are those of convolutions in groups, in which axis 1 is that of the outputs of a group.
    """

    inputs_first: frozenset[nn.Parameter] = frozenset()
    grouped: frozenset[nn.Parameter] = frozenset()


def weights_in_order(model: nn.Module) -> Weights:
    """Return all weights inside a model by name, frozen ones too, and a shared one under each of its names.

    >>> layer = nn.Linear(1, 1)
    >>> list(weights_in_order(nn.Sequential(layer, nn.Tanh(), layer)))
    ['0.weight', '2.weight']
    """
    owned = {id(p) for module in model.modules() for p in weights_of(module)}
    found = Weights((name, p) for name, p in model.named_parameters(remove_duplicate=False) if id(p) in owned)
    turned = [module for module in model.modules() if transposed(module)]
    found.inputs_first = frozenset(p for module in turned for p in weights_of(module))
    found.grouped = frozenset(p for module in turned if int(module.groups) > 1 for p in weights_of(module))  # type: ignore[arg-type]
    return found


class Product(nn.Module):
    """The product of two activities, such as queries and keys, as a module, so that it is counted and looked at.

    >>> import torch
    >>> Product()(torch.ones(2, 3), torch.ones(3, 4)).shape
    torch.Size([2, 4])
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return `a @ b`, `[..., n, k] x [..., k, m] -> [..., n, m]`."""
        return a @ b

    def pairs(self, inputs: tuple[Tensor, ...], output: Tensor) -> int:
        """Return the multiply-accumulates of a call."""
        return output.numel() * inputs[0].shape[-1]


def is_synapse(module: nn.Module) -> bool:
    """Return whether a module is a synapse, whose input and output a call shows.

    >>> is_synapse(nn.Linear(1, 1)), is_synapse(nn.MultiheadAttention(1, 1).out_proj)
    (True, False)
    """
    return isinstance(module, SYNAPSES) and not isinstance(module, SILENT)


def synapses(model: nn.Module) -> dict[str, nn.Module]:
    """Return the synapses inside a model, by name; not those weights that a parent uses without calling them.

    >>> list(synapses(nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.ConvTranspose1d(2, 1, 1), nn.RNN(1, 1))))
    ['0', '2']
    """
    return {name: module for name, module in model.named_modules() if is_synapse(module)}


def weighted(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules inside a model whose products are counted, by name.

    >>> list(weighted(nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.RNN(1, 1))))
    ['0', '2']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, WEIGHTED)}


def counted(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules inside a model whose products a meter counts: weighted ones, and those that say `pairs`.

    >>> list(counted(nn.Sequential(nn.Linear(1, 2), Product(), nn.Tanh())))
    ['0', '1']
    """
    return {n: m for n, m in model.named_modules() if isinstance(m, WEIGHTED) or callable(getattr(m, "pairs", None))}


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
