"""The report shows what the folder contains, to people and browsers, and without network access."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import struct
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from sandbox.comparisons.comparison import Comparison
from sandbox.config.experiment import Experiment, MicroscopeConfig
from sandbox.config.reading import from_words
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.report import Report, costs, latency, learning, write_report
from sandbox.report.costs import PRICES
from sandbox.report.measures import MEASURES
from sandbox.runs import folder as folders
from sandbox.runs.finished import FinishedRun
from sandbox.statistics import Interval, interval
from tests.browser import show

EVIL = "<script>alert('$1')<script>"
ENDS = {"bptt": 0.95, "bptt#2": 0.86, EVIL: 0.70, "readout_only": 0.855}  # accuracy after learning
OVER = {"bptt": Interval(9.5, 8.75, 10.25), "bptt#2": Interval(0.5, -0.25, 1.125), EVIL: Interval(-15.5, -16.0, -15.0)}
VERDICTS = {
    "bptt": "above readout_only",
    "bptt#2": "not distinguishable from readout_only",
    EVIL: "below readout_only",
}
LINEAR = 64.3125
STANDING = ["ranking", "pairs"]  # the last figures of every comparison
COMPARISON = Comparison(Experiment(epochs=4), ["bptt", RuleConfig("bptt", {"window": 5}), EVIL], seeds=3)


def at_fewer_steps(end: float, seed: int, steps: int = 8) -> dict[str, float]:
    """The entries of a result in addition to `accuracy`: a first step between chance and `end`, and cosines."""
    noise = 0.005 * np.random.RandomState([seed, int(1000 * end)]).randn(steps + 1)
    accuracies = {k: end - (end - 0.4) * np.exp(1 - k) + noise[k - 1] for k in range(1, steps + 1)}
    return {
        **{f"accuracy_at_{k}": accuracy for k, accuracy in accuracies.items()},
        "latency_drop": accuracies[steps] - accuracies[1],
        "latency_area": np.mean(list(accuracies.values())),
        "temporal_cosine": end / 2 + noise[1],
        "class_separation": 0.3 + noise[0],
    }


def add_fewer_steps(folder: Path, end: float, seed: int, steps: int = 8, leave_out: str = "") -> dict[str, float]:
    """Give a finished run its numbers at fewer steps; returns them."""
    result = files.read_json(folder / "result.json")
    added = {key: number for key, number in at_fewer_steps(end, seed, steps).items() if key != leave_out}
    result["test"].update(added)
    files.write_json(folder / "result.json", result)
    return added


def write_run(folder: Path, experiment: Experiment, end: float) -> None:
    """A finished run that learned from 1/3 to about `end`."""
    folder.mkdir(parents=True)
    folders.write_config(folder, "run", asdict(experiment))
    noise = 0.01 * np.random.RandomState(experiment.seed).randn(experiment.epochs + 1)
    lines = []
    for epoch in range(experiment.epochs + 1):
        rise = 1 - np.exp(-5 * epoch / experiment.epochs)
        cost = {"forwards": 50, "backwards": 50, "layer_evaluations": 100, "synaptic_operations": 21_000_000}
        line = {
            "epoch": epoch,
            "step": 50 * epoch,
            "train_loss": 1 - 0.8 * rise if epoch else None,
            "validation_accuracy": 1 / 3 + (end - 1 / 3) * rise + noise[epoch],
            "validation_loss": 1.1 - rise,
        }
        lines.append({**line, **{name: epoch * number for name, number in cost.items()}})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {
        "cost": {name: experiment.epochs * number for name, number in cost.items()},
        "firing": {"layers.0": 0.125},
        "health": ["layers.0 is silent (0.001): under 0.5% of its units fire; scale its weights & input up"],
        "parameters": 243,
        "parameters_trained": 93,
        "steps": 200,
        "test": {"accuracy": end + noise[0], "loss": 0.2125},
        "train": {"accuracy": end + noise[0], "loss": 0.1875},
        "validation": {"accuracy": end + noise[1], "loss": 0.2375},
    }
    files.write_json(folder / "result.json", result)
    files.write_json(folder / "test.json", {"evaluations": 1})
    files.write_json(folder / "timing.json", {"seconds": 12.5 + experiment.seed, "peak_bytes": 2048})
    files.write_json(folder / "provenance.json", {"python": "3.11.2", "versions": {"torch": "2.13.0"}})


def write_comparison(folder: Path, comparison: Comparison = COMPARISON) -> dict:
    """A finished comparison; returns its table."""
    folder.mkdir()
    folders.write_config(folder, "comparison", asdict(comparison))
    files.write_json(folder / "provenance.json", {"python": "3.11.2", "versions": {"torch": "2.13.0"}})
    rows = []
    for number, (label, experiments) in enumerate(comparison.experiments().items()):
        for experiment in experiments:
            write_run(folder / experiment.identity, experiment, ENDS[label])
        mean = 100 * ENDS[label]
        costs = {
            "forwards": 200,
            "backwards": 200,
            "layer_evaluations": 400,
            "synaptic_operations": 84e6 * 2**number,
            "one_bit_reads": 1234 * number,
        }
        rows.append(
            {
                "rule": label,
                "seeds": comparison.seeds,
                "accuracies": [mean - 0.5, mean, mean + 0.5][: comparison.seeds],
                "accuracy": [mean, mean - 0.5, mean + 0.5] if comparison.seeds > 1 else [mean, None, None],
                "validation": [mean + 1, mean + 0.5, mean + 1.5] if comparison.seeds > 1 else [mean + 1, None, None],
                "over_baseline": None if label == "readout_only" else [*OVER[label]],
                "verdict": None if label == "readout_only" else VERDICTS[label],
                "parameters_trained": 243 - 50 * number,
                "cost": costs,
                "health": ["layers.0 is silent (0.001): scale its weights & input up"] if number == 0 else [],
            }
        )
        if comparison.seeds == 1 and label != "readout_only":
            rows[-1]["over_baseline"] = [OVER[label].mean, None, None]
            rows[-1]["verdict"] = "too few seeds: with 1 no difference can reach p < 0.05; at least 8 are needed"
    table = {"task": "yinyang", "baseline": "readout_only", "linear": LINEAR, "rows": rows}
    files.write_json(folder / "table.json", table)
    return table


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Report, dict]:
    """A comparison of four rules, its report and its table."""
    folder = tmp_path_factory.mktemp("report") / "comparison"
    table = write_comparison(folder)
    return write_report(folder), table


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Report:
    """The report of one run."""
    folder = tmp_path_factory.mktemp("report") / "run"
    write_run(folder, Experiment(epochs=4, seed=7), 0.95)
    return write_report(folder)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory) -> tuple[Report, dict]:
    """A comparison whose runs were tested at fewer steps, its report, and the numbers by rule and seed."""
    folder = tmp_path_factory.mktemp("report") / "comparison"
    write_comparison(folder)
    numbers = {
        (label, experiment.seed): add_fewer_steps(folder / experiment.identity, ENDS[label], experiment.seed)
        for label, experiments in COMPARISON.experiments().items()
        for experiment in experiments
    }
    return write_report(folder), numbers


def text_of(page: Path) -> str:
    """What a reader sees: no tags, no pictures, no style."""
    body = re.sub(r"<style>.*?</style>|<script\b.*?</script>|<[^>]*>", " ", page.read_text(), flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(body))


def png_size(path: Path) -> tuple[int, int]:
    """Width and height from the header of a PNG."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def test_figures_are_seven_inches_at_150_dpi(compared, ran):
    assert [path.stem for path in compared[0].figures] == ["curves", "cost", "evaluations", *STANDING]
    assert [path.name for path in ran.figures] == ["curves.png"]
    for path in (*compared[0].figures, *ran.figures):
        assert png_size(path) == (1050, 675)


