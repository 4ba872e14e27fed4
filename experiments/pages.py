"""Write the tables and verdicts that pages quote, between their markers, from the results that the markers name.

python experiments/pages.py
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox.comparisons.markdown import markdown
from sandbox.comparisons.verdicts import sentences
from sandbox.machine.files import read_json

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(
    r"(?P<begin><!-- (?P<what>table|verdicts): (?P<path>\S+) -->\n)(?P<lines>.*?)(?P<end><!-- end -->)", re.DOTALL
)


def filled(text: str) -> str:
    """Return a page with every marked table, and all marked verdicts, written anew."""

    def one(found: re.Match[str]) -> str:
        results = read_json(ROOT / found["path"])
        verdicts = "\n".join(f"- {said}." for said in sentences(results))
        lines = markdown(results) if found["what"] == "table" else verdicts
        return f"{found['begin']}\n{lines}\n\n{found['end']}"

    return MARKED.sub(one, text)


if __name__ == "__main__":
    for page in PAGES:
        before = page.read_text()
        if (after := filled(before)) != before:
            page.write_text(after)
            print(page.relative_to(ROOT))
