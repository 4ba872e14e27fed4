"""Tables as CSV for other programs, and text for a Markdown page."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from typing import Any

from sandbox.report.wording import column


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as CSV, with the keys of the first row as the header."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def table_csv(table: dict[str, Any]) -> str:
    """Write each rule's accuracies with their intervals, its difference from the baseline, and its costs."""
    return as_csv(
        [
            {
                "rule": row["rule"],
                "seeds": row["seeds"],
                **_ends(column(table), row["accuracy"]),
                **_ends("validation_percent", row["validation"]),
                **_ends("over_baseline_points", row["over_baseline"] or (None, None, None)),
                **{key: row.get(key) for key in ("effect", "p", "p_adjusted")},
                "verdict": verdict_of(row, table["baseline"]) if row["over_baseline"] else None,
                "parameters_trained": row["parameters_trained"],
                **row["cost"],
            }
            for row in table["rows"]
        ]
    )


def verdict_of(row: dict[str, Any], baseline: str) -> str:
    """Return the verdict of a row against the baseline; a dash for the baseline itself."""
    if row["over_baseline"] is None:
        return "–"
    return str(row.get("verdict") or "–")


def markdown(text: object) -> str:
    r"""Escape what would be markup, or end a cell.

    >>> markdown("a|b <c>")
    'a\\|b &lt;c&gt;'
    """
    return html.escape(str(text), quote=False).replace("|", r"\|").replace("\n", " ")


def _ends(name: str, numbers: Any) -> dict[str, float | None]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))
