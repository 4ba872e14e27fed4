"""The table of a comparison for other programs, as CSV, and names and numbers for a page in Markdown."""

from __future__ import annotations

import html
from typing import Any

from sandbox.report import wording
from sandbox.report.canvas import lines


def table_csv(table: dict[str, Any]) -> str:
    """A line a rule: accuracies with their intervals, what sets it apart from the baseline, and its costs."""
    return lines(
        {
            "rule": row["rule"],
            "seeds": row["seeds"],
            **_ends("test_accuracy_percent", row["accuracy"]),
            **_ends("validation_percent", row["validation"]),
            **_ends("over_baseline_points", row["over_baseline"] or (None, None, None)),
            **{key: row.get(key) for key in ("effect", "p", "p_adjusted")},
            "verdict": said(row, table["baseline"]) if row["over_baseline"] else None,
            "parameters_trained": row["parameters_trained"],
            **row["cost"],
        }
        for row in table["rows"]
    )


def said(row: dict[str, Any], baseline: str) -> str:
    """What a row's pairs allow to say beside the baseline; a dash for the baseline itself."""
    if row["over_baseline"] is None:
        return "–"
    return str(row.get("verdict") or wording.verdict(row["over_baseline"], baseline))


def markdown(text: object) -> str:
    """Text that is neither markup nor the end of a cell.

    >>> markdown("a|b <c>")
    'a\\\\|b &lt;c&gt;'
    """
    return html.escape(str(text), quote=False).replace("|", r"\|").replace("\n", " ")


def _ends(name: str, numbers: Any) -> dict[str, float | None]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))
