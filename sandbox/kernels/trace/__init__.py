"""From a neuron's `step` to a plan: the graph that torch traces, and its adjoint. Imports no back end."""
