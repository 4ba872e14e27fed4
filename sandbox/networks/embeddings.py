"""Patch embeddings of spiking transformers: stages of convolutions and pools that make tokens of an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sandbox.networks.convolutions import convolved
from sandbox.networks.joins import add
from sandbox.networks.kinds import Kind
from sandbox.networks.parts import Joined, Stateless


def halving() -> nn.MaxPool2d:
    """Return the pool of these networks, a maximum over 3 x 3 places at every second one."""
    return nn.MaxPool2d(3, 2, 1)


def splitting(
    channels: int, width: int, pools: Sequence[bool], cells: Kind, scale: float, cml: bool
) -> list[nn.Module]:
    """Return spiking patch splitting (SPS): four convolutions of growing width, and relative positions.

        x = MP(SN(BN(conv(x))))    four times, to D/8, D/4, D/2 and D channels; with `cml` SN(MP(BN(conv(x))))
        x = x + SN(BN(conv(x)))

    Args:
        channels: of the image.
        width: D.
        pools: whether there is a pool behind each convolution.
        cells: the neurons.
        scale: initial gain of the normalisations.
        cml: pool currents in place of spikes.

    Reference: Zhou et al. 2023 (arXiv 2209.15425), and with `cml` Zhou et al. 2023 (arXiv 2305.05954), from the
    authors' code.
    """
    parts: list[nn.Module] = []
    for inside, pool in zip((width // 8, width // 4, width // 2, width), pools, strict=True):
        parts += downsampled(convolved(channels, inside, 3, scale=scale), inside, pool, cells, cml)
        channels = inside
    position = cells.spiking(convolved(width, width, 3, scale=scale), width)
    return [*parts, Joined([position], [], add)]


def downsampled(synapse: nn.Module, width: int, pool: bool, cells: Kind, cml: bool) -> list[nn.Module]:
    """Return a convolution, its neurons and a pool: behind the neurons, or with `cml` in front of them."""
    if pool and cml:
        return [cells.spiking(nn.Sequential(synapse, halving()), width)]
    return [cells.spiking(synapse, width), *([Stateless(halving())] if pool else [])]


def tokenizer(
    channels: int, width: int, pools: Sequence[bool], cells: Kind, scale: float, cml: bool
) -> list[nn.Module]:
    """Return the spiking tokenizer: a convolution of the image, and four behind neurons.

        x = BN(conv(image));    x = BN(conv(MP(SN(x))))    four times; with `cml` BN(conv(SN(MP(x))))

    to D/8, D/4, D/2, D and D channels. No neuron follows the last one, so that what leaves is real.

    Args:
        channels: of the image.
        width: D.
        pools: whether there is a pool in front of each of the four convolutions.
        cells: the neurons.
        scale: initial gain of the normalisations.
        cml: pool currents in place of spikes.

    Reference: Zhou et al. 2023 (arXiv 2304.11954), and with `cml` Zhou et al. 2023 (arXiv 2305.05954), from the
    authors' code.
    """
    inside = width // 8
    parts: list[nn.Module] = [Stateless(convolved(channels, inside, 3, scale=scale))]
    for after, pool in zip((width // 4, width // 2, width, width), pools, strict=True):
        fires, pooled = cells.fires(inside), [Stateless(halving())] if pool else []
        parts += [*pooled, fires] if cml else [fires, *pooled]
        parts.append(Stateless(convolved(inside, after, 3, scale=scale)))
        inside = after
    return parts


def deformed(main: Sequence[nn.Module], inputs: int, width: int, stride: int, cells: Kind, scale: float) -> Joined:
    """Return a stage with a deformed shortcut, `main(x) + SN(BN(conv1x1(x)))`, of the stride of the stage.

    Reference: Zhou et al. 2024 (arXiv 2403.16552), from the authors' code.
    """
    way = cells.spiking(convolved(inputs, width, 1, stride, scale=scale), width)
    return Joined(main, [way], add)


class Summed(nn.Module):
    """The sum of what several modules make of the same input."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.summands = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([each(x) for each in self.summands]).sum(0)


def dilated(inputs: int, width: int, scale: float) -> nn.Module:
    """Return the sum of a 3 x 3 convolution and one of every second place, each normalised: near and far features.

    Reference: our reconstruction of GL-SPS, Wang et al. 2025 (arXiv 2502.12677), of which we read summaries.
    """
    convolution, norm = nn.Conv2d(inputs, width, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(width)
    nn.init.constant_(norm.weight, scale)
    return Summed([convolved(inputs, width, 3, scale=scale), nn.Sequential(convolution, norm)])
