"""The team of the processes that torchrun has started."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import NoReturn

import torch
from torch import distributed as dist

from rules.team import ALONE, Team

PATIENCE = timedelta(days=1)  # while the first process evaluates; torchrun ends all if one dies
MOMENT = timedelta(seconds=10)  # until the first process has said what went wrong
WATCH = 1.0  # [s] between two looks at whether torchrun still lives
BY_TORCHRUN = "TORCHELASTIC_RUN_ID"


def started() -> int:
    """Return the number of processes that torchrun has started together; 1 without it."""
    return _number("WORLD_SIZE") if BY_TORCHRUN in os.environ else 1


def _number(variable: str) -> int:
    """Return the number in a variable that torchrun sets; raise ValueError, which names it, if there is none."""
    said = os.environ.get(variable, "")
    if not (said.isascii() and said.isdecimal()):
        raise ValueError(
            f"{variable}={said!r}: torchrun sets it to a number; start with torchrun, or unset {BY_TORCHRUN}"
        )
    return int(said)


@contextmanager
def launched(device: str = "cpu") -> Iterator[Team]:
    """Join the processes that torchrun has started, and leave them at the end; without torchrun, be alone.

    If torchrun itself is killed, they end, too.

    They exchange by gloo, and by nccl what is on a GPU. The device "cuda" becomes that of the number in LOCAL_RANK.

    Raises:
        ValueError: for a device with a number, which would be one for all processes.

    >>> with launched() as team:
    ...     team.size, team.first
    (1, True)
    """
    if started() == 1:
        yield ALONE
        return
    on_gpu = device.startswith("cuda")
    if ":" in device:
        raise ValueError(f"device={device!r}: each of {started()} processes takes a GPU of its own: give 'cuda'")
    if on_gpu:
        torch.cuda.set_device(_number("LOCAL_RANK"))
    for variable in ("RANK", "MASTER_PORT"):
        _number(variable)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield Team()
    finally:
        dist.destroy_process_group()


def _end_with(torchrun: int) -> None:
    """End this process when torchrun, its parent, was killed, because nobody else would."""
    while os.getppid() == torchrun:
        time.sleep(WATCH)
    os._exit(1)


def leave(code: int) -> NoReturn:
    """End a process that torchrun has started.

    When one has failed, torchrun stops the others at once, so that the others let the first one speak before.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        with suppress(Exception):  # the store may be gone
            address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = dist.TCPStore(address, port, is_master=False, timeout=MOMENT)  # type: ignore[attr-defined]
            if os.environ["RANK"] == "0":
                store.set("the first process has spoken", "yes")
            else:
                store.wait(["the first process has spoken"], MOMENT)
    os._exit(code)  # threads of gloo, still ending, sometimes abort an interpreter that ends as well
