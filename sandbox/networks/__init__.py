"""Networks: build them, calibrate them, read them with noise. Imports neurons, simulation and synapses."""
