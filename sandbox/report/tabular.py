"""Tables as CSV for other programs, and text for a Markdown page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from sandbox.machine import text
from sandbox.report.wording import column


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as CSV, with the keys of all rows as the header; no text is a formula."""
    file = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([text.cell(key) for key in keys])
    writer.writerows([text.cell(row.get(key)) for key in keys] for row in rows)
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


def _ends(name: str, numbers: Any) -> dict[str, float | None]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))
