"""Write the tables that pages quote, between their markers, from the results that the markers name.

python experiments/pages.py
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox.comparisons.markdown import markdown
from sandbox.machine.files import read_json

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(r"(?P<begin><!-- table: (?P<path>\S+) -->\n)(?P<lines>.*?)(?P<end><!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return a page with every marked table written anew."""

    def one(found: re.Match[str]) -> str:
        return f"{found['begin']}\n{markdown(read_json(ROOT / found['path']))}\n\n{found['end']}"

    return MARKED.sub(one, text)


if __name__ == "__main__":
    for page in PAGES:
        before = page.read_text()
        if (after := filled(before)) != before:
            page.write_text(after)
            print(page.relative_to(ROOT))
