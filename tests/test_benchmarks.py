"""What benchmarks write: sections of their page, and ratios by revision."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import peers
import readme
import run

WRITES = re.compile(r"^(from readme import.*\bput\b|import readme$)", re.MULTILINE)

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


TARGETS = """\
| what | before | now | ratio | target |
| --- | --- | --- | --- | --- |
| a start | 4.0 s | {now} s | 0.7 | <= 2.5 s |
| a run | 4.0 s | 2.0 s | {ratio} (0.4 to 0.6) | <= 0.5 of before |
| a count | 4 | 2 | 1.04 | 1, from above |

| neuron | pairs / C++ | array / C++ | target |
| --- | --- | --- | --- |
| LIF | {ratio} | 0.9 | <= 0.50 |
"""


def test_a_target_that_is_missed_is_marked():
    assert readme.marked(TARGETS.format(now=2.4, ratio=0.5)) == TARGETS.format(now=2.4, ratio=0.5).strip()
    found = readme.marked(TARGETS.format(now=2.6, ratio=0.51))
    assert [line.split(" | ")[0] for line in found.splitlines() if readme.MISSED in line] == [
        "| a start",
        "| a run",
        "| LIF",
    ]
    assert readme.marked(found) == found


@pytest.mark.parametrize("name", ["threads", "network", "start"])
def test_help_measures_and_writes_nothing(name):
    place = ROOT / "benchmarks" / "README.md"
    before = place.stat().st_mtime_ns
    asked = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", "--help"], capture_output=True, text=True, check=True
    )
    assert f"python benchmarks/{name}.py" in asked.stdout
    assert place.stat().st_mtime_ns == before


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


def test_every_script_that_writes_a_section_is_in_the_plan_or_has_its_own_command():
    written = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if WRITES.search(path.read_text())}
    assert written == {name.split()[0] for name in (*run.PLAN, *run.LONG)}
    assert not {*run.PLAN} & {*run.LONG}
    assert sum(run.PLAN.values()) <= run.LIMIT
    assert list(run.PLAN)[-1] == "peers", "it reads what the others wrote"


def test_a_script_without_its_peer_is_left_out_with_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    monkeypatch.setattr(run.subprocess, "run", lambda *given, **options: pytest.fail("it was run"))
    run.main(["neurons"])
    assert "neurons is left out, for brian2 is not installed: pip install" in capsys.readouterr().out


def test_what_would_not_end_in_time_is_left_out_with_its_command(monkeypatch, capsys):
    clock, ran = iter(range(0, 10**6, 250)), []
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(run, "PLAN", {"first": 240, "second": 240, "third": 240})
    monkeypatch.setattr(run.subprocess, "run", lambda words, **options: ran.append(words[-1]))
    run.main(None)
    assert [name.rsplit("/")[-1] for name in ran] == ["first.py", "second.py"]
    assert (
        "third is left out, for 600 s would not suffice: python benchmarks/run.py --only 'third'"
        in capsys.readouterr().out
    )


def test_tables_are_read_as_they_were_written(place):
    readme.put("Steps", SECTION.format(ratio="0.5"))
    assert readme.rows("Steps")[::2] == [
        {"what": "a step", "theirs": "2.0 ms", "ours": "1.0 ms", "ratio": "0.5", "target": "<= 0.60"},
        {"neuron": "AdEx", "pairs / C++": "no compiler", "a - b": "4"},
    ]
    assert readme.rows("None such") == []


def test_the_head_of_the_page_stays_its_head(place):
    for title, first in (("Steps", False), ("Head", True), ("Other", False)):
        readme.put(title, "new", first=first)
    assert list(readme.sections_now()) == ["Head", "Other", "Steps"]


def test_rows_beside_peers_come_from_the_sections_alone(place):
    rate = peers.Rates(copy=1e9, product=1e9, multiply=1e9, exponential=1e8)
    assert [*peers.fused(), *peers.training(), *peers.online(rate), *peers.neurons(rate)] == []
    readme.put(
        "Neurons beside Brian2",
        "| neuron | pairs | C++ |\n| --- | --- | --- |\n| AdEx, 9 spikes | 50 ms | 100 ms |\n| LIF, 9 spikes | 5 ms | no compiler |",
    )
    (line,) = peers.neurons(rate)
    assert line.cells()[:6] == ("AdEx, 1000 cells, 1 s", "Brian2 C++", "100 ms", "50 ms", "0.500", "120 ms")
    assert line.cells()[7] == "exponentials: 1, multiply-adds: 2 a cell and step"
