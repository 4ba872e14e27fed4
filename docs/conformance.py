"""Writes docs/conformance.md: which equations the cells of other libraries are, as measured, after `make peers`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sandbox.reference.peers.table import rows, tables  # noqa: E402 -- of this folder, not of an installed package


def page() -> str:
    """Return the page: its head, which is written by hand, and the tables."""
    head = (ROOT / "docs" / "conformance.md").read_text().partition("\n## snntorch")[0]
    return f"{head}\n{tables(rows())}"


if __name__ == "__main__":
    (ROOT / "docs" / "conformance.md").write_text(page())
