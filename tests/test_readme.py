"""The README's code runs and its files exist; the numbers of docs/results.md are those of the committed evidence."""

from __future__ import annotations

import csv
import re
import subprocess
import sys

import pytest

from sandbox.comparisons.comparison import as_interval
from sandbox.machine.files import read_json
from sandbox.statistics import Interval
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "docs" / "results.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_five_blocks():
    assert len(BLOCKS) == 5


PRELUDE = """
import rules, torch
my_module, loader = torch.nn.Linear(4, 3), [(torch.rand(8, 4), torch.arange(8) % 3)]
currents = torch.full((1000, 2), 3.0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "shown"),
    enumerate(["agrees with Brian2", "Cost(", "learnable(20.0)", "ok    claim holds", "ok    stays within bounds"]),
)
def test_the_code_runs(number, shown, tmp_path):
    script = tmp_path / "block.py"
    script.write_text(PRELUDE + BLOCKS[number])
    done = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert "FAIL" not in done.stdout


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "experiments").glob("*.yaml"))])
def test_the_numbers_are_those_of_the_evidence(name):
    table = read_json(ROOT / "experiments" / "results" / name / "table.json")
    for row in table["rows"]:
        assert str(as_interval(row["accuracy"])) in RESULTS, (name, row["rule"])
    assert f"{table['linear']:.2f}" in RESULTS


def test_the_ranking_is_that_of_the_evidence():
    overall = read_json(ROOT / "experiments" / "results" / "paper" / "overall.json")
    order = sorted(
        overall["tasks"], key=lambda name: ["yinyang", "mnist1d", "digits", "mnist"].index(overall["tasks"][name])
    )
    for row in overall["rows"]:
        accuracies = " | ".join(f"{row['accuracies'][name][0]:.2f}" for name in order)
        verdict = (row["verdict"] or "–").partition(" readout_only")[0].removesuffix(" from")
        assert f"| `{row['rule']}` | {as_interval(row['score'])} | {verdict} | {accuracies} |" in RESULTS, row["rule"]
    assert " | ".join(f"{overall['tables'][name]['linear']:.2f}" for name in order) in RESULTS


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
