"""What benchmarks write: sections of their page, and ratios by revision."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import readme

SECTION = """\
Words about it, 3 / 4 of them.

| what | theirs | ours | ratio | target |
| --- | --- | --- | --- | --- |
| a step | 2.0 ms | 1.0 ms | {ratio} | <= 0.60 |

| neuron | pairs / C++ | a - b |
| --- | --- | --- |
| LIF, 12 spikes | 3e-05 | 4 |
| AdEx | no compiler | 4 |
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "FILE", tmp_path / "README.md")
    monkeypatch.setattr(readme, "TREND", tmp_path / "trend.csv")
    (tmp_path / "README.md").write_text("# Benchmarks\n\n## Other\n\nstays\n\n")
    return tmp_path


def test_ratios_are_found_in_tables_alone():
    assert readme.ratios(SECTION.format(ratio="0.500 (0.4 to 0.6)")) == [
        ("a step", "ratio", "0.500"),
        ("LIF, 12 spikes", "pairs / C++", "3e-05"),
    ]


def test_a_section_replaces_itself_and_its_ratios_are_kept_by_revision(place, monkeypatch):
    for now, ratio in (("first", "0.5"), ("second", "0.4"), ("second", "0.3")):
        monkeypatch.setattr(readme, "revision", lambda now=now: now)
        readme.put("Steps", SECTION.format(ratio=ratio))
    text = (place / "README.md").read_text()
    assert text.count("## Steps") == 1
    assert "stays" in text
    lines = [line.split(",") for line in (place / "trend.csv").read_text().splitlines()]
    assert lines[0] == readme.COLUMNS
    assert [(line[1], line[-1]) for line in lines[1:] if line[-2] == "ratio"] == [("first", "0.5"), ("second", "0.3")]


def test_every_section_of_the_page_has_its_benchmark():
    named = {line[3:] for line in (ROOT / "benchmarks" / "README.md").read_text().splitlines() if line[:3] == "## "}
    code = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    assert {title for title in named if title not in code} == set()
