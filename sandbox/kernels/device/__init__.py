"""Elementary functions with equal bits on every machine, for numba and for Triton. Imports `trace.aten` alone."""
