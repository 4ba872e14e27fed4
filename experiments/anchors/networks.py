"""The MLP and the CNN of the authors of MNIST-1D, without spikes and without time.

A configuration names them as `network.model`: experiments/anchors/networks.py:mlp, or :cnn. Code read at
greydanus/mnist1d, notebooks/models.py (579085a) and notebooks/train.py (9e531f7); none of it is used.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

CHANNELS = 25


class MLP(nn.Module):
    """Two hidden layers of ReLU, the second beside a skip connection.

    h = relu(W1 x),    y = W3 (h + relu(W2 h))
    """

    def __init__(self, inputs: int, classes: int, width: int) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Linear(inputs, width),
            nn.Linear(width, width),
            nn.Linear(width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `[..., classes]` for `[..., inputs]`."""
        h = relu(self.first(x))
        return self.last(h + relu(self.second(h)))


class CNN(nn.Module):
    """Three convolutions of stride 2 with ReLU, and a dense read-out of all their features."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        sizes = ((1, 5), (CHANNELS, 3), (CHANNELS, 3))
        self.convolutions = nn.ModuleList(nn.Conv1d(n, CHANNELS, k, stride=2, padding=1) for n, k in sizes)
        self.last = nn.Linear(self.features(torch.zeros(1, inputs)).shape[-1], classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the features `[n, channels * positions]` of samples `[n, inputs]`."""
        x = x[:, None]
        for convolution in self.convolutions:
            x = relu(convolution(x))
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[..., classes]` for `[..., inputs]`."""
        found: Tensor = self.last(self.features(x.flatten(0, -2)))
        return found.unflatten(0, x.shape[:-1])


def mlp(shape: tuple[int, ...], classes: int, *, width: int = 100, seed: int = 0) -> MLP:
    """Build the MLP with torch's initial weights.

    Args:
        shape: of a sample.
        classes: number of outputs.
        width: of both hidden layers, 100 by default.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP(shape[0], classes, width)


def cnn(shape: tuple[int, ...], classes: int, *, seed: int = 0) -> CNN:
    """Build the CNN with torch's initial weights; arguments are those of `mlp`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CNN(shape[0], classes)
