"""The functions that kernels call, for numba and for Triton. Imports none of the other folders.

Those for numba are our own: with numba's exponentials HodgkinHuxley is 12 times slower, with its arrays 16 times
(`python benchmarks/elementary.py`).
"""
