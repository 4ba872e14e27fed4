"""The grids of `experiments/paper.py` are made of rules and settings that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules import RULES, make
from sandbox.comparisons.grid import PRESETS, read_grid
from sandbox.comparisons.variants import row_of
from sandbox.machine.files import read_json
from tests.scripts import evidence

FOLDER = Path(__file__).parents[1] / "experiments"
RESULTS = FOLDER / "results"


@pytest.fixture(scope="module")
def paper():
    """The script, as a module."""
    return evidence("paper")


@pytest.mark.parametrize(("grid", "task"), [("paper", "yinyang"), ("paper", "store_recall"), ("quick", "randman")])
def test_every_run_of_a_grid_can_be_made(paper, grid, task):
    comparison = paper.planned(grid, task)
    found = comparison.experiments()
    for first, *_ in found.values():
        first.check()
    rows = {first.rule.row for first, *_ in found.values()}
    assert rows <= set(paper.PLANS[grid].rows)
    assert {"bptt", "bptt again", "bptt window 1", "readout_only"} <= rows
    assert comparison.seeds % paper.PLANS[grid].searches == 0


@pytest.mark.parametrize("grid", ["paper", "quick"])
def test_a_preset_is_what_tuning_found(paper, grid):
    assert paper.is_tuned(grid)
    assert (PRESETS / f"{grid}.yaml").read_text() == paper.preset(grid)


def test_the_paper_has_every_rule_but_the_oracle_of_the_online_ones(paper):
    """`rtrl` keeps the derivative of each state by each weight; rules that ask for no loss learn no read-out.

    Those that want a chain of plain layers have none in a grid of spiking networks, and `eventprop` wants cells whose
    synapse filters, where the grids have LIF.
    """
    unasked = {name for name in RULES if not make(name).credit.asks}
    chained = {name for name in RULES if "chain" in make(name).needs}
    assert {name for name, _ in paper.ROWS.values()} == set(RULES) - {"rtrl", "eventprop"} - unasked - chained


@pytest.mark.parametrize("grid", ["paper", "quick"])
def test_every_search_had_the_budget_and_the_preset_has_its_best(paper, grid):
    """A search that stood alone on a task has a rule of the preset, and the other way round."""
    plan = paper.PLANS[grid]
    for comparison, task in zip(read_grid(grid).comparisons, plan.tasks, strict=True):
        kept = read_json(RESULTS / grid / task / "tuning.json")
        best = {study.partition("/")[2]: found for study, found in kept["studies"].items()}
        for label, experiments in comparison.experiments().items():
            assert len(experiments) == plan.runs
            for search, first in enumerate(experiments[: plan.searches]):
                found = best.pop(f"{label}/{search}")
                assert len(found["trials"]) == kept["budget"]["trials"] == paper.TRIALS
                assert first.rule.options.items() >= found["best"]["options"].items(), (task, label, search)
        assert not best


def test_every_task_of_a_grid_has_its_file(paper):
    for plan in paper.PLANS.values():
        assert all((paper.FILES / f"{task}.yaml").exists() for task in plan.tasks)


@pytest.mark.parametrize("grid", ["paper", "quick"])
def test_the_committed_tables_have_every_row_that_fits(paper, grid):
    overall = read_json(RESULTS / grid / "overall.json")
    assert list(overall["tables"].values()) == [
        read_json(RESULTS / grid / task / "table.json") for task in sorted(paper.PLANS[grid].tasks)
    ]
    for table in overall["tables"].values():
        task = table["task"]
        unfit = {name.partition("/")[2] for name in read_json(RESULTS / grid / task / "tuning.json")["unfit"]}
        planned = paper.planned(grid, task).experiments().items()
        fit = {row_of(label, first.rule.variant) for label, (first, *_) in planned if label not in unfit}
        assert {row["rule"] for row in table["rows"]} == fit
