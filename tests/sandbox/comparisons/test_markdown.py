"""Tables for pages: what a label holds does not change the number of cells."""

from __future__ import annotations

from sandbox.comparisons.markdown import markdown


def test_a_bar_in_a_label_ends_no_cell():
    row = {"rule": "a|b", "accuracy": [90.0, 88.0, 92.0], "verdict": None}
    line = markdown({"task": "digits", "baseline": "a|b", "linear": None, "rows": [row]}).splitlines()[2]
    assert line == r"| `a\|b` | 90.00 [88.00, 92.00] | – |"
