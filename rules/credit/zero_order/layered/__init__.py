"""Zero-order rules that perturb signals between layers and carry errors back over them. Imports nothing of `flat`."""
