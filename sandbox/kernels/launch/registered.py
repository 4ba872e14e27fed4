"""The torch operators that call kernels, registered once for each structure."""

from __future__ import annotations

import torch

from sandbox.kernels.choice import choice
from sandbox.kernels.launch.backends import by_triton
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.emit_backward import backward
from sandbox.kernels.write.emit_forward import forward
from sandbox.kernels.write.triton_words import spelled

STRUCTURES: dict[str, Structure] = {}  # by key: what the operators of `ops` are told to run


TRITON = "triton "  # before the key of a structure that Triton is to compile


WRITERS = {"forward": forward, "backward": backward}


def register(structure: Structure, device: torch.device) -> str:
    """The key by which the operators know a structure, and the back end that is to compile it for a device."""
    if not by_triton(device, choice().mode):
        return STRUCTURES.setdefault(structure.key, structure).key
    key = TRITON + structure.key
    if key not in STRUCTURES:
        spelled(structure)
        STRUCTURES[key] = structure
    return key
