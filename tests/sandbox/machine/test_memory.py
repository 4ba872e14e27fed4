"""Keeping freed memory: requested from glibc, a no-op elsewhere; and successive arrays at the same address."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sandbox.machine import memory

CODE = """
import resource, sys
import torch
from sandbox.machine.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    torch.ones(64 * 2**20 // 4)
for _ in range(10):  # glibc settles on a place within a few steps
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not memory.keep_freed_memory(), reason="the C library here is not glibc")
def test_large_arrays_are_not_fetched_anew():
    assert faults("keep") < faults("plain") / 10


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep_freed_memory()


SHAPE = (2**10, 2**10)


def test_what_an_array_leaves_behind_is_taken_again():
    like = torch.ones(1)
    first = memory.empty(SHAPE, like)
    view, place = first[5:], first.data_ptr()
    del first
    assert memory.empty(SHAPE, like).data_ptr() != place  # a view is still alive
    del view
    assert memory.empty(SHAPE, like).data_ptr() == place


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_arrays_are_like_others(dtype):
    found = memory.empty(SHAPE, torch.ones(1, dtype=dtype))
    assert (found.shape, found.dtype, found.is_contiguous()) == (SHAPE, dtype, True)
    assert found.data_ptr() % 64 == 0
    assert torch.equal(found.fill_(3.0), torch.full(SHAPE, 3.0, dtype=dtype))


def test_no_more_is_kept_than_is_said(monkeypatch):
    monkeypatch.setattr(memory, "KEPT", 3 * 2**22)
    alive = [memory.empty(SHAPE, torch.ones(1)) for _ in range(5)]
    assert len({each.data_ptr() for each in alive}) == 5
    alive.clear()
    assert 0 < sum(map(len, memory._FREE)) <= 3 * 2**22


def test_threads_that_take_and_give_back_at_once():
    def work(number: int) -> bool:
        for _ in range(50):
            mine = memory.empty(SHAPE, torch.ones(1))
            mine[0].fill_(number)
            if not (mine[0] == number).all():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
