"""What of a comparison, a grid or a folder of runs holds: each of its runs, and tables that follow from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.comparisons.comparison import compared_runs
from sandbox.comparisons.linear import linear_data, made_of
from sandbox.comparisons.ranking import make_overall
from sandbox.comparisons.rows import make_rows
from sandbox.config.experiment import Experiment
from sandbox.machine import files
from sandbox.machine.text import said
from sandbox.runs import curriculum, seal
from sandbox.runs.finished import by_rule, with_marks
from sandbox.runs.folder import FORMAT, format_of, kind_of, load
from sandbox.runs.verify import FAILS, HOLDS, OPEN, Finding, verify_run

NEW = ("searches", "settings", "variants", "again", "coincides", "budgets")  # in rows, since there are searches
OVERALL = ("over", "tests_of_chance", "without_chance")  # in rankings since then
RANKED = ("verdicts", "coincides", "again")  # in rows of rankings
ROUNDED = ("p", "p_adjusted")  # of earlier versions: a normal approximation where there are ties
Findings = dict[str, list[Finding]]  # by folder, relative to the one that was asked for


def verify(folder: Path, data_dir: str | None = None) -> Findings:
    """Check a run, a comparison, a grid, a tuning, or a folder that holds some of these.

    Nothing that the folder names is imported, nothing is unpickled, and nothing is written.

    Args:
        folder: to check.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default. Nothing is downloaded.

    Returns: findings by folder, `.` for the one that was asked for.

    Raises:
        ValueError: if it is not a folder, or holds no configuration.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name a run, a comparison, a grid or a tuning")
    places = sorted(path.parent for path in folder.rglob("config.yaml"))
    if not places:
        raise ValueError(f"{folder} holds no run: there is no config.yaml in it or below it")
    return {place.relative_to(folder).as_posix(): _verified(place, data_dir) for place in places}


def _verified(place: Path, data_dir: str | None) -> list[Finding]:
    try:
        kind = kind_of(place)
    except (OSError, ValueError) as error:
        return [Finding("configuration", FAILS, said(error))]
    if kind == "run":
        return verify_run(place, data_dir)
    checks = [("seal", _seal), WHOLE[kind], *([("runs", _runs)] if kind == "comparison" else [])]
    return [Finding(what, *_checked(check, place)) for what, check in checks]


def _checked(check: Callable[[Path], tuple[str, str]], place: Path) -> tuple[str, str]:
    try:
        return check(place)
    except Exception as error:  # a damaged file may raise anything
        return FAILS, said(error)


def _seal(folder: Path) -> tuple[str, str]:
    if not any((folder / name).exists() for name in seal.ENDS):
        return OPEN, "no seal yet: it is not finished"
    kept = seal.read_seal(folder)
    if kept is None:
        earlier = format_of(folder) < FORMAT
        return (OPEN, "no seal: an earlier version wrote it") if earlier else (FAILS, f"no seal: {seal.NAME} is gone")
    wrong = seal.unsealed(folder, seal.WHOLE)
    return (FAILS, "; ".join(wrong)) if wrong else (HOLDS, f"{len(kept.files)} files are as the command left them")


def _table(folder: Path) -> tuple[str, str]:
    if not (folder / "table.json").exists():
        return OPEN, "none yet: the comparison is not finished"
    kept = files.read_json(folder / "table.json")
    runs = compared_runs(folder)
    made = files.read_json(folder / "provenance.json") if (folder / "provenance.json").exists() else {}
    marked = with_marks(by_rule(runs), made.get("data_sha256"), made.get("code_sha256") or {})
    rows = make_rows(marked, kept.get("coincides"))
    earlier = all("searches" not in row for row in kept["rows"])
    wanted = {row["rule"]: _timeless(row, earlier) for row in json.loads(json.dumps(rows))}
    found = {row["rule"]: _timeless(row, earlier) for row in kept["rows"]}
    rules = [row["rule"] for row in kept["rows"]]
    if len(rules) != len(found):
        return FAILS, f"table.json has a rule more than once: {', '.join(rules):.200}"
    wrong = sorted(
        f"{rule} ({', '.join(_unlike(found.get(rule, {}), wanted.get(rule, {})))})"
        for rule in {*wanted, *found}
        if found.get(rule) != wanted.get(rule)
    )
    if wrong:
        return FAILS, f"table.json is not that of the runs: {', '.join(wrong)}"
    if kept.get("linear") is not None and not made_of(runs) <= {linear_data(made)}:
        return FAILS, "table.json has a linear model of other data than those the runs learned from"
    return HOLDS, f"table.json follows from its {len(runs)} runs"


