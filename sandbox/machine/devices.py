"""The devices that an experiment may name, and whether torch has them here."""

from __future__ import annotations

import re

import torch

NAMED = re.compile(r"cpu|cuda(?::(?P<index>\d+))?")


def check_name(device: str) -> None:
    """Raise ValueError for a name that is not 'cpu', 'cuda' or 'cuda:1'.

    >>> check_name("gpu")
    Traceback (most recent call last):
    ...
    ValueError: device='gpu': give 'cpu', 'cuda', or one of several as 'cuda:1'
    """
    if not isinstance(device, str) or NAMED.fullmatch(device) is None:
        raise ValueError(f"device={device!r}: give 'cpu', 'cuda', or one of several as 'cuda:1'")


def require(device: str) -> None:
    """Raise ValueError if torch does not have this device here; says which it has.

    >>> require("cpu")
    """
    check_name(device)
    if device == "cpu":
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = NAMED.fullmatch(device)
    if found is None or int(found["index"] or 0) >= count:
        have = ", ".join(["'cpu'", *(f"'cuda:{index}'" for index in range(count))])
        raise ValueError(
            f"device={device!r}: torch {torch.__version__} has no such device here; it has {have}. Set device: cpu, or "
            "install a build of torch for CUDA (https://pytorch.org/get-started/locally)"
        )
