"""The functions that kernels call, for numba and for Triton. Imports nothing of the other folders.

Those for numba are our own because exponentials of numba make HodgkinHuxley 12 times slower and its arrays 16 times
(`python benchmarks/elementary.py`).
"""
