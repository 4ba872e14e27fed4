"""Diagnostics of a model in training: health, work, memory, latency. Imports contract, forward and metering."""
