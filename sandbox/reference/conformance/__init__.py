"""A neuron checked against Brian2, float64 and SciPy, and the figures that show it. Imports neurons and simulation."""
