"""Verdicts and tables in README, documentation and notebooks are those that the committed results give."""

from __future__ import annotations

import json
import re

import pytest

from sandbox.comparisons.markdown import markdown
from sandbox.comparisons.verdicts import sentences
from sandbox.machine.files import read_json
from tests.conftest import ROOT

MARKED = re.compile(r"<!-- verdicts: (?P<path>\S+) -->\n(?P<lines>.*?)<!-- end -->", re.DOTALL)
TABLE = re.compile(r"<!-- table: (?P<path>\S+) -->\n(?P<lines>.*?)<!-- end -->", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("notebooks/*.ipynb"))]


def text_of(path):
    """The text of a page, or of the Markdown cells of a notebook."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def unfounded(text, root):
    """Each line between markers that the results named there do not give."""
    wrong = []
    for found in MARKED.finditer(text):
        given = sentences(read_json(root / found["path"]))
        said = [line.strip().removeprefix("- ").rstrip(".") for line in found["lines"].splitlines() if line.strip()]
        wrong += [line for line in said if line not in given] or ([] if said else [f"nothing of {found['path']}"])
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_verdicts_on_pages_are_those_of_the_results(page):
    text = text_of(page)
    assert unfounded(text, ROOT) == []
    assert text.count("<!-- verdicts:") == len(MARKED.findall(text)), "a marker without its end, or without a path"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_on_pages_are_those_of_the_results(page):
    """`python experiments/pages.py` writes them anew."""
    text = text_of(page)
    found = TABLE.findall(text)
    assert [path for path, lines in found if lines.strip() != markdown(read_json(ROOT / path))] == []
    assert text.count("<!-- table:") == len(found), "a marker without its end, or without a path"


def test_a_sentence_that_the_results_do_not_give_is_found(tmp_path):
    rows = [{"rule": "bptt", "verdict": "above readout_only"}, {"rule": "readout_only", "verdict": None}]
    (tmp_path / "table.json").write_text(json.dumps({"task": "digits", "baseline": "readout_only", "rows": rows}))
    page = "<!-- verdicts: table.json -->\n- on digits: {} is above readout_only.\n<!-- end -->\n"
    assert unfounded(page.format("bptt"), tmp_path) == []
    assert unfounded(page.format("hzo"), tmp_path) == ["on digits: hzo is above readout_only"]
    assert unfounded("<!-- verdicts: table.json -->\n\n<!-- end -->", tmp_path) == ["nothing of table.json"]
