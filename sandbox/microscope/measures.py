"""What can be said of a layer's credit beside a gradient: direction, size, bias and variance, each with its error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NOTHING = "the credit is 0 everywhere"
NO_SLOPE = "the reference is 0 everywhere"


def measures(drawn: Tensor, known: Tensor, paired: bool, settled: bool) -> dict[str, Any]:
    """The numbers of a `Row` from draws `[D, weights]` of a rule's credit and samples `[S, weights]` of a gradient.

    With g_d the draws, r_s the samples, r their mean, and r_d that of the same dice where they are `paired`, else r:

        cosine          mean_d <g_d, r_d> / |g_d| |r_d|
        sign_agreement  mean_d share of the weights with r_d != 0 at which g_d has its sign; a 0 has not
        norm_ratio      mean_d |g_d| / |r_d|
        bias            mean_d <g_d - r_d, r> / |r|^2          along r: -0.1 where credit is 0.9 of it, -1 where 0
        across          mean over pairs d != e of <x_d, x_e> / |r|^2 with x_d the part of g_d - r_d across r: the
                        squared length of E[g - r] across r, over |r|^2; 0 on average where E g is along r, so it
                        may be negative
        variance        sum_d |g_d - mean g|^2 / (D - 1) |r|^2
        reference_error the length of the error of r itself, over |r|

    `bias_error` is the standard error of `bias`, `across_error` the jackknife's of `across`. A rule that threw no dice
    is `settled`: one draw is all there is to know, with no error of its own. None stands for what cannot be known.
    """
    drawn, known = drawn.double(), known.double()
    count, samples = len(drawn), len(known)
    mean = known.mean(0)
    power = float(mean @ mean)
    note = "" if bool(drawn.any()) else NOTHING
    if power == 0:
        return {"note": NO_SLOPE}
    beside = known if paired else mean.expand_as(drawn)
    sizes, lengths = drawn.norm(dim=1), beside.norm(dim=1)
    seen = (sizes > 0) & (lengths > 0)
    away = drawn - beside
    along = away @ mean / power  # [D]
    own = torch.zeros(()) if settled else _error(along)
    theirs = torch.zeros(()) if paired or samples == 1 else _error(known @ mean / power)
    spread = float(known.var(0).sum()) / samples / power if samples > 1 else 0.0
    rest = (away - along[:, None] * mean) / power**0.5
    across, across_error = _across(rest, settled)
    if across is not None and not paired:  # the error of r is in every x_d alike
        across -= spread - float(theirs) ** 2
    right = (drawn.sign() == beside.sign()) & (beside != 0)
    return {
        "cosine": float(((drawn * beside).sum(1) / sizes / lengths)[seen].mean()) if bool(seen.any()) else None,
        "sign_agreement": float((right.sum(1).double() / (beside != 0).sum(1).clamp(min=1)).mean()),
        "norm_ratio": float((sizes / lengths)[lengths > 0].mean()),
        "bias": float(along.mean()),
        "bias_error": None if count == 1 and not settled else float((own.square() + theirs.square()).sqrt()),
        "across": across,
        "across_error": across_error,
        "variance": _variance(drawn, power, settled),
        "reference_error": spread**0.5,
        "note": note,
    }


def _error(values: Tensor) -> Tensor:
    """The standard error of a mean."""
    return values.std() / len(values) ** 0.5 if len(values) > 1 else torch.zeros(())


def _variance(drawn: Tensor, power: float, settled: bool) -> float | None:
    if settled:
        return 0.0
    return float(drawn.var(0).sum()) / power if len(drawn) > 1 else None


def _across(rest: Tensor, settled: bool) -> tuple[float | None, float | None]:
    """The squared length of a mean without the squares of its terms, and the jackknife's standard error."""
    count, products = len(rest), rest @ rest.T
    if settled:
        return float(products[0, 0]), 0.0
    if count < 3:
        return None, None
    pairs = products - products.diag().diag()
    without = (pairs.sum() - 2 * pairs.sum(1)) / ((count - 1) * (count - 2))
    error = ((count - 1) / count * (without - without.mean()).square().sum()).sqrt()
    return float(pairs.sum() / (count * (count - 1))), float(error)


def cosine(a: Tensor, b: Tensor) -> float | None:
    """The cosine between two tensors of as many entries; None where one is 0 everywhere."""
    a, b = a.flatten().double(), b.flatten().double()
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths else None
