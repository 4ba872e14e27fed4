"""The linear baseline against scikit-learn, for each kind of answer."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.preprocessing import StandardScaler

from rules.objectives.labels import IGNORED
from sandbox import LazySplit, Task
from sandbox.comparisons import linear
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.gather import gather
from sandbox.comparisons.linear import linear_baseline
from sandbox.comparisons.table import format_table
from sandbox.comparisons.verify import verify
from sandbox.config.registry import Choice
from sandbox.machine import files
from sandbox.runs.verify import HOLDS
from sandbox.tasks.delayed_xor import DelayedXOR
from tests.sandbox.runs.test_run import TINY
from tests.sandbox.runs.test_sources import TASK

RNG = np.random.default_rng(0)
X = RNG.random((200, 4))
NOISE = RNG.standard_normal((200, 2)) / 4


def parts(task):
    data = task.load()
    scaler = StandardScaler().fit(data.train.x.numpy())
    return [(scaler.transform(part.x.numpy()), part.y.numpy()) for part in (data.train, data.test)]


def test_values():
    task = Task.from_arrays(X, X[:, :2] + NOISE)
    (x, y), test = parts(task)
    wanted = 100 * LinearRegression().fit(x, y).score(*test)
    assert linear_baseline(task.load()) == pytest.approx(wanted, rel=1e-5)  # least squares in float32


def test_labels():
    task = Task.from_arrays(X, np.c_[X[:, :2] + NOISE > 0.5, np.zeros(200, bool)])
    (x, y), (x_test, y_test) = parts(task)
    model = MultiOutputClassifier(LogisticRegression(max_iter=1000, tol=1e-3)).fit(x, y[:, :2])
    wanted = 100 * f1_score(y_test[:, :2], model.predict(x_test), average="micro")  # nobody has the third label
    assert linear_baseline(task.load()) == pytest.approx(wanted, rel=1e-9)


def test_answers_of_steps_are_those_of_a_model_without_memory():
    x, y = RNG.random((50, 6, 2)), RNG.integers(2, size=(50, 6))
    y = np.where(x[..., 0] > 0.8, y, (x[..., 1] > 0.5).astype(int))
    y[:, :2] = IGNORED
    data = Task.from_arrays(x, y, sequence=True, by_step=True, classes=2, target="classes").load()
    (x, y), (x_test, y_test) = (
        (part.x[:, 2:].flatten(0, 1), part.y[:, 2:].flatten()) for part in (data.train, data.test)
    )
    scaler = StandardScaler().fit(x.numpy())
    model = LogisticRegression(max_iter=1000, tol=1e-3).fit(scaler.transform(x.numpy()), y.numpy())
    wanted = 100 * model.score(scaler.transform(x_test.numpy()), y_test.numpy())
    assert linear_baseline(data) == pytest.approx(wanted, rel=1e-9)


def test_classes_of_trials_are_those_of_a_model_that_sees_all_steps(monkeypatch):
    task = DelayedXOR(train=30, validation=1, test=20, delay=3, rate=500.0, pulse=4)
    data = task.load()
    (x, y), (x_test, y_test) = (
        (part.take(torch.arange(count), torch.Generator())[0].flatten(1).numpy(), part.labels[:count].numpy())
        for part, count in ((data.train, 25), (data.test, 20))
    )
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=1000, tol=1e-3).fit(scaler.transform(x), y)
    monkeypatch.setattr(linear, "MOST", 25 * x.shape[1])  # of 30 trials the first 25
    assert linear_baseline(data) == pytest.approx(100 * model.score(scaler.transform(x_test), y_test), rel=1e-9)


def test_none_where_a_linear_model_does_not_apply():
    padded = Task.from_arrays([x[: 2 + n % 3, None] for n, x in enumerate(X)], X[:, 0]).load()
    data = Task.from_arrays(X, X[:, 0]).load()
    for each in (padded, data._replace(train=LazySplit([(x, x[0]) for x in X]))):
        assert linear_baseline(each) is None


@pytest.fixture
def drifting(tmp_path, monkeypatch):
    """A comparison on a task that reads a file, and a function that writes other data into it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(TASK.format(seed=0).replace("(0)", "(int(open('seed.txt').read()))"))

    def draw(seed):
        (tmp_path / "seed.txt").write_text(str(seed))

    draw(0)
    return Comparison(replace(TINY, epochs=1, task=Choice("own.py:Drawn")), ["bptt"], seeds=1), draw


def test_the_linear_model_is_that_of_the_data_of_the_runs(drifting, tmp_path):
    plan, draw = drifting
    before = compare(plan, tmp_path / "c", jobs=1)
    fresh = []
    for seed in (1, 2):  # again and again: what was kept is kept
        draw(seed)
        fresh.append(linear_baseline(plan.experiment.load()))
        after = compare(plan, tmp_path / "c", jobs=1, accept_changes=True)
        assert after["linear"] == before["linear"]
        assert {finding.state for finding in verify(tmp_path / "c")["."]} == {HOLDS}
        again = gather(tmp_path / "c")
        assert again["linear"] == before["linear"]
        assert [row["changed"] for row in again["rows"]] == [["data"], ["data"]]
        assert [row["changed"] for row in after["rows"]] == [["data"], ["data"]]
    assert before["linear"] not in fresh


def test_a_linear_model_of_other_data_is_left_out_with_a_reason(drifting, tmp_path):
    plan, draw = drifting
    compare(plan, tmp_path / "c", jobs=1)
    draw(1)
    kept = files.read_json(tmp_path / "c" / "table.json")
    files.write_json(tmp_path / "c" / "table.json", {**kept, "linear": 99.0})  # edited, so that it does not count
    table = compare(plan, tmp_path / "c", jobs=1, accept_changes=True)
    assert table["linear"] is None
    assert "no linear classifier: not all runs were made with the data that are here now" in format_table(table)
    shutil.rmtree(next((tmp_path / "c").glob("*bptt*")))
    table = compare(plan, tmp_path / "c", jobs=1, accept_changes=True)  # runs of both
    assert table["linear"] is None
    assert {row["rule"]: row["changed"] for row in table["rows"]} == {"bptt": [], "readout_only": ["data"]}
    assert gather(tmp_path / "c", accept_changes=True)["rows"][0]["changed"] == []
