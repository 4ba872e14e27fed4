"""Plasticity, how a synapse changes its weight: every member is a recipe for a `torch.optim.Optimizer`.

Imports the contract and its optional clauses.
"""

from rules.plasticity.descent import SGD, Adam, RMSprop
from rules.plasticity.memristor import Memristor

PLASTICITIES = {"adam": Adam, "sgd": SGD, "rmsprop": RMSprop, "memristor": Memristor}

__all__ = ["PLASTICITIES", "SGD", "Adam", "Memristor", "RMSprop"]
