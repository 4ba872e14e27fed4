"""Ready-made models by name: of images, video, speech, EEG and text. Imports parts and neurons."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sandbox.networks.models.bispikclm import bispikclm
from sandbox.networks.models.diehl_cook import diehl_cook
from sandbox.networks.models.ms import ms_resnet
from sandbox.networks.models.orrc import orrc_resnet
from sandbox.networks.models.qkformer import qkformer
from sandbox.networks.models.s2m_former import s2m_former
from sandbox.networks.models.sew import sew_event_net, sew_resnet
from sandbox.networks.models.sma import sma_resnet, sma_vgg
from sandbox.networks.models.small import ACTIVATIONS, convolutional, normalised, perceptron, recurrent
from sandbox.networks.models.snn_vit import snn_vit
from sandbox.networks.models.spikcommander import spikcommander
from sandbox.networks.models.spikescr import spikescr
from sandbox.networks.models.spikformer import spikformer
from sandbox.networks.models.spikingformer import spikingformer, spikingformer_cml
from sandbox.networks.models.svformer import svformer
from sandbox.networks.models.transformer import transformer
from sandbox.networks.models.winner_take_all import wd_spikingformer, we_spikingformer

MODELS: dict[str, Callable[..., nn.Module]] = {
    "convolutional": convolutional,
    "recurrent": recurrent,
    "perceptron": perceptron,
    "normalised": normalised,
    "diehl_cook": diehl_cook,
    "sew_resnet": sew_resnet,
    "sew_event_net": sew_event_net,
    "ms_resnet": ms_resnet,
    "orrc_resnet": orrc_resnet,
    "syna_resnet": orrc_resnet,  # the name in the title of its paper
    "sma_vgg": sma_vgg,
    "sma_resnet": sma_resnet,
    "spikformer": spikformer,
    "spikingformer": spikingformer,
    "spikingformer_cml": spikingformer_cml,
    "qkformer": qkformer,
    "snn_vit": snn_vit,
    "svformer": svformer,
    "spikescr": spikescr,
    "spikcommander": spikcommander,
    "s2m_former": s2m_former,
    "transformer": transformer,
    "bispikclm": bispikclm,
    "we_spikingformer": we_spikingformer,
    "wd_spikingformer": wd_spikingformer,
}

__all__ = [
    "ACTIVATIONS",
    "MODELS",
    "bispikclm",
    "convolutional",
    "diehl_cook",
    "ms_resnet",
    "normalised",
    "orrc_resnet",
    "perceptron",
    "qkformer",
    "recurrent",
    "s2m_former",
    "sew_event_net",
    "sew_resnet",
    "sma_resnet",
    "sma_vgg",
    "snn_vit",
    "spikcommander",
    "spikescr",
    "spikformer",
    "spikingformer",
    "spikingformer_cml",
    "svformer",
    "transformer",
    "wd_spikingformer",
    "we_spikingformer",
]
