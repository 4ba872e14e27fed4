"""Zero-order rules that perturb weights or nodes and use only the loss. May import `layered`, not the reverse."""
