"""Compiled kernels as torch operators: stored, registered and called."""
