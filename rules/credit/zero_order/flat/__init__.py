"""Zero-order rules that perturb weights or nodes and look at the loss alone. May import `layered`, not the reverse."""
