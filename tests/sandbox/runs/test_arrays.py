"""Runs of tasks made of arrays, in this process, in workers, and from the command line afterwards."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

import rules
import sandbox
from sandbox import Choice, Comparison, Experiment, Task
from sandbox.cli import main
from sandbox.comparisons.comparison import compare
from sandbox.comparisons.gather import gather
from sandbox.comparisons.grid import Grid, run_grid
from sandbox.config.experiment import NetworkConfig
from sandbox.config.rule import RuleConfig
from sandbox.runs import index
from sandbox.runs.arrays import attached, keep
from sandbox.runs.finished import read_run
from sandbox.runs.preparing import prepare
from sandbox.runs.run import run

RNG = np.random.default_rng(0)
X = RNG.random((120, 4))
LINEAR = Task.from_arrays(X, X @ np.array([1.0, -2.0, 0.5, 0.3]), name="linear")
TAGS = Task.from_arrays(X, np.stack([X[:, 0] > 0.5, X[:, 1] > 0.3, X.sum(1) > 2], 1), name="tags")
PERCEPTRON = NetworkConfig(model=Choice("perceptron", {"hidden": [8]}))
VALUES = Experiment(task=LINEAR, encoder=Choice("still"), network=PERCEPTRON, epochs=40, batch_size=24)


class Own(rules.Objective):
    """A loss that says nothing of how answers are judged."""

    def __call__(self, run, batch):
        return (run.output.mean(0)[:, 0] - batch.y).square().mean()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison on arrays, by two worker processes."""
    folder = tmp_path_factory.mktemp("arrays") / "compared"
    named = [RuleConfig("bptt", {"lr": 0.02}), RuleConfig("readout_only", {"lr": 0.02})]
    return folder, compare(Comparison(VALUES, named, seeds=2), folder, jobs=2)


def test_workers_learn_from_the_arrays(compared):
    folder, table = compared
    assert (table["measure"], table["chance"], [row["rule"] for row in table["rows"]]) == (
        "r2",
        0.0,
        ["bptt", "readout_only"],
    )
    assert table["rows"][0]["accuracy"][0] > 80
    assert table["linear"] == pytest.approx(100, abs=1e-6)  # the task is linear
    assert len(list(folder.glob("arrays-*.pt"))) == 1
    assert not list(folder.glob("*/arrays-*.pt"))


def test_a_worker_s_result_is_that_of_this_process(compared, tmp_path):
    _, table = compared
    here = run(replace(VALUES, rule=RuleConfig("bptt", {"lr": 0.02})), tmp_path / "run")
    assert 100 * here["test"]["r2"] == table["rows"][0]["accuracies"][0]
    assert len(list((tmp_path / "run").glob("arrays-*.pt"))) == 1


def test_r2_is_that_of_the_model_on_the_test_set(tmp_path):
    trainer, train = prepare(VALUES, VALUES.load())
    for _ in trainer.fit(train, 3):
        pass
    test = LINEAR.load().test
    with torch.no_grad():
        found = trainer.model(test.x)
    evaluated = trainer.evaluate([(test.x, test.y)])
    assert evaluated["r2"] == pytest.approx(r2_score(test.y, found[:, 0]), rel=1e-5)  # float32 answers


