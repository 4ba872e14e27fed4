"""A disk that is full for the workers of a comparison while a flag file exists."""

from __future__ import annotations

import errno
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

from sandbox.runs import folder as folders
from sandbox.tasks.yinyang import YinYang

FLAG = "SANDBOX_TEST_FULL_DISK"  # the file


@dataclass(frozen=True)
class FullDisk(YinYang):
    """Yin-Yang; whoever loads it in a worker has a disk that fills up when the flag names a file that is there."""

    def load(self, data_dir=None):
        if multiprocessing.parent_process() is not None:
            folders.os.fsync = _fsync
        return super().load(data_dir)


def _fsync(file: int, true=os.fsync) -> None:
    if Path(os.environ[FLAG]).exists():
        raise OSError(errno.ENOSPC, "No space left on device")
    true(file)
