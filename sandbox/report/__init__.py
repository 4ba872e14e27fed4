"""A report anyone can open: the table, the curves and the costs of a folder, in one file that needs no network."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from sandbox.comparisons.comparison import compared_runs
from sandbox.comparisons.table import as_interval, notes
from sandbox.ledger import NEUROMC
from sandbox.machine import files
from sandbox.report import (
    costs,
    figures,
    interactive,
    latency,
    latency_wording,
    ranking,
    scripts,
    standing,
    tabular,
    tuning,
    wording,
)
from sandbox.report.canvas import Drawing, Plot
from sandbox.report.credit import credit_drawings
from sandbox.report.measures import intervals, measured, value, values
from sandbox.runs import folder as folders
from sandbox.runs.finished import FinishedRun, finished, read_run


class Report(NamedTuple):
    """What was written, and where; the numbers behind a figure lie beside it as CSV."""

    html: Path
    figures: tuple[Path, ...]  # those that are pictures


COUNTS = ("forwards", "backwards", "layer_evaluations", "synaptic_operations")  # columns of the first table


def write_report(folder: Path) -> Report:
    """Write `report.html`, its figures (PNG) and their numbers (CSV) into the folder of a comparison or of a run.

    The figures of a comparison answer the mouse; it has `report.md` and `table.csv` besides.
    Returns where they are. Raises ValueError for a folder without a configuration, or one that is not finished yet.
    """
    return REPORTS[folders.kind_of(folder)](folder)


def _report_comparison(folder: Path) -> Report:
    table = finished(folder / "table.json", folder)
    runs = compared_runs(folder)
    title = wording.comparison_title(table)
    curves = Drawing(
        "curves",
        figures.learning_curves(runs, wording.curves_message(table), linear=table["linear"]),
        figures.curves_csv(runs),
        wording.curves_alt(runs, table["linear"]),
        Plot(
            wording.curves_message(table),
            interactive.curves(figures.curves_of(runs), *figures.CURVE_AXES, linear=table["linear"]),
        ),
    )
    priced = costs.with_measured(table, runs)
    prices = [
        Drawing(
            name,
            figures.accuracy_against_cost(table, wording.cost_message(table, price), price),
            figures.cost_csv(priced),
            wording.cost_alt(table, price),
            costs.plot(priced) if name == "cost" else None,
        )
        for name, price in figures.PRICES.items()
    ]
    credit = credit_drawings(runs, table["task"])
    facts = {
        "table": table,
        "notes": notes(table),
        "bill": [name for name in priced["rows"][0]["cost"] if name not in COUNTS],
        "priced": priced,
        "seeds": sorted({run.seed for run in runs}),
        "test_evaluations": max(run.test_evaluations for run in runs),
        "wall": {row["rule"]: row["cost"]["seconds"] for row in priced["rows"]},
        "measures": measured(runs),
        "credit": [drawing.name for drawing in credit],
    }
    fewer = _fewer_steps(runs, table["task"], table["baseline"])
    drawings = (curves, *prices, *fewer, *standing.drawings(table), *credit)
    files.write_atomically(folder / "table.csv", tabular.table_csv(priced))
    return _write(folder, "comparison.html", title, drawings, facts, beside="comparison.md")


def _fewer_steps(runs: list[FinishedRun], task: str, baseline: str) -> list[Drawing]:
    """Accuracy against steps, and a figure a measure; none where the runs were not tested at fewer steps."""
    measures = measured(runs)
    if not measures:
        return []
    return [
        _steps(runs, latency_wording.steps_message(task, runs, baseline)),
        *(
            Drawing(
                measure.name,
                latency.measure_by_rule(runs, measure, latency_wording.measure_message(task, runs, measure, baseline)),
                latency.measure_csv(runs, measure),
                latency_wording.measure_alt(runs, measure),
                Plot(
                    latency_wording.measure_message(task, runs, measure, baseline),
                    interactive.dots(intervals(runs, measure), values(runs, measure), measure.label),
                ),
            )
            for measure in measures
        ),
    ]


def _steps(runs: list[FinishedRun], message: str) -> Drawing:
    return Drawing(
        "latency",
        latency.accuracy_against_steps(runs, message),
        latency.latency_csv(runs),
        latency_wording.steps_alt(runs),
        Plot(message, interactive.curves(latency.curves_of(runs), *latency.STEP_AXES)),
    )


def _report_run(folder: Path) -> Report:
    config = folders.read_config(folder, "run")
    run = read_run(folder, config["rule"]["name"], config["seed"], folder)
    title = wording.run_title(config["task"]["name"], run)
    curves = Drawing(
        "curves",
        figures.learning_curves([run], wording.run_message(config["task"]["name"], run)),
        figures.curves_csv([run]),
        wording.curves_alt([run]),
    )
    measures = [(measure, value(run, measure)) for measure in measured([run])]
    message = latency_wording.run_steps_message
    steps = [_steps([run], message(config["task"]["name"], run))._replace(plot=None)] if measures else []
    credit = [drawing._replace(plot=None) for drawing in credit_drawings([run], config["task"]["name"])]
    facts = {"run": run, "measures": measures, "credit": [drawing.name for drawing in credit]}
    return _write(folder, "run.html", title, (curves, *steps, *credit), facts)


def _report_grid(folder: Path) -> Report:
    overall = finished(folder / "overall.json", folder)
    title = f"{len(overall['rows'])} rules on {', '.join(overall['tasks'].values())}"
    return _write(folder, "grid.html", title, ranking.drawings(overall), {"overall": overall, "notes": notes})


def _report_tuning(folder: Path) -> Report:
    found = finished(folder / "tuning.json", folder)
    facts = {
        "found": found,
        "several": len(tuning.comparisons(found)) > 1,
        "studies": {tuning.place(found, name): study for name, study in found["studies"].items()},
        "left_out": {tuning.place(found, name): why for name, why in found.get("unfit", {}).items()},
    }
    return _write(folder, "tuning.html", tuning.title(found), tuning.drawings(found), facts)


def _write(
    folder: Path, template: str, title: str, drawings: tuple[Drawing, ...], facts: dict[str, Any], beside: str = ""
) -> Report:
    plots = {drawing.name: drawing.plot for drawing in drawings if drawing.plot is not None}
    code = scripts.scripts() if plots else ()
    given = shlex.quote(str(folder))
    config = folders.read_config(folder)
    shared = {
        "title": title,
        "figures": {drawing.name: _shown(drawing, given) for drawing in drawings},
        "plots": scripts.as_json(plots) if plots else "",
        "scripts": code,
        "allowed": scripts.allowed(code),
        "config": yaml.safe_dump(config.get("grid", config), sort_keys=False),
        "provenance": yaml.safe_dump(finished(folder / "provenance.json", folder), sort_keys=False),
        "folder": folder.resolve().name,
        "given": given,
    }
    for drawing in drawings:
        if drawing.png is not None:
            files.write_atomically(folder / f"{drawing.name}.png", drawing.png)
        files.write_atomically(folder / f"{drawing.name}.csv", drawing.csv)
    if beside:
        files.write_atomically(folder / "report.md", _environment().get_template(beside).render(**shared, **facts))
    files.write_atomically(folder / "report.html", _environment().get_template(template).render(**shared, **facts))
    pictures = tuple(folder / f"{drawing.name}.png" for drawing in drawings if drawing.png is not None)
    return Report(folder / "report.html", pictures)


def _shown(drawing: Drawing, given: str) -> dict[str, Any]:
    """What a template needs of a figure."""
    return {
        "name": drawing.name,
        "alt": drawing.alt,
        "src": "" if drawing.png is None else _inline(drawing.png),
        "plot": drawing.plot,
        "folder": given,
    }


REPORTS: dict[str, Callable[[Path], Report]] = {
    "run": _report_run,
    "comparison": _report_comparison,
    "grid": _report_grid,
    "tuning": _report_tuning,
}


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(counts=COUNTS, said=tabular.said, engines=NEUROMC)
    environment.filters.update(
        interval=lambda numbers: str(as_interval(numbers)),
        count=wording.count,
        hundredths=wording.hundredths,
        verdict=wording.verdict,
        md=tabular.markdown,
    )
    return environment


def _inline(png: bytes) -> Markup:
    return Markup("data:image/png;base64,") + base64.b64encode(png).decode()
