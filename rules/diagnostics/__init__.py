"""What a training step shows about a model: health, work, memory, latency. Imports the contract and `forward`, no rule."""
