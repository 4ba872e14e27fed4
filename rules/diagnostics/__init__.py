"""What a training step shows of a model: health, work, memory, latency. Imports contract, forward and metering."""
