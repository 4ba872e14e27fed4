"""What the models of text share: what they refuse, and how initial weights are drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sandbox.networks.kinds import Kind
from sandbox.networks.language import TokenModel
from sandbox.networks.parts import Stateless
from sandbox.neurons.counting import Counting

RATE = 0.25  # mean square of what enters a layer of spikes, about that of the first pass


class Times(nn.Module):
    """A signal times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"


def again(cells: Kind, channels: int, own: float | None) -> list[nn.Module]:
    """Return neurons that are driven by spikes of others, without weights.

    Args:
        cells: the neurons.
        channels: of the signal.
        own: current of a signal of 1, for the neurons of a paper; None for neurons of a user. A spike is then twice the
            current at which they begin to fire, and neurons that count say what they heard.
    """
    cell = cells.usual
    heard = 1 / cell.unit if isinstance(cell, Counting) else 2 * cells.gain
    factor = heard if own is None else own
    return [*([] if factor == 1 else [Stateless(Times(factor))]), cells.fires(channels)]


def require_tokens(shape: tuple[int, ...], classes: int) -> None:
    """Raise ValueError for samples that are not one token at each step, and for fewer than two classes."""
    if shape != ():
        raise ValueError(f"shape={tuple(shape)}: this model takes tokens [L, B], whole numbers, so give ()")
    if classes < 2:
        raise ValueError(f"classes={classes}: give the number of tokens, at least 2")


def drawn(model: TokenModel, seed: int, current: float, square: float = RATE) -> TokenModel:
    """Return a model with weights drawn from a seed, and a read-out whose first scores have a deviation of 1.

    Currents have about a deviation of `current`: embeddings of tokens and places together, and what dense layers put
    out. Biases are zero.

    Args:
        model: its normalisations stay as they are.
        seed: of the weights.
        current: for neurons one that lets them fire at once.
        square: mean square of what enters a dense layer.
    """
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        tied = model.head.weight is model.tokens.weight
        model.norm.weight.fill_(math.sqrt(2 / model.size.width) / current if tied else 1.0)
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0, current / math.sqrt(2), generator=rng)
            elif isinstance(module, nn.Linear) and module.weight is not model.tokens.weight:
                deviation = current / math.sqrt(module.in_features * square)
                if module is model.head:
                    deviation = 1 / math.sqrt(module.in_features)
                module.weight.normal_(0, deviation, generator=rng)
                if module.bias is not None:
                    module.bias.zero_()
    return model
