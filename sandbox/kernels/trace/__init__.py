"""From a neuron's `step` to a plan: the graph traced from torch, and its adjoint. Imports no back end."""