@pytest.mark.slow
def test_equal_folders_give_equal_figures(compared, ran, stepped):
    for report in (compared[0], ran, stepped[0]):
        before = [path.read_bytes() for path in report.figures]
        again = write_report(report.html.parent)
        assert [path.read_bytes() for path in again.figures] == before


def test_figures_show_the_numbers(tmp_path, compared):
    folder = tmp_path / "comparison"
    shutil.copytree(compared[0].html.parent, folder)
    table = files.read_json(folder / "table.json")
    table["rows"][0]["accuracy"][0] += 1.0
    files.write_json(folder / "table.json", table)
    curves, cost, *_ = write_report(folder).figures
    assert curves.read_bytes() == compared[0].figures[0].read_bytes()
    assert cost.read_bytes() != compared[0].figures[1].read_bytes()


def test_curves_csv_is_the_metrics(compared):
    folder = compared[0].html.parent
    rows = list(csv.DictReader((folder / "curves.csv").open()))
    expected = [
        {"rule": label, "seed": experiment.seed, **json.loads(line)}
        for label, experiments in COMPARISON.experiments().items()
        for experiment in experiments
        for line in (folder / experiment.identity / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 4 * 3 * 5
    for row, line in zip(rows, expected, strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in line.items()}


def test_cost_csv_is_the_table(compared):
    report, table = compared
    rows = list(csv.DictReader((report.html.parent / "cost.csv").open()))
    for found, row in zip(rows, table["rows"], strict=True):
        assert found["rule"] == row["rule"]
        assert [float(found[name]) for name in ("test_accuracy_percent", "low", "high")] == row["accuracy"]
        assert {name: float(found[name]) for name in row["cost"]} == row["cost"]


FIGURES = ["curves", "cost", "evaluations", "latency", "drop", "area", "consistency", "separation", *STANDING]


def test_fewer_steps_get_their_figures_with_numbers_beside(stepped):
    report, numbers = stepped
    assert [path.stem for path in report.figures] == FIGURES
    assert all(png_size(path) == (1050, 675) for path in report.figures)
    assert len({path.read_bytes() for path in report.figures}) == len(FIGURES)
    rows = list(csv.DictReader((report.html.parent / "latency.csv").open()))
    assert len(rows) == 4 * 3 * 8
    for row in rows:
        wanted = numbers[row["rule"], int(row["seed"])][f"accuracy_at_{row['steps']}"]
        assert float(row["test_accuracy_percent"]) == 100 * wanted


@pytest.mark.parametrize(
    ("name", "key", "scale"),
    [
        ("drop", "latency_drop", 100),
        ("area", "latency_area", 100),
        ("consistency", "temporal_cosine", 1),
        ("separation", "class_separation", 1),
    ],
)
def test_a_measure_is_shown_with_the_interval_of_its_seeds(stepped, name, key, scale):
    report, numbers = stepped
    rows = list(csv.DictReader((report.html.parent / f"{name}.csv").open()))
    source = html.unescape(report.html.read_text())
    assert len(rows) == len(numbers)
    for rule in ENDS:
        values = [scale * found[key] for (label, _), found in numbers.items() if label == rule]
        wanted = interval(values)
        mine = [row for row in rows if row["rule"] == rule]
        assert [float(row[name]) for row in mine] == values
        assert {tuple(float(row[part]) for part in Interval._fields) for row in mine} == {tuple(wanted)}
        assert f"{rule}: {wanted}" in source


def test_the_page_explains_fewer_steps_where_there_are_any(stepped, compared, ran, tmp_path):
    assert "At fewer time steps" in text_of(stepped[0].html)
    assert all(measure.meaning in text_of(stepped[0].html) for measure in MEASURES)
    for report in (compared[0], ran):
        assert "At fewer time steps" not in text_of(report.html)
    folder = tmp_path / "run"
    write_run(folder, Experiment(epochs=4, seed=7), 0.95)
    added = add_fewer_steps(folder, 0.95, 7)
    report = write_report(folder)
    assert [path.stem for path in report.figures] == ["curves", "latency"]
    text = text_of(report.html)
    assert f"{100 * added['latency_drop']:.2f} points accuracy drop" in text
    assert f"{added['temporal_cosine']:.2f} consistency over time" in text
    assert all(measure.meaning in text for measure in MEASURES)


@pytest.mark.slow
def test_a_measure_that_a_run_lacks_is_left_out(tmp_path):
    folder = tmp_path / "comparison"
    write_comparison(folder)
    places = [(label, e) for label, experiments in COMPARISON.experiments().items() for e in experiments]
    for number, (label, experiment) in enumerate(places):
        leave_out = "temporal_cosine" if number == 5 else ""
        add_fewer_steps(folder / experiment.identity, ENDS[label], experiment.seed, leave_out=leave_out)
    assert [path.stem for path in write_report(folder).figures] == [name for name in FIGURES if name != "consistency"]


def test_one_step_is_no_choice_of_steps(tmp_path):
    folder = tmp_path / "run"
    write_run(folder, Experiment(epochs=4, seed=7), 0.95)
    add_fewer_steps(folder, 0.95, 7, steps=1, leave_out="class_separation")
    report = write_report(folder)
    assert [path.stem for path in report.figures] == ["curves"]
    assert "At fewer time steps" not in text_of(report.html)


def test_runs_tested_before_there_were_fewer_steps_hide_the_figures(tmp_path):
    folder = tmp_path / "comparison"
    write_comparison(folder)
    label, (first, *_) = next(iter(COMPARISON.experiments().items()))
    add_fewer_steps(folder / first.identity, ENDS[label], first.seed)
    assert [path.stem for path in write_report(folder).figures] == ["curves", "cost", "evaluations", *STANDING]


def told(rule: str, differences: list[float], base: float = 0.5) -> list[FinishedRun]:
    """Runs whose drop is so many points over the baseline's, which has `base` and a seed's own part."""
    return [
        FinishedRun(
            rule,
            seed,
            [],
            {
                "test": {
                    "accuracy": 0.9,
                    "accuracy_at_1": base + 0.1 * seed + by,
                    "accuracy_at_4": 0.9,
                    "latency_drop": base + 0.1 * seed + by,
                    "latency_area": 0.5,
                }
            },
            None,
            1,
        )
        for seed, by in enumerate(differences)
    ]


UP = [0.02, 0.03, 0.04, 0.025, 0.035, 0.021, 0.031, 0.041]
DOWN = [-by for by in UP]


@pytest.mark.parametrize(
    ("rivals", "standing", "message"),
    [
        ({}, "base alone", "t: accuracy drop of base alone"),
        ({"a": UP}, "a is above base", "t: compared with base, accuracy drop is higher for a"),
        ({"a": DOWN}, "no rule is above base", "t: compared with base, accuracy drop is lower for a"),
        (
            {"a": [-0.02, 0.0, 0.03, -0.03, 0.02, -0.01, 0.01, 0.0]},
            "no rule is above base",
            "t: no rule is distinguishable from base by its accuracy drop",
        ),
        (
            {"a": UP, "b": DOWN, "c": [-0.02] * 8},
            "a is above base",
            "t: compared with base, accuracy drop is higher for a and lower for 2 of 3 rules",
        ),
        (
            {"a": UP[:5]},
            "too few seeds for verdicts against base",
            "t: too few seeds for verdicts on accuracy drop",
        ),
    ],
)
def test_titles_at_fewer_steps_follow_the_tests_of_the_table(rivals, standing, message):
    """The seeds differ by far more than the rules, so that unpaired differences would tell nothing."""
    seeds = len(next(iter(rivals.values()), [0]))
    runs = told("base", [0.0] * seeds) + [run for rule, by in rivals.items() for run in told(rule, by)]
    assert latency.measure_message("t", runs, MEASURES[0], "base") == message
    assert latency.steps_message("t", runs, "base") == f"t: with 1 of 4 time steps, {standing}"


def test_every_number_of_the_table_is_on_the_page(compared):
    report, table = compared
    text, source = text_of(report.html), report.html.read_text()
    for row in table["rows"]:
        for name in ("accuracy", "validation", "over_baseline"):
            if row[name] is not None:
                assert str(Interval(*row[name])) in text
        assert all(f"{accuracy:.2f}" in text for accuracy in row["accuracies"])
        assert str(row["parameters_trained"]) in text
        assert all(f'title="{number}"' in source for number in row["cost"].values())
    assert "8.40 × 10⁷" in text
    assert f"linear classifier {LINEAR:.2f}" in text
    assert f"{np.mean([12.5, 13.5, 14.5]):.1f}" in text


def test_verdicts_are_those_of_the_table(compared):
    text = text_of(compared[0].html)
    assert f"{Interval(*OVER['bptt'])} above readout_only" in text
    assert f"{Interval(*OVER['bptt#2'])} not distinguishable from readout_only" in text
    assert f"{Interval(*OVER[EVIL])} below readout_only" in text
    assert text.count("not distinguishable") == 1
    assert "fewer than 5 seeds" in text


def test_titles_claim_no_more_than_the_table(compared):
    table = compared[1]
    assert learning.message(table) == "yinyang: bptt is above readout_only"
    assert (
        costs.message(table, PRICES["cost"])
        == "yinyang: bptt has the highest mean, at 0.125 × readout_only's operations"
    )
    assert (
        costs.message(table, PRICES["evaluations"])
        == "yinyang: bptt has the highest mean, at readout_only's evaluations"
    )
    rest = {**table, "rows": table["rows"][1:]}
    assert learning.message(rest) == "yinyang: no rule is above readout_only"
    worst = {**table, "rows": table["rows"][2:]}
    assert costs.message(worst, PRICES["cost"]) == "yinyang: no rule has a higher mean than readout_only, at any cost"


def test_the_whole_bill_is_in_the_page(compared):
    text = text_of(compared[0].html)
    assert "All costs of learning" in text
    assert re.search(r"one bit reads\s+seconds\s+peak bytes\s+bptt\s+0\s+1\d\s+2,048\s+bptt#2\s+1,234", text)


def test_one_seed_claims_nothing(tmp_path):
    folder = tmp_path / "comparison"
    write_comparison(folder, Comparison(Experiment(epochs=2), ["bptt"], seeds=1))
    text = text_of(write_report(folder).html)
    assert "9.50 (no interval: fewer than 3 seeds)" in text
    assert text.count("too few seeds: with 1 no difference can reach p < 0.05") == 1  # once, under the table
    assert not re.search(r"\bnan\b", text, re.I)


def test_a_rule_without_operations_is_still_drawn(tmp_path):
    folder = tmp_path / "comparison"
    table = write_comparison(folder)
    for row in table["rows"]:
        row["cost"]["synaptic_operations"] = 0.0
    files.write_json(folder / "table.json", table)
    assert all(png_size(path) == (1050, 675) for path in write_report(folder).figures)


def test_page_is_self_contained(compared, ran, stepped):
    for report in (compared[0], ran, stepped[0]):
        source = re.sub(
            r"<script>.*?</script>", "", report.html.read_text(), flags=re.S
        )  # tests/sandbox/report/test_interactive.py
        assert "http://" not in source
        assert "https://" not in source
        assert "url(" not in source
        assert "@import" not in source
        assert not re.search(r"<(link|iframe|object|embed)\b", source)
        assert set(re.findall(r"<script\b.*?>", source)) <= {'<script type="application/json" id="plots">'}
        sources = re.findall(r"\bsrc=(.{12})", source)
        assert len(sources) == len(report.figures)
        assert set(sources) == {'"data:image/'}


def test_text_is_escaped(compared):
    source = re.sub(r"<script( type[^>]*)?>.*?</script>", "", compared[0].html.read_text(), flags=re.S)
    assert "<script" not in source
    assert html.escape(EVIL).replace("&#x27;", "&#39;") in source
    assert EVIL in html.unescape(source)
    assert "weights &amp; input" in source


def test_page_says_how_to_get_the_numbers_again(compared, ran, tmp_path):
    wanted = ((compared[0], "compare", COMPARISON), (ran, "run", Experiment(epochs=4, seed=7)))
    for report, command, config in wanted:
        source = report.html.read_text()
        assert f"sandbox {command} --config again.yaml" in source
        shown = html.unescape(re.search(r"configuration</summary>\s*<pre><code>(.*?)</code>", source, re.S)[1])
        (tmp_path / "again.yaml").write_text(shown)
        parsed, _ = from_words(type(config), [f"--config={tmp_path / 'again.yaml'}"])
        assert parsed.identity == config.identity
        assert "torch: 2.13.0" in source


def test_run_page_shows_the_result(ran):
    result = files.read_json(ran.html.parent / "result.json")
    text = text_of(ran.html)
    assert f"{100 * result['test']['accuracy']:.2f}" in text
    assert "0.2125" in text
    assert "layers.0 12.5" in text
    assert "layers.0 is silent" in text
    assert "19.5 s" in text
    assert "evaluated once" in text


def test_bad_folders_are_answered_with_the_remedy(tmp_path, compared):
    with pytest.raises(ValueError, match=r"is not a run folder: it has no config\.yaml"):
        write_report(tmp_path)
    folder = tmp_path / "comparison"
    shutil.copytree(compared[0].html.parent, folder)
    run = next(folder.glob("yinyang-*"))
    (run / "metrics.jsonl").write_text('{"epoch": 0, "st')
    with pytest.raises(ValueError, match=r"metrics\.jsonl is not valid JSON"):
        write_report(folder)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"metrics\.jsonl does not exist"):
        write_report(folder)
    for gone in (run / "result.json", folder / "table.json"):
        gone.unlink()
        with pytest.raises(ValueError, match=f"{gone.name}.*sandbox resume {re.escape(str(folder))}"):
            write_report(folder)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("width", [pytest.param(1200, marks=pytest.mark.slow), 400])
@pytest.mark.parametrize("kind", ["comparison", "run", "stepped"])
def test_browser_shows_the_page(browser, compared, ran, stepped, tmp_path, kind, width, scheme):
    from matplotlib.image import imread

    report = {"comparison": compared[0], "run": ran, "stepped": stepped[0]}[kind]
    show(browser, report.html, width, scheme)
    naturals = browser.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth])")
    assert naturals == [[True, 1050]] * (len(report.figures) if kind == "run" else 0)  # the others draw their own
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.save_screenshot(tmp_path / "shot.png")
    assert png_size(tmp_path / "shot.png") == (width, 900)
    shot = imread(tmp_path / "shot.png")[..., :3]
    colours = (255 * shot).astype(int) @ (65536, 256, 1)
    assert len(np.unique(colours)) > 50
    assert (shot[-1, 2].mean() < 0.5) == (scheme == "dark")
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_reading_a_folder_imports_nothing_that_it_names(tmp_path):
    """A folder comes back from somebody else, whose configuration names modules that do harm."""
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')\n")
    harmful = f"{tmp_path / 'harmful.py'}:Reference"
    watched = MicroscopeConfig(references=[Choice(harmful, {"command": "x"})])
    folder = tmp_path / "comparison"
    experiment = Experiment(epochs=2, task=Choice(harmful), microscope=watched)
    write_comparison(folder, Comparison(experiment, ["bptt"], seeds=1))
    assert write_report(folder).html.exists()
    with pytest.raises(SystemExit, match="imported"):
        watched.make()  # what a run does
