"""Pages of the illustrations: the script of each, block by block, and what they say they are."""

from __future__ import annotations

import ast
import re

import pytest

from tests.illustrations.scripts import FOLDER, page

NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def lines(text):
    return [line for line in text.splitlines() if line]


def test_there_is_a_page_for_each_script():
    assert (
        NAMES
        == sorted(path.stem for path in FOLDER.glob("*.md"))
        == ["dehazing", "masked_pairs", "ranking", "retrieval"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_its_script_block_by_block(name):
    """All of it but its docstring, in order, so that neither can change alone."""
    text = (FOLDER / f"{name}.py").read_text()
    code = text[len(ast.get_source_segment(text, ast.parse(text).body[0])) :]
    blocks = re.findall(r"^```python\n(.*?)^```$", (FOLDER / f"{name}.md").read_text(), re.DOTALL | re.MULTILINE)
    assert lines("\n".join(blocks)) == lines(code)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_that_it_is_an_illustration(name):
    assert "**in the shape of**" in page(name)
    assert "It is not a reproduction." in page(name)
