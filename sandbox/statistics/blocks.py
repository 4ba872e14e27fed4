"""Replicates: values that share what was drawn once, such as one search of tuning, count as one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def block_means(values: Sequence[float], of: Sequence[Hashable] | None = None) -> list[float]:
    """Return the mean of each block of values, in the order in which the blocks first occur.

    Seeds that use the options of one search share its error, so they are not independent. The means of searches are,
    and an interval over them contains the error of tuning.

    Args:
        values: one for each seed.
        of: the block of each value, such as the number of its search; by default each value is a block.

    Returns:
        The mean of each block.

    Raises:
        ValueError: `of` has another length than the values.

    >>> block_means([1.0, 5.0, 3.0, 7.0], of=[0, 1, 0, 1])
    [2.0, 6.0]
    """
    if of is None:
        return list(values)
    if len(of) != len(values):
        raise ValueError(f"{len(values)} values in the blocks of {len(of)}: give the block of each value")
    blocks: dict[Hashable, list[float]] = {}
    for block, value in zip(of, values, strict=True):
        blocks.setdefault(block, []).append(value)
    return [float(np.sum(block)) / len(block) for block in blocks.values()]
