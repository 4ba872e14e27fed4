"""Pages of tables over searches, of rules that coincide, and of a grid in which no rule is above chance."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from sandbox.comparisons.ranking import make_overall
from sandbox.machine import files
from sandbox.report import learning, standing, tables, write_report
from sandbox.report.printed import png
from sandbox.runs import folder as folders
from sandbox.statistics import block_means, interval
from tests.sandbox.comparisons.made import found, run_of, table_of
from tests.sandbox.report import folders as written

RULES = {"hzo": 780, "layerwise_zo": 785, "readout_only": 700}


def runs_of(label, start):
    """Sixteen seeds of eight searches, whose curves differ from search to search."""
    curves = np.random.default_rng(start).normal([30.0, 50.0, 60.0], 3.0, (8, 3)) / 100
    return [
        run_of(label, n, start + n % 5, search=found(n % 8), options={"lr": 0.1}, curve=[*curves[n % 8]])
        for n in range(16)
    ]


@pytest.fixture(scope="module")
def made():
    runs = {label: runs_of(label, start) for label, start in RULES.items()}
    return runs, table_of(runs, coincides={"layerwise_zo": "hzo"})


def test_a_table_over_searches_has_its_shape(made):
    tables.table(made[1], "table.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coincides": "nobody"}, "table.json.rows lack the rule that is layerwise_zo coincides"),
        ({"again": "layerwise_zo"}, "table.json.rows lack the rule that is layerwise_zo again"),
        ({"searches": [0]}, "table.json.rows lack searches, which are one for each seed"),
        ({"settings": {"searched": {}, "fixed": {}}}, "settings lacks at_end"),
    ],
)
def test_rows_that_do_not_fit_together_are_named(made, change, message):
    table = {**made[1], "rows": [dict(row) for row in made[1]["rows"]]}
    table["rows"][1] |= change
    with pytest.raises(ValueError, match=message):
        tables.table(table, "table.json")


def test_answers_that_accuracies_are_not_shares_of_are_named(made):
    with pytest.raises(ValueError, match="answers is 7, and accuracies are not shares"):
        tables.table({**made[1], "answers": 7}, "table.json")


def test_curves_have_a_band_over_searches(made):
    runs = [run for each in made[0].values() for run in each]
    figure = learning.of_comparison(made[1], runs)
    curve = figure.content.curves["hzo"]
    last = [run.curve[-1] for run in made[0]["hzo"]]
    assert curve.band[-1] == interval(block_means(last, [n % 8 for n in range(16)]))
    assert png(figure)[:4] == b"\x89PNG"
    assert learning.of_run("digits", runs[0]).content.curves["hzo"].band == ()


def test_the_matrix_of_pairs_is_over_searches(made):
    figures = standing.figures(made[1])
    row = next(row for row in figures[1].rows if (row["rule"], row["beside"]) == ("hzo", "readout_only"))
    assert row["p"] == 2 / 2**8


def test_a_grid_without_a_rule_above_chance_has_a_page(tmp_path):
    folder = tmp_path / "g"
    folder.mkdir()
    folders.write_config(folder, "grid", asdict(written.GRID))
    at_chance = {each.identity: {**written.table("digits"), "chance": 90.0} for each in written.GRID.comparisons}
    files.write_json(folder / "overall.json", make_overall(at_chance))
    files.write_json(folder / "provenance.json", written.MADE)
    page = write_report(folder).html.read_text()
    assert "no rule is above chance on any task, so there is no ranking" in page
    assert all(f'href="./{name}/report.html"' in page for name in at_chance)
    assert not list(folder.glob("*.png"))
