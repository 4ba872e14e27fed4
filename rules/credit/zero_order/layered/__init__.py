"""Zero-order rules that perturb signals between layers and carry errors backwards over them."""
