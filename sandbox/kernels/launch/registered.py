"""The structures that the torch operators can run, by key."""

from __future__ import annotations

import torch

from sandbox.kernels.choice import choice
from sandbox.kernels.launch.backends import by_triton
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.emit_backward import backward
from sandbox.kernels.write.emit_forward import forward
from sandbox.kernels.write.triton_words import spelled

STRUCTURES: dict[str, Structure] = {}  # by key, which the operators of `ops` take as an argument


TRITON = "triton "  # prefix of the key of a structure that Triton compiles


WRITERS = {"forward": forward, "backward": backward}


def register(structure: Structure, device: torch.device) -> str:
    """Register a structure and return its key, which also determines the back end for the device."""
    if not by_triton(device, choice().mode):
        return STRUCTURES.setdefault(structure.key, structure).key
    key = TRITON + structure.key
    if key not in STRUCTURES:
        spelled(structure)
        STRUCTURES[key] = structure
    return key
