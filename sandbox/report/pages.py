"""HTML pages for a run, a comparison, a grid and a tuning."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.comparisons.cells import as_interval
from sandbox.comparisons.comparison import compared_runs
from sandbox.comparisons.contents import distinct, linear_name, noun, replicates, shown
from sandbox.comparisons.notes import cautions, head, notes
from sandbox.comparisons.ranking import left_out
from sandbox.comparisons.variants import headline
from sandbox.comparisons.verdicts import sentences
from sandbox.ledger import NEUROMC
from sandbox.machine import files, text
from sandbox.machine.plain_yaml import dump_yaml
from sandbox.measures import NAMES
from sandbox.report import (
    costs,
    credit,
    grid,
    interactive,
    latency,
    learning,
    predicting,
    shape,
    standing,
    tables,
    tabular,
    tuning,
    wording,
)
from sandbox.report.figures import Figure
from sandbox.report.measures import measured, value
from sandbox.report.printed import png
from sandbox.report.shape import COUNTS
from sandbox.report.templating import allowed, environment, inline, scripts
from sandbox.runs import folder as folders
from sandbox.runs.finished import FinishedRun, by_rule, finished, read_run
from sandbox.runs.seal import ENDS, require_sealed


class Report(NamedTuple):
    """The files of a report; the numbers of each figure are in a CSV file beside it."""

    html: Path
    figures: tuple[Path, ...]  # PNG


def write_report(folder: Path) -> Report:
    """Write `report.html`, its figures (PNG) and their numbers (CSV) into a folder.

    A comparison also gets `report.md` and `table.csv`.

    Args:
        folder: of a run, a comparison, a grid or a tuning.

    Returns:
        Where the page and its figures are.

    Raises:
        ValueError: the folder has no configuration, or is not finished yet.
    """
    kind = folders.kind_of(folder)
    if kind not in REPORTS:
        stages = ", ".join(sorted(path.parent.name for path in folder.glob("*/config.yaml")))
        raise ValueError(
            f"{folder} holds a {kind}, whose table is in curriculum.json; report one of its stages: "
            f"{stages or 'none yet'}"
        )
    return REPORTS[kind](folder)


def _report_comparison(folder: Path) -> Report:
    whole = _checked(folder / "table.json", tables.table)
    table = distinct(whole)
    kept = {row["rule"] for row in table["rows"]}
    rows = headline(by_rule(compared_runs(folder))).runs
    runs = [run for row, found in rows.items() if row in kept for run in found]
    for run in runs:
        _check_run(run)
    _check_alike(runs)
    priced = costs.with_measured(table, runs)
    looks = credit.figures(runs, table["task"])
    figures = [
        learning.of_comparison(table, runs),
        *costs.figures(priced),
        *latency.of_comparison(table["task"], runs, table["baseline"]),
        *standing.figures(table),
        *looks,
    ]
    facts = {
        "table": table,
        "notes": [*head(whole), *notes(whole)],
        "over": replicates(table),
        "further_costs": [name for name in priced["rows"][0]["cost"] if name not in COUNTS],
        "priced": priced,
        "seeds": sorted({run.seed for run in runs}),
        "test_evaluations": max(run.test_evaluations for run in runs),
        "wall": {row["rule"]: row["cost"]["seconds"] for row in priced["rows"]},
        "measures": measured(runs),
        "prediction": predicting.of_comparison(runs, replicates(table)),
        "credit": [figure.name for figure in looks],
        "noun": noun(table),
        "linear": linear_name(table),
    }
    seeds = table["rows"][0]["seeds"]
    rules = ", ".join(row["rule"] for row in table["rows"])
    title = f"{table['task']}: {rules} · {'one seed' if seeds == 1 else f'{seeds} paired seeds'}"
    files.write_atomically(folder / "table.csv", tabular.table_csv(priced))
    return _write(folder, "comparison.html", title, figures, facts, beside="comparison.md")


def _checked(path: Path, check: Callable[[Any, str], None]) -> Any:
    """Return what a finished folder holds; raise ValueError, with the place, for what no command of ours writes."""
    found = finished(path, path.parent, files.GROWN)  # a tuning holds all its trials
    if path.name in ENDS:
        require_sealed(path.parent)
    try:
        check(found, path.name)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; finish the folder again with `sandbox resume`") from error
    return found


def _check_run(run: FinishedRun) -> None:
    """Raise ValueError for numbers that a page cannot show."""
    try:
        shape.result(run.result, "result.json", run.measure)
        shape.every(shape.metrics(run.measure), least=1)(run.metrics, "metrics.jsonl")
        shape.named(shape.maybe(shape.number))(run.measured, "timing.json")
        for look in run.looks:
            shape.look(look._asdict(), "microscope.jsonl")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{run.folder} is damaged: {error}; remove it and run it again") from error


def _check_alike(runs: Sequence[FinishedRun]) -> None:
    """Raise ValueError if the runs of a rule have different epochs, or were tested at different steps.

    Those of earlier versions were tested after the last step only.
    """
    for run in runs:
        first = next(other for other in runs if other.rule == run.rule and bool(other.test_at) == bool(run.test_at))
        if (run.epochs, list(run.test_at)) != (first.epochs, list(first.test_at)):
            raise ValueError(
                f"{run.folder} has other epochs, or was tested at other steps, than {first.folder}, whose rule it has; "
                "one of them was edited: remove it and resume the comparison"
            )


def _report_run(folder: Path) -> Report:
    config = folders.read_config(folder, "run")
    task = config["task"]["name"]
    run = read_run(folder, config["rule"]["name"], config["seed"], folder)
    _check_run(run)
    looks = credit.figures([run], task)
    figures = [learning.of_run(task, run), *latency.of_run(task, run), *looks]
    facts = {
        "run": run,
        "measures": [(measure, value(run, measure)) for measure in measured([run])],
        "prediction": predicting.of_run(run),
        "credit": [figure.name for figure in looks],
        "noun": NAMES[run.measure],
        "measure": run.measure,
        "parent": config.get("parent"),
    }
    printed = [replace(figure, plotted=False) for figure in figures]
    return _write(folder, "run.html", f"{task}: {run.rule} · seed {run.seed}", printed, facts)


def _report_grid(folder: Path) -> Report:
    overall = _checked(folder / "overall.json", tables.overall)
    nouns = list(dict.fromkeys(noun(table) for table in overall["tables"].values()))
    tasks = ", ".join(overall["tasks"].values())
    rows = distinct(overall)["rows"]
    title = f"{len(rows)} rules on {tasks}" if rows else "no rule is above chance"
    said = sentences(overall) if rows else []
    titles = {row["rule"]: shown(overall, row["rule"]) for row in rows}
    facts = {
        "overall": {**overall, "rows": rows},
        "notes": cautions,
        "nouns": nouns,
        "left_out": left_out(overall),
        "said": said,
        "titles": titles,
        "over": overall.get("over", "seeds"),
    }
    return _write(folder, "grid.html", title, grid.figures(overall), facts)


def _report_tuning(folder: Path) -> Report:
    found = _checked(folder / "tuning.json", tables.tuning)
    facts = {
        "found": found,
        "noun": tuning.noun(found),
        "several": len(tuning.comparisons(found)) > 1,
        "budget": tuning.budget(found),
        "studies": {tuning.place(found, name): study for name, study in found["studies"].items()},
        "left_out": {tuning.place(found, name): why for name, why in found.get("unfit", {}).items()},
    }
    return _write(folder, "tuning.html", tuning.title(found), tuning.figures(found), facts)


REPORTS: dict[str, Callable[[Path], Report]] = {
    "run": _report_run,
    "comparison": _report_comparison,
    "grid": _report_grid,
    "tuning": _report_tuning,
}


def _write(
    folder: Path, template: str, title: str, figures: Sequence[Figure], facts: dict[str, Any], beside: str = ""
) -> Report:
    """Write the page from its template, the page in Markdown `beside` it, and the files of the figures."""
    pictures = {figure.name: png(figure) for figure in figures if figure.printed}
    plots = {figure.name: interactive.plot(figure) for figure in figures if figure.plotted}
    shared = _shared(folder, plots)
    shown = {
        figure.name: {
            "name": figure.name,
            "alt": figure.alt,
            "src": inline(pictures[figure.name]) if figure.printed else "",
            "plot": plots.get(figure.name),
            "folder": shared["given"],
        }
        for figure in figures
    }
    facts = {**shared, "title": title, "figures": shown, **facts}
    for name, picture in pictures.items():
        files.write_atomically(folder / f"{name}.png", picture)
    for figure in figures:
        files.write_atomically(folder / f"{figure.name}.csv", tabular.as_csv(figure.rows))
    if beside:
        files.write_atomically(folder / "report.md", _filled(beside, facts))
    files.write_atomically(folder / "report.html", _filled(template, facts))
    return Report(folder / "report.html", tuple(folder / f"{name}.png" for name in pictures))


def _shared(folder: Path, plots: dict[str, interactive.Plot]) -> dict[str, Any]:
    """Collect what every page needs: the facts about its folder, and the scripts that draw its plots."""
    config = folders.read_config(folder)
    code = scripts() if plots else ()
    return {
        "plots": interactive.as_json(plots) if plots else "",
        "scripts": code,
        "allowed": allowed(code),
        "config": dump_yaml(config.get("grid", config)),
        "provenance": dump_yaml(_checked(folder / "provenance.json", shape.provenance)),
        "folder": folder.resolve().name,
        "given": shlex.quote(str(folder)),
    }


def _filled(template: str, facts: dict[str, Any]) -> str:
    """Fill in a template; its filters format numbers and escape text."""
    templates = environment()
    templates.globals.update(counts=COUNTS, verdict_of=tabular.verdict_of, engines=NEUROMC)
    templates.filters.update(
        interval=lambda numbers: str(as_interval(numbers)),
        count=wording.count,
        hundredths=wording.hundredths,
        md=text.markdown,
        code=text.code,
        fenced=text.fenced,
    )
    return templates.get_template(template).render(**facts)
