"""Keeping freed memory: asked of glibc, and nothing elsewhere."""

import subprocess
import sys

import pytest

from sandbox import memory

CODE = """
import resource, sys
import torch
from sandbox.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    torch.ones(64 * 2**20 // 4)
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
