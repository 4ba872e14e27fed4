"""Generators seeded from a seed and the name of a purpose, so that no two purposes share a stream."""

from __future__ import annotations

import hashlib

import torch

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads neighbouring seeds far apart


def derived(seed: int, *keys: int | str) -> int:
    """Return the seed of one purpose, from 0 to below 2^63: the same for equal keys at any time and on any machine.

    >>> derived(0, "devices") == derived(0, "devices") != derived(0, "rule")
    True
    """
    for key in keys:
        number = key if isinstance(key, int) else int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        seed = ((seed ^ number) * GOLDEN + 1) % 2**63
        seed ^= seed >> 29
    return seed


def seeded(seed: int, *keys: int | str) -> torch.Generator:
    """Return a generator for a purpose, given by names and whole numbers.

    >>> draws = [float(torch.rand((), generator=seeded(0, "noise", n))) for n in (2, 3, 2)]
    >>> draws[0] == draws[2] != draws[1]
    True
    """
    return torch.Generator().manual_seed(derived(seed, *keys))
