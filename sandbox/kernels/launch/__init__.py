"""Compiled kernels as torch operators: stored, registered and called. Imports `write`, `trace` and `device`."""
