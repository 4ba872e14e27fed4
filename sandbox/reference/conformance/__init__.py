"""Check a neuron against Brian2, float64 and SciPy, with figures. Imports neurons and simulation."""
