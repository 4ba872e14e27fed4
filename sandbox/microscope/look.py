"""The result of one look: a row for each layer and reference."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One layer's credit compared with one reference, by `sandbox.microscope.measures`; None is unknown."""

    step: int  # steps taken before the look: 0 is the first batch with the initial weights
    layer: str  # the name of the weight matrix
    reference: str
    draws: int  # of the rule's credit; 1 where it is deterministic
    cosine: float | None = None
    sign_agreement: float | None = None
    norm_ratio: float | None = None
    bias: float | None = None  # along the reference, relative to its length
    bias_error: float | None = None
    across: float | None = None  # squared bias orthogonal to the reference, relative to its squared length
    across_error: float | None = None
    variance: float | None = None  # relative to the squared length of the reference
    reference_error: float | None = None  # relative to the length of the reference
    alignment: float | None = None  # cosine between the weights and the rule's feedback weights
    note: str = ""


class Look(NamedTuple):
    """All rows of one step; it prints as a table."""

    step: int
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        head = ("layer", "reference", "cosine", "signs", "norm", "bias", "variance", "")
        cells = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    error = "" if row.bias_error is None else f" +- {row.bias_error:.2g}"
    numbers = [_number(row.cosine), _number(row.sign_agreement), _number(row.norm_ratio)]
    return (row.layer, row.reference, *numbers, _number(row.bias) + error, _number(row.variance), row.note)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
