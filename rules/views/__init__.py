"""Views: random changes of samples, for Siamese objectives and for augmentation. Imports only torch."""

from rules.views.base import Compose, Identity, View
from rules.views.colour import ColourJitter
from rules.views.events import OneOf, Rotation
from rules.views.images import Cutout, RandomCrop, RandomFlip
from rules.views.pairs import VIEWS
from rules.views.spikes import ChannelJitter, EventDrop, Roll, TimeShift
from rules.views.times import StepDrop
from rules.views.vectors import AdditiveNoise, FeatureDrop

__all__ = [
    "VIEWS",
    "AdditiveNoise",
    "ChannelJitter",
    "ColourJitter",
    "Compose",
    "Cutout",
    "EventDrop",
    "FeatureDrop",
    "Identity",
    "OneOf",
    "RandomCrop",
    "RandomFlip",
    "Roll",
    "Rotation",
    "StepDrop",
    "TimeShift",
    "View",
]
