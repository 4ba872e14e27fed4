"""Two networks to start from: a small convolutional one for images, and a recurrent one for recorded spikes."""

from __future__ import annotations

from sandbox.build import build
from sandbox.network import Network
from sandbox.neurons import LIF, LeakyIntegrator


def convolutional(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    channels: tuple[int, ...] = (16, 32, 64),
    *,
    tau_mem: float = 2.0,
    seed: int = 0,
) -> Network:
    """A small VGG-like network: 3 x 3 convolutions, each pooled by 2, normalised and fired, then a dense read-out.

    Arguments: the shape of an image `(C, H, W)`, the number of classes, the channels of each convolution, the membrane
    time constant in ms at steps of 1 ms, for four steps or so. Batch normalisation runs over batch, time and space.
    Raises ValueError where the image is too small for so many pools.

    >>> import torch
    >>> convolutional((3, 32, 32))(torch.rand(1, 2, 3, 32, 32).expand(4, 2, 3, 32, 32)).output.shape
    torch.Size([4, 2, 10])

    Reference: the shape of VGG, Simonyan & Zisserman 2015 (arXiv 1409.1556); sizes are ours, for two cores.
    """
    hidden = [f"{width}c3bp2" for width in channels]
    return build(shape, classes, hidden, LIF(tau_mem=tau_mem), LeakyIntegrator(tau_mem=tau_mem), seed=seed)


def recurrent(
    shape: tuple[int, ...] = (40,),
    classes: int = 10,
    units: tuple[int, ...] = (128,),
    *,
    tau_mem: float = 20.0,
    seed: int = 0,
) -> Network:
    """Recurrent layers of spiking neurons and a leaky read-out, for sequences such as those of `fsdd`.

    Arguments: the features of a step, the number of classes, the units of each layer, the membrane time constant in
    steps of 1 ms.

    >>> import torch
    >>> recurrent()(torch.zeros(20, 2, 40)).output.shape
    torch.Size([20, 2, 10])
    """
    hidden = [f"{width}r" for width in units]
    return build(shape, classes, hidden, LIF(tau_mem=tau_mem), LeakyIntegrator(tau_mem=tau_mem), seed=seed)
