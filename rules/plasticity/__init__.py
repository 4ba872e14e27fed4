"""What a synapse can physically do: every member is a recipe for a `torch.optim.Optimizer`."""

from rules.plasticity.descent import SGD, Adam

PLASTICITIES = {"adam": Adam, "sgd": SGD}

__all__ = ["PLASTICITIES", "SGD", "Adam"]
