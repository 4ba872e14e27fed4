"""Generators seeded from given numbers, independent of earlier draws."""

from __future__ import annotations

import torch

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads neighbouring seeds far apart


def seeded(seed: int, *numbers: int) -> torch.Generator:
    """Return a generator for a tuple of whole numbers, the same for equal numbers at any time and on any machine.

    >>> draws = [float(torch.rand((), generator=seeded(0, n, 1))) for n in (2, 3, 2)]
    >>> draws[0] == draws[2] != draws[1]
    True
    """
    for number in numbers:
        seed = ((seed ^ number) * GOLDEN + 1) % 2**63
        seed ^= seed >> 29
    return torch.Generator().manual_seed(seed)
