"""The alphabet of a signal: silence, bits, trits, whole numbers, multiples of a unit, or real numbers."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["silent", "binary", "ternary", "integer", "real", "not finite"]
MOST = 1024  # the largest whole number that still counts as one of an alphabet
EXACT = 1e-5  # relative: of a whole multiple of a unit in float32, after a sum of some 100 terms


class Alphabet(NamedTuple):
    """The kind of values that a signal takes.

    `silent` is 0 alone, `binary` 0 and 1, `ternary` -1, 0 and 1, `integer` whole numbers; each times `unit`. All others
    are `real`, and a signal with NaN or infinities is `not finite`.
    """

    kind: Kind
    unit: float = 1.0
    largest: float = 0.0  # magnitude

    @property
    def spikes(self) -> bool:
        """Whether a product with it is a sum of weights: spikes without a unit of their own, or silence."""
        return self.kind in ("silent", "binary", "ternary") and self.unit == 1

    def __str__(self) -> str:
        times = "" if self.unit == 1 else f" x {self.unit:.4g}"
        if self.kind == "integer":
            return f"integer to {self.largest / self.unit:.0f}{times}"
        return f"{self.kind}{times}"


def alphabet_of(x: Tensor) -> Alphabet:
    """Return the alphabet of a signal.

    The unit is the smallest magnitude that is not 0; where other values are no multiples of it, or lie above 1024
    units, the signal is real.

    Args:
        x: the signal, of any shape.

    >>> str(alphabet_of(torch.tensor([0.0, 1.0, 3.0]))), str(alphabet_of(torch.tensor([0.25, 0.5, 0.0])))
    ('integer to 3', 'integer to 2 x 0.25')
    >>> alphabet_of(torch.tensor([0.1, 0.25])).kind, alphabet_of(torch.tensor([0.0, 1.0])).kind
    ('real', 'binary')
    """
    sizes = x.detach().abs().flatten().double()
    if not bool(sizes.isfinite().all()):
        return Alphabet("not finite")
    sizes = sizes[sizes > 0]
    if not sizes.numel():
        return Alphabet("silent")
    low, high = float(sizes.min()), float(sizes.max())
    whole = torch.equal(sizes, sizes.round())
    unit = 1.0 if whole else low
    counts = sizes / unit
    if high / unit > MOST or not bool(((counts - counts.round()).abs() <= EXACT * counts).all()):
        return Alphabet("real", largest=high)
    if high / unit > 1 + EXACT:
        return Alphabet("integer", unit, high)
    return Alphabet("ternary" if bool((x < 0).any()) else "binary", unit, high)


def joined(a: Alphabet, b: Alphabet) -> Alphabet:
    """Return the alphabet of two parts of one signal.

    >>> str(joined(Alphabet("binary", 0.5, 0.5), Alphabet("binary", 0.25, 0.25)))
    'integer to 2 x 0.25'
    >>> joined(Alphabet("binary", 1.0, 1.0), Alphabet("silent")).kind
    'binary'
    """
    if "not finite" in (a.kind, b.kind):
        return Alphabet("not finite")
    if "silent" in (a.kind, b.kind):
        return a if b.kind == "silent" else b
    largest, unit = max(a.largest, b.largest), min(a.unit, b.unit)
    multiples = [each.unit / unit for each in (a, b)]
    fits = all(abs(n - round(n)) <= EXACT * n for n in multiples)
    if "real" in (a.kind, b.kind) or not fits or largest / unit > MOST:
        return Alphabet("real", largest=largest)
    if largest / unit > 1 + EXACT:
        return Alphabet("integer", unit, largest)
    return Alphabet("ternary" if "ternary" in (a.kind, b.kind) else "binary", unit, largest)
