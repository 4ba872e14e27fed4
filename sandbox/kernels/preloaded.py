"""What a process imports before workers are forked from it: the kernels, and numba with what its first one needs.

Numba imports most of itself, and scipy.linalg, only when it compiles or loads its first function; a worker would spend
0.7 s of CPU time on that before its first step.
"""

from __future__ import annotations

from contextlib import suppress

from numba import njit

from sandbox.kernels import linear as linear
from sandbox.kernels import sequence as sequence
from sandbox.kernels.device import elementary as elementary
from sandbox.kernels.launch import batching as batching
from sandbox.kernels.launch import transforms as transforms

with suppress(Exception):  # a worker that asks for a kernel says what is wrong
    njit("void()")(lambda: None)
