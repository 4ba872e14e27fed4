"""Networks of neurons and synapses, how they are built, calibrated and read. Imports neurons, simulation and synapses."""
