"""Files that anybody may have edited: a report is written, or the damage named, without a traceback or a long wait."""

from __future__ import annotations

import copy
import csv
import json
import random
import re
import shutil
import time
import warnings

import pytest

from sandbox.machine import files
from sandbox.report import pages, write_report
from tests.sandbox.report.folders import write_grid, write_tuning
from tests.sandbox.report.test_report import add_fewer_steps, write_comparison
from tests.speed import within

VALUES = (
    *(
        None,
        True,
        0,
        -1,
        2**70,
        1e308,
        -1e-320,
        float("nan"),
        float("inf"),
        "",
        "x",
        "9" * 50,
        "\x1b[2J\u202e\0",
        "a" * 5000,
    ),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": 1}}, 10**400),
)
LIMIT = 5.0  # [s] of one report
TRIALS = {"comparison": 50, "run": 125, "grid": 125, "tuning": 125}  # a comparison has twelve runs and takes longest
FILES = ("table.json", "overall.json", "tuning.json", "provenance.json", "result.json", "metrics.jsonl", "timing.json")


def places(value, path=()):
    """The path of every value inside of a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def mutated(value, dice):
    """The value with one part replaced, removed, renamed or doubled."""
    path = dice.choice(list(places(value)))
    if not path:
        return copy.deepcopy(dice.choice(VALUES))
    found = copy.deepcopy(value)
    around = found
    for key in path[:-1]:
        around = around[key]
    how = dice.randrange(4)
    if how == 0:
        del around[path[-1]]
    elif how == 1 and isinstance(around, list):
        around.append(copy.deepcopy(around[path[-1]]))
    elif how == 2 and isinstance(around, dict):
        around[str(dice.choice(VALUES))[:80]] = around.pop(path[-1])
    else:
        around[path[-1]] = copy.deepcopy(dice.choice(VALUES))
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind, with everything that a report can show."""
    place = tmp_path_factory.mktemp("fuzz")
    write_comparison(place / "comparison")
    for number, run in enumerate(sorted(path.parent for path in (place / "comparison").glob("*/result.json"))):
        add_fewer_steps(run, 0.7, number)
    shutil.copytree(next((place / "comparison").glob("*/result.json")).parent, place / "run")
    write_grid(place / "grid")
    write_tuning(place / "tuning")
    return [place / kind for kind in ("comparison", "run", "grid", "tuning")]


def attempt(folder):
    """Write the report; returns what was said instead."""
    begun = time.perf_counter()
    try:
        write_report(folder)
        said = None
    except (ValueError, FileNotFoundError) as error:  # the command line prints these without a traceback
        said = str(error)
    assert within(time.perf_counter() - begun, LIMIT)
    return said


@pytest.mark.slow(minutes=1)
def test_mutated_files_are_shown_or_named(folders, monkeypatch):
    monkeypatch.setattr(pages, "png", lambda figure: b"")  # drawing takes a second, and is tried below
    dice, said, seen = random.Random(0), [], 0
    for folder in folders:
        assert attempt(folder) is None
        kept = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.name in FILES}
        for _ in range(TRIALS[folder.name]):
            path = dice.choice(list(kept))
            lines = kept[path].decode().splitlines() if path.suffix == ".jsonl" else [kept[path].decode()]
            number = dice.randrange(len(lines))
            lines[number] = json.dumps(mutated(json.loads(lines[number]), dice))
            path.write_text("\n".join(lines))
            try:
                said.append(attempt(folder))
            except Exception as error:
                raise AssertionError(f"{path.name}: {lines[number][:3000]}") from error
            finally:
                path.write_bytes(kept[path])
            seen += 1
    named = [text for text in said if text is not None]
    assert len(named) > seen / 4  # most parts are needed
    assert all(str(folders[0].parent) in text for text in named)  # the file or the folder


@pytest.mark.slow
def test_hostile_names_are_drawn(folders, tmp_path):
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name)
        for path in (tmp_path / folder.name).rglob("*.json"):
            text = path.read_text().replace("bptt", r"$\\frac{$\u001b]0;x\u0007\u202e" + "ß" * 100)
            path.write_text(text)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Glyph", UserWarning)  # that a font lacks
            attempt(tmp_path / folder.name)


def test_a_table_that_lacks_a_part_is_named(tmp_path):
    table = write_comparison(tmp_path / "comparison")
    del table["rows"][0]["cost"]
    files.write_json(tmp_path / "comparison" / "table.json", table)
    with pytest.raises(ValueError, match=r"table.json is damaged: table.json.rows\[0\] lacks cost; finish the folder"):
        write_report(tmp_path / "comparison")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("rows", [], r"table.json.rows is \[\], and has to be a list of at least 1"),
        ("linear", "good", "table.json.linear is 'good', and has to be a finite number"),
        ("linear", float("nan"), "table.json.linear is nan, and has to be a finite number"),
        ("task", ["x"], r"table.json.task is \['x'\], and has to be a text"),
        ("measure", "luck", "table.json.measure is 'luck', and has to be one of accuracy, r2, f1"),
        ("baseline", "none", "each rule is there once, and the baseline is"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, part, value, message):
    table = write_comparison(tmp_path / "comparison")
    files.write_json(tmp_path / "comparison" / "table.json", {**table, part: value})
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "comparison")


EVIL = "=![i](http://evil/x.png)`\x1b[2J\u202e</script><script>alert(1)</script>|\n# head\r"


def test_hostile_names_are_text_in_every_file_of_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "png", lambda figure: b"")
    folder = tmp_path / "comparison"
    table = write_comparison(folder)
    for row in table["rows"]:
        row["health"] = [EVIL]
        if row["rule"] != table["baseline"]:
            row |= {"rule": row["rule"] + EVIL, "verdict": EVIL, "cost": {**row["cost"], EVIL: 3.0}}
        else:
            row["cost"] |= {EVIL: 2.0}
    table |= {"task": EVIL, "damaged": {EVIL: EVIL}, "unfit": {EVIL: EVIL}}
    files.write_json(folder / "table.json", table)
    files.write_json(folder / "provenance.json", {EVIL: [EVIL], "revision": f"```\n{EVIL}"})
    look = {"step": 0, "layer": EVIL, "reference": f"../../{EVIL}", "draws": 1, "cosine": 0.5}
    for run in folder.glob("*/result.json"):
        (run.parent / "microscope.jsonl").write_text(json.dumps(look) + "\n")
    before = set(tmp_path.rglob("*"))
    report = write_report(folder)
    made = set(tmp_path.rglob("*")) - before
    assert {path.parent for path in made} == {folder}
    for path in made - set(report.figures):
        text = path.read_text()
        assert not [letter for letter in "\x1b\u202e\r" if letter in text], path
        if path.suffix == ".csv":
            for row in csv.reader(text.splitlines()):
                assert not any(cell.startswith("=") for cell in row)
    page = report.html.read_text()
    assert "<script>alert" not in page
    assert "evil" in page
    written = (folder / "report.md").read_text()
    fences = [line for line in written.split("\n") if line.startswith("```")]
    assert len(fences) == 4  # two blocks, which nothing inside of them ends
    outside = "".join(part for n, part in enumerate(re.split(r"(?m)^`{3,}.*$", written)) if n % 2 == 0)
    assert "http:" not in outside
    assert "<script" not in outside
    pictures = re.findall(r"(?<!\\)!\[[^\n]*?(?<!\\)\]\(([^)]*)\)", outside)
    assert sorted(pictures) == sorted(path.name for path in report.figures)
    assert "\n# head" not in outside