def _runs(folder: Path) -> tuple[str, str]:
    """Return whether each rule and seed has one folder; a configuration that cannot be read has a line of its own."""
    places: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("config.yaml")):
        with suppress(Exception):  # a damaged file may raise anything
            if kind_of(path.parent) == "run":
                experiment: Experiment = load(Experiment, path.parent)
                places.setdefault(experiment.identity, []).append(path.parent.relative_to(folder).as_posix())
    twins = [" and ".join(found) for found in places.values() if len(found) > 1]
    if twins:
        return FAILS, f"{'; '.join(twins)}: folders of the same run, which a table counts once; remove the copy"
    return HOLDS, "each rule and seed has one folder"


def _timeless(row: dict[str, Any], earlier: bool) -> dict[str, Any]:
    """Return a row of a table without what earlier versions did not write, or computed less exactly."""
    left = {*NEW, *ROUNDED} if earlier else set()
    return {name: value for name, value in row.items() if name not in left and (name != "changed" or value)}


def _unlike(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *two} if one.get(name) != two.get(name))


def _overall(folder: Path) -> tuple[str, str]:
    if not (folder / "overall.json").exists():
        return OPEN, "none yet: the grid is not finished"
    kept = files.read_json(folder / "overall.json")
    tables = {name: files.read_json(folder / name / "table.json") for name in kept["tables"]}
    if _as_in(json.loads(json.dumps(make_overall(tables))), kept) != _as_in(kept, kept):
        return FAILS, "overall.json does not follow from the tables of its comparisons"
    return HOLDS, f"overall.json follows from its {len(tables)} tables"


def _as_in(overall: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """Return a ranking without what an earlier version, which wrote the one that was kept, did not write."""
    if "over" in kept:
        return overall
    rows = [{name: each for name, each in row.items() if name not in (*RANKED, *ROUNDED)} for row in overall["rows"]]
    return {**{name: each for name, each in overall.items() if name not in OVERALL}, "rows": rows}


def _tuned(folder: Path) -> tuple[str, str]:
    if not (folder / "tuning.json").exists():
        return OPEN, "none yet: the tuning is not finished"
    found = files.read_json(folder / "tuning.json", files.GROWN)
    wrong = [name for name, study in found["studies"].items() if not _follows(study)]
    if wrong:
        return FAILS, f"tuning.json: the best trial is not the best of its trials: {', '.join(wrong)}"
    odd = _unequal(found)
    if odd:
        return FAILS, f"tuning.json: not every rule had {_budget(found)}: {', '.join(odd)}"
    return HOLDS, "tuning.json: the best trials follow from all trials"


def _stages(folder: Path) -> tuple[str, str]:
    if not (folder / curriculum.NAME).exists():
        return OPEN, "none yet: the curriculum is not finished"
    wrong = curriculum.broken_stages(folder)
    return (FAILS, "; ".join(wrong)) if wrong else (HOLDS, f"{curriculum.NAME} follows from its stages")


def _follows(study: dict[str, Any]) -> bool:
    """Return whether the best trial of a search, and the best so far, follow from its trials."""
    values = [trial["validation"] for trial in study["trials"]]
    best = max(range(len(values)), key=lambda n: (values[n], -n))
    so_far = [max(values[: end + 1]) for end in range(len(values))]
    return bool(study["best"] == {"trial": best, **study["trials"][best]} and study["best_so_far"] == so_far)


def _unequal(found: dict[str, Any]) -> list[str]:
    """Return the searches, and the rules, that did not have the budget of all."""
    odd = [name for name, study in found["studies"].items() if len(study["trials"]) != found["budget"]["trials"]]
    searches: dict[str, list[int]] = {}
    for name, study in found["studies"].items():
        if "search" in study:  # earlier versions searched once
            searches.setdefault(name.rpartition("/")[0], []).append(study["search"])
    wanted = list(range(found["budget"].get("searches", 1)))
    return odd + [rule for rule, numbers in searches.items() if sorted(numbers) != wanted]


def _budget(found: dict[str, Any]) -> str:
    budget = found["budget"]
    return f"{budget.get('searches', 1)} x {budget['trials']} trials"


WHOLE: dict[str, tuple[str, Callable[[Path], tuple[str, str]]]] = {
    "comparison": ("table", _table),
    "grid": ("ranking", _overall),
    "tuning": ("trials", _tuned),
    "curriculum": ("stages", _stages),
}
