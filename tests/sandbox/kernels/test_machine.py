"""The instructions of a kernel that numba does not provide, beside plain Python."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import int64, njit

from sandbox.kernels.device.elementary import functions
from sandbox.kernels.trace.aten import fused

NAMES = functions(np.float64, fused())
PACKED = """
def call(a, n, c):
    given = pointer(a, NONE)
    marks = stack(NONE)
    unmark(marks, 1024)
    for j in range(n):
        store(marks, j, load(given, j))
    pack(pointer(c, WORD), int64(0), marks, n)
"""
CHAIN = """
def call(a, n, c):
    x = pointer(a, zero)
    y = pointer(c, zero)
    for t in range(2):
        for j in range(n):
            put(y, j, exp(fetch(x, j, 0) / exp(fetch(y, j, 1))), 1)
        {}
"""


def compiled(source):
    names = dict(NAMES) | {"int64": np.int64}
    exec(source, names)
    found = njit(error_model="numpy")(names["call"])
    found.compile((int64, int64, int64))
    return found


@pytest.fixture(scope="module")
def pack():
    return compiled(PACKED)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 255]), min_size=1, max_size=1024))
def test_marks_become_bits_of_words(pack, marks):
    given_, words = np.array(marks, np.uint8), np.full(-(-len(marks) // 64) + 1, -1)
    pack(given_.ctypes.data, len(marks), words.ctypes.data)
    bits = [int(words[j // 64]) >> (j % 64) & 1 for j in range(64 * (len(words) - 1))]
    assert bits[: len(marks)] == [int(mark > 0) for mark in marks]
    assert not any(bits[len(marks) :])
    assert words[-1] == -1  # nothing is written behind them


def test_a_loop_runs_several_vectors_at_a_time_with_equal_results():
    x, results, chains = np.random.default_rng(0).random(1001), [], []
    for line in ("pass", "interleave(4)"):
        call, y = compiled(CHAIN.format(line)), np.linspace(0, 1, 1001)
        call(x.ctypes.data, len(x), y.ctypes.data)
        results.append(y)
        chains.append(len(re.findall(r"fdiv <\d+ x double>", next(iter(call.inspect_llvm().values())))))
    assert np.array_equal(*results)
    once = np.exp(x / np.exp(np.linspace(0, 1, 1001)))
    assert np.allclose(results[0], np.exp(x / np.exp(once)), rtol=1e-14)  # an exponential rounds by one unit
    assert chains[1] >= chains[0] + 3
    assert chains[0] >= 1
