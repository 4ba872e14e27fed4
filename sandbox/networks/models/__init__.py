"""Ready-made models by name, small ones and spiking residual networks. Imports parts, gates and neurons."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sandbox.networks.models.ms import ms_resnet
from sandbox.networks.models.orrc import orrc_resnet
from sandbox.networks.models.sew import sew_event_net, sew_resnet
from sandbox.networks.models.sma import sma_resnet, sma_vgg
from sandbox.networks.models.small import ACTIVATIONS, convolutional, normalised, perceptron, recurrent

MODELS: dict[str, Callable[..., nn.Module]] = {
    "convolutional": convolutional,
    "recurrent": recurrent,
    "perceptron": perceptron,
    "normalised": normalised,
    "sew_resnet": sew_resnet,
    "sew_event_net": sew_event_net,
    "ms_resnet": ms_resnet,
    "orrc_resnet": orrc_resnet,
    "sma_vgg": sma_vgg,
    "sma_resnet": sma_resnet,
}

__all__ = [
    "ACTIVATIONS",
    "MODELS",
    "convolutional",
    "ms_resnet",
    "normalised",
    "orrc_resnet",
    "perceptron",
    "recurrent",
    "sew_event_net",
    "sew_resnet",
    "sma_resnet",
    "sma_vgg",
]
