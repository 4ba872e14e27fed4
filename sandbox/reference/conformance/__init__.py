"""A neuron held to Brian2, to float64 and to SciPy, and the page that shows it."""
