"""Plasticity, how a synapse changes its weight: every member is a recipe for a `torch.optim.Optimizer`.

Imports the contract and its optional clauses.
"""

from rules.plasticity.descent import SGD, Adam, RMSprop
from rules.plasticity.memristor import Memristor
from rules.plasticity.normalised import Normalised
from rules.plasticity.projected import Levels, Magnitude, Sign, SoftThreshold

PLASTICITIES = {
    "adam": Adam,
    "sgd": SGD,
    "rmsprop": RMSprop,
    "memristor": Memristor,
    "normalised": Normalised,
    "soft_threshold": SoftThreshold,
    "levels": Levels,
    "sign": Sign,
    "magnitude": Magnitude,
}

__all__ = [
    "PLASTICITIES",
    "SGD",
    "Adam",
    "Levels",
    "Magnitude",
    "Memristor",
    "Normalised",
    "RMSprop",
    "Sign",
    "SoftThreshold",
]
