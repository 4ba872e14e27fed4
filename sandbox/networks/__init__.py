"""Networks: built, calibrated, read with noise, by name. Imports neurons, simulation and synapses."""