def test_the_folder_is_read_with_and_without_the_arrays(compared, tmp_path, capsys):
    folder, table = compared
    assert gather(folder)["rows"][0]["accuracy"] == table["rows"][0]["accuracy"]
    assert main(["resume", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == table["rows"]
    (kept,) = folder.glob("arrays-*.pt")
    kept.rename(tmp_path / "away.pt")
    try:
        rows = sandbox.load(folder)
        rows = rows if isinstance(rows, list) else rows.to_dict("records")
        assert (
            rows[-1]["test_r2"] == read_run(next(folder.glob("*readout_only-s1*")), "x", 1, folder).result["test"]["r2"]
        )
        assert "validation_r2" in rows[0]
        assert main(["report", str(folder)]) == 0
        text = (folder / "report.html").read_text()
        assert "test R2 <span>%" in text
        assert "linear regression" in text
        assert "accuracy" not in (folder / "report.md").read_text().lower()
        assert (folder / "table.csv").read_text().startswith("rule,seeds,test_r2_percent,")
        with pytest.raises(ValueError, match="arrays of task 'linear' are not here"):
            gather(folder)
    finally:
        (tmp_path / "away.pt").rename(kept)


def test_the_index_says_which_measure(compared, capsys):
    folder, table = compared
    (row, *_) = index.rows(folder.parent, rule="bptt")
    assert (row["test_accuracy"], row["measure"]) == (None, "r2")
    assert 100 * row["test"] == table["rows"][0]["accuracies"][0]
    assert index.rebuild(folder.parent)["done"] == 4
    assert index.rows(folder.parent, rule="bptt")[0]["test"] == row["test"]
    assert main(["list", "runs", "--out", str(folder.parent)]) == 0
    assert f"R2 {table['rows'][0]['accuracies'][0]:.2f} %" in capsys.readouterr().out


def test_several_labels(tmp_path):
    experiment = replace(VALUES, task=TAGS, rule=RuleConfig("bptt", {"lr": 0.05}))
    result = run(experiment, tmp_path / "run")
    assert result["test"]["f1"] > 0.8
    assert result["test"]["exact_match"] <= result["test"]["f1"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation_f1"] == result["validation"]["f1"]


def test_a_grid_of_classes_and_values(tmp_path):
    few = replace(VALUES, epochs=8)
    classes = replace(few, task=Task.from_arrays(X, (X[:, 0] > X[:, 1]).astype(int), name="classes"))
    comparisons = [Comparison(each, [RuleConfig("bptt", {"lr": 0.02})], seeds=2) for each in (few, classes)]
    overall = run_grid(Grid(comparisons), tmp_path / "grid", jobs=1)
    assert {table["measure"] for table in overall["tables"].values()} == {"r2", "accuracy"}


def test_a_rule_for_classes_is_refused_on_values(tmp_path):
    wrong = replace(VALUES, rule=RuleConfig("bptt", {"objective": "ce_mean"}))
    with pytest.raises(TypeError, match=r'for numbers rules.make\("bptt", objective="mse"\)'):
        run(wrong, tmp_path / "run")
    with pytest.raises(ValueError, match=r"rules do not fit linear:\n  tet: labels have dtype torch.float32"):
        compare(Comparison(VALUES, ["tet"], seeds=1), tmp_path / "compared")
    assert compare(Comparison(VALUES, ["tet"], seeds=1), tmp_path / "rest", jobs=1, skip_unfit=True)[
        "unfit"
    ].keys() == {"tet"}


def test_arrays_come_back_as_they_were(tmp_path):
    sequences = [RNG.random((n, 2)) for n in (3, 5, 4, 2, 6, 5)]
    experiment = Experiment(task=Task.from_arrays(sequences, np.arange(6) % 2, name="padded"))
    keep(experiment, tmp_path)
    named = replace(experiment, task=Choice(experiment.task.name, experiment.task.options))
    again = attached(named, tmp_path / "comparison" / "run")
    assert again.load().checksum == experiment.load().checksum
    assert torch.equal(again.load().train.lengths, experiment.load().train.lengths)
    assert (again.load().sequence, again.load().classes) == (True, 2)
    (kept,) = tmp_path.glob("arrays-*.pt")
    changed = torch.load(kept, weights_only=True)
    changed["splits"]["train"]["x"] += 1
    torch.save(changed, kept)
    with pytest.raises(ValueError, match="does not hold the arrays that its name says; remove it, and give the task"):
        attached(named, tmp_path)


def test_a_loss_without_a_measure_is_refused(tmp_path):
    own = replace(VALUES, rule=RuleConfig("bptt", objective=Choice(f"{__name__}:Own")))
    with pytest.raises(
        ValueError, match="the objective reports loss, samples, and models are selected by accuracy, R2"
    ):
        run(own, tmp_path / "run")


def test_validation_and_test_see_other_noise(tmp_path):
    """The same samples in every split: losses differ by the noise of the encoder alone."""
    y = (X[:, 0] > X[:, 1]).astype(int)
    task = Task.from_arrays(X, y, test=(X, y), validation=(X, y), name="same")
    noisy = Experiment(task=task, encoder=Choice("poisson", {"steps": 5}), epochs=1)
    result = run(noisy, tmp_path / "run")
    assert len({result[part]["loss"] for part in ("train", "validation", "test")}) == 3
    still = run(replace(noisy, encoder=Choice("constant", {"steps": 5})), tmp_path / "still")
    assert still["validation"]["loss"] == still["test"]["loss"]
