"""Weights and inputs of the recorded passes, from a seed and the name of each tensor: none are stored.

Each tensor has a `numpy.random.RandomState`, whose stream NumPy keeps, seeded with `crc32(name) + seed` modulo 2^32:

    running_mean    0.2 (uniform - 0.5)
    running_var     0.5 + uniform
    gains           1 + uniform,  offsets of normalisations    0.4 + 0.8 uniform
    weights         sqrt(2 / fan_in) normal,  their biases    0.1 normal

Names are those of the authors. The input `x` is uniform in [0, 1).
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def tensors(shapes, seed):
    """Return the tensors of all names, in float64; counters are 0."""
    return {name: tensor(name, shape, shapes, seed) for name, shape in shapes.items()}


def tensor(name, shape, shapes, seed):
    prefix, _, kind = name.rpartition(".")
    rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    if kind == "num_batches_tracked":
        return torch.zeros(tuple(shape), dtype=torch.int64)
    if kind == "running_mean":
        found = 0.2 * (rng.random_sample(shape) - 0.5)
    elif kind == "running_var":
        found = 0.5 + rng.random_sample(shape)
    elif f"{prefix}.running_var" in shapes:
        found = (1 + rng.random_sample(shape)) if kind == "weight" else 0.4 + 0.8 * rng.random_sample(shape)
    elif kind == "weight" and len(shape) > 1:
        found = np.sqrt(2 / np.prod(shape[1:])) * rng.standard_normal(shape)
    else:
        found = 0.1 * rng.standard_normal(shape)
    return torch.from_numpy(np.asarray(found))


def given(shape, seed):
    """Return an input of this shape."""
    return torch.from_numpy(np.random.RandomState(seed).random_sample(shape))
