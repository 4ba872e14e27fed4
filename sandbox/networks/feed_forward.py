"""The feed-forward part of spiking transformers: two pointwise convolutions, and shortcuts around each of them."""

from __future__ import annotations

from torch import Tensor, nn

from rules.synapses import weights_in
from sandbox.networks.convolutions import convolved
from sandbox.networks.joins import add
from sandbox.networks.kinds import Kind
from sandbox.networks.parts import Joined, Stateless


class Repeated(nn.Module):
    """Maps `[B, C, H, W]`, all channels repeated: `[B, times C, H, W]`."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, self.times, 1, 1)


class GroupMean(nn.Module):
    """The mean of groups of channels, `[B, groups C, H, W] -> [B, C, H, W]`; it undoes `Repeated`.

    >>> import torch
    >>> x = torch.rand(2, 3, 4, 4)
    >>> torch.equal(GroupMean(2)(Repeated(2)(x)), x)
    True
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        grouped: Tensor = x.unflatten(1, (self.groups, -1))
        return grouped.mean(1)


def pointwise(inputs: int, outputs: int, scale: float = 1.0, bias: bool = True) -> nn.Sequential:
    """Return a 1 x 1 convolution, a dense layer of each token, and its normalisation."""
    return convolved(inputs, outputs, 1, bias=bias, scale=scale)


def behind(width: int, ratio: int, cells: Kind, scale: float) -> list[nn.Module]:
    """Return `SN(BN(W2 SN(BN(W1 x))))`, with neurons behind the weights."""
    inside = width * ratio
    first, second = pointwise(width, inside, scale), pointwise(inside, width, scale)
    return [cells.spiking(first, inside), cells.spiking(second, width)]


def in_front(width: int, ratio: int, cells: Kind, scale: float) -> list[nn.Module]:
    """Return `BN(W2 SN(BN(W1 SN(x))))`, with neurons in front of the weights."""
    inside = width * ratio
    first, second = pointwise(width, inside, scale), pointwise(inside, width, scale)
    return [cells.fires(width), cells.spiking(first, inside), Stateless(second)]


def in_front_each(width: int, ratio: int, cells: Kind, scale: float) -> list[nn.Module]:
    """Return `in_front` with a shortcut around each matrix, which needs no weights.

        h = BN(W1 SN(x)) + repeat(x),    y = BN(W2 SN(h)) + mean over groups of h

    Reference: our reconstruction of the multiple shortcuts in the abstract of Meng et al. 2025 (arXiv 2508.12609).
    """
    inside = width * ratio
    first, second = Stateless(pointwise(width, inside, scale)), Stateless(pointwise(inside, width, scale))
    return [
        Joined([cells.fires(width), first], [Stateless(Repeated(ratio))], add),
        Joined([cells.fires(inside), second], [Stateless(GroupMean(ratio))], add),
    ]


def weights_outside(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all weights but those with a shortcut around each, which are made for one bit.

    Give them to a projection as `keep`, such as `rules.plasticity.Sign(keep=weights_outside(model))`.

    Raises:
        ValueError: for a model without such weights.

    >>> from sandbox import make_model
    >>> len(weights_outside(make_model("spikingformer", around="each")))
    14
    """
    around = [part for part in model.modules() if isinstance(part, Joined) and shuffles(part)]
    inside = {id(p) for part in around for p in part.branch.parameters()}
    if not inside:
        raise ValueError(
            f"{type(model).__name__} has no feed-forward part with a shortcut around each matrix: build one with "
            'sandbox.make_model("spikingformer", around="each")'
        )
    return tuple(name for name, p in weights_in(model).items() if id(p) not in inside)


def shuffles(part: Joined) -> bool:
    """Return whether the shortcut of a block repeats channels, or averages groups of them."""
    return part.shortcut is not None and any(
        isinstance(module, (Repeated, GroupMean)) for module in part.shortcut.modules()
    )
