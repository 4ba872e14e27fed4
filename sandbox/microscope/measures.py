"""Measures of a layer's credit against a gradient: direction, size, bias and variance, with their errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

Numbers = npt.NDArray[np.float64]

NOTHING = "the credit is 0 everywhere"
NO_SLOPE = "the reference is 0 everywhere"


def measures(drawn: Tensor, known: Tensor, paired: bool, settled: bool) -> dict[str, Any]:
    """Compute the numbers of a `Row` from draws `[D, weights]` of credit and samples `[S, weights]` of a gradient.

    Let g_d be the draws, r_s the samples and r their mean. r_d is the sample with the same random numbers as g_d where
    they are `paired`, and r otherwise.

        cosine          mean_d <g_d, r_d> / |g_d| |r_d|
        sign_agreement  mean_d share of the weights with r_d != 0 where g_d has the same sign; 0 has none
        norm_ratio      mean_d |g_d| / |r_d|
        bias            mean_d <g_d - r_d, r> / |r|^2          along r: -0.1 where credit is 0.9 r, -1 where 0
        across          mean over pairs d != e of <x_d, x_e> / |r|^2 with x_d the part of g_d - r_d orthogonal to r:
                        estimates the squared length of E[g - r] orthogonal to r, over |r|^2. Its mean is 0 where
                        E g is parallel to r, so that it may be negative
        variance        sum_d |g_d - mean g|^2 / (D - 1) |r|^2
        reference_error the length of the standard error of r, over |r|

    `bias_error` is the standard error of `bias`, `across_error` the jackknife's of `across`. A deterministic rule is
    `settled`: one draw is exact, and has no error of its own. None stands for what cannot be estimated.
    """
    drawn, known = drawn.double().cpu(), known.double().cpu()
    mean = known.mean(0) if len(known) > 1 else known[0]
    power = float(mean @ mean)
    if power == 0:
        return {"note": NO_SLOPE}
    beside = known if paired else mean[None]
    products, away = drawn * beside, drawn - beside
    sizes, lengths, dots = _numbers(drawn.norm(dim=1), beside.norm(dim=1), products.sum(1))
    alike, there = _numbers((products > 0).sum(1), (beside != 0).sum(1))
    along, overlaps = _numbers(away @ mean / power, away @ away.T / power)
    samples = 1 if paired else len(known)
    theirs = _error(_numbers(known @ mean / power)[0]) if samples > 1 else 0.0
    spread = float(known.var(0).sum()) / len(known) / power if len(known) > 1 else 0.0
    across, across_error = _across(overlaps - np.outer(along, along), settled)
    if across is not None and samples > 1:  # all x_d share the error of r, which the product of two of them squares
        across -= spread - theirs**2
    seen = (sizes > 0) & (lengths > 0)
    return {
        "cosine": float((dots / np.where(seen, sizes * lengths, 1))[seen].mean()) if seen.any() else None,
        "sign_agreement": float((alike / np.maximum(there, 1)).mean()),
        "norm_ratio": float((sizes / np.where(lengths > 0, lengths, math.inf)).mean()),
        "bias": float(along.mean()),
        "bias_error": None
        if len(along) == 1 and not settled
        else math.hypot(0.0 if settled else _error(along), theirs),
        "across": across,
        "across_error": across_error,
        "variance": _variance(drawn, power, settled),
        "reference_error": spread**0.5,
        "note": "" if sizes.any() else NOTHING,
    }


def _numbers(*tensors: Tensor) -> list[Numbers]:
    """Convert small tensors to numpy, which is faster than torch for a handful of numbers."""
    return [tensor.numpy() for tensor in tensors]


def _error(values: Numbers) -> float:
    """Return the standard error of a mean."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _variance(drawn: Tensor, power: float, settled: bool) -> float | None:
    """Return the total variance of the draws over the reference's squared length; None for a single draw."""
    if settled:
        return 0.0
    return float(drawn.var(0).sum()) / power if len(drawn) > 1 else None


def _across(products: Numbers, settled: bool) -> tuple[float | None, float | None]:
    """Estimate a squared mean from the products `[D, D]` of different draws, with the jackknife's standard error."""
    count = len(products)
    if settled:
        return float(products[0, 0]), 0.0
    if count < 3:
        return None, None
    # The square of a single draw would add its variance to the estimate: leave out the diagonal.
    pairs = products - np.diag(np.diag(products))
    without = (pairs.sum() - 2 * pairs.sum(1)) / ((count - 1) * (count - 2))
    error = math.sqrt((count - 1) / count * np.square(without - without.mean()).sum())
    return float(pairs.sum() / (count * (count - 1))), error


def cosine(a: Tensor, b: Tensor) -> float | None:
    """Return the cosine between two tensors of equal size; None where one is 0 everywhere."""
    a, b = a.flatten().double(), b.flatten().double()
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths else None
