"""The README's code runs and its files exist; the numbers of docs/results.md are those of the committed evidence."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sandbox
from sandbox.comparisons.comparison import as_interval
from sandbox.machine.files import read_json
from sandbox.statistics import Interval
from tests.conftest import ROOT
from tests.speed import within

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", README, flags=re.DOTALL)
SAID = re.compile(r"#\s*([\d.]+) min")
RESULTS = (ROOT / "docs" / "results.md").read_text()


def test_it_can_be_read_in_one_sitting():
    assert len(README.splitlines()) <= 150


@pytest.mark.slow(minutes=4, always=True)
def test_everything_in_it_works_in_order(tmp_path):
    """Commands and code, each in the folder where the one before it worked; commands within twice their minutes."""
    tools = Path(sys.executable).parent
    given = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    commands = 0
    for kind, text in BLOCKS:
        if kind == "python":
            named = re.match(r"# (\w+\.py)\n", text)
            script = tmp_path / (named[1] if named else "block.py")
            script.write_text(text)
            lines = [] if named else [f"{sys.executable} -W ignore {script}"]
        else:
            lines = text.splitlines()
        for line in lines:
            begun = time.perf_counter()
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=given)
            minutes = (time.perf_counter() - begun) / 60
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            assert "FAIL" not in done.stdout
            if kind == "bash":
                commands += 1
                stated = SAID.search(line)
                assert stated, f"how long does it take? {line}"
                busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # other tests run beside this one
                assert within(minutes, 2 * busy * float(stated[1])), f"{line} took {minutes:.2f} min"
    assert commands == 11
    assert len(sandbox.load(tmp_path / "runs" / "digits")) == 8


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "experiments").glob("*.yaml"))])
def test_the_numbers_are_those_of_the_evidence(name):
    table = read_json(ROOT / "experiments" / "results" / name / "table.json")
    for row in table["rows"]:
        assert str(as_interval(row["accuracy"])) in RESULTS, (name, row["rule"])
    assert f"{table['linear']:.2f}" in RESULTS


@pytest.mark.parametrize("name", ["temporal_digits", "temporal_cifar10_head"])
def test_the_numbers_at_fewer_steps_are_those_of_the_evidence(name):
    for measure in ("drop", "consistency"):
        with open(ROOT / "experiments" / "results" / name / f"{measure}.csv") as file:
            found = {
                line["rule"]: Interval(*(float(line[key]) for key in Interval._fields)) for line in csv.DictReader(file)
            }
        assert len(found) == 7
        assert all(str(interval) in RESULTS for interval in found.values()), (name, measure)


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) > 5
    assert all((ROOT / link).exists() for link in links), links
