"""Numbers that no run can write are found, whatever their kind; those of a real run are not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sandbox.config.registry import Choice
from sandbox.runs.plausible import impossible
from sandbox.runs.run import run
from tests.sandbox.runs.test_run import TINY

RESULT = {
    "cost": {"forwards": 4, "state_bytes": None},
    "health": [],
    "parameters_trained": 3,
    "steps": 4,
    "test": {"accuracy": 0.5, "accuracy_at_1": 0.25, "loss": 1.0},
    "train": {"r2": -3.0, "loss": 2.0},
    "validation": {"f1": 1.0, "loss": None},
}
LINES = [{"epoch": 0, "step": 0, "train_loss": None, "validation_accuracy": 0.5}, {"epoch": 1, "step": 4}]


def write(folder, result=RESULT, lines=LINES, test=None, timing=None):
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "test.json").write_text(json.dumps(test or {"evaluations": 1}))
    (folder / "timing.json").write_text(json.dumps(timing or {"seconds": 1.0, "peak_bytes": None}))
    return impossible(folder)


def test_possible_numbers_are_let_through(tmp_path):
    assert write(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("task", ["yinyang", "tests.sandbox.runs.test_plausible:values"])
def test_those_of_a_run_are_possible(tmp_path, task):
    run(replace(TINY, epochs=1, task=replace(TINY.task, name=task) if task == "yinyang" else Choice(task)), tmp_path)
    assert impossible(tmp_path) == []


def values():
    """A task whose answers are numbers."""
    import torch

    from sandbox.tasks import Task

    x = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    return Task.from_arrays(x, x[:, :1] * 2)


@pytest.mark.parametrize("value", [7.0, -0.1, float("nan"), float("inf"), "good", None, True, [0.5], 10**400])
@pytest.mark.parametrize("name", ["accuracy", "accuracy_at_1"])
def test_a_share_is_within_0_and_1(tmp_path, name, value):
    (found,) = write(tmp_path, {**RESULT, "test": {**RESULT["test"], name: value}})
    assert found.startswith(f"result.json: test: '{name}' is ")
    assert found.endswith("not a share from 0 to 1")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": {"r2": 1.5}}, "train: 'r2' is 1.5, not a finite number of at most 1"),
        ({"train": {"r2": float("-inf")}}, "train: 'r2' is -Infinity, not a finite number of at most 1"),
        ({"test": None}, "'test' is missing, not measures"),
        ({"test": {"loss": 0.1}}, "'test' has none of the measures accuracy, r2, f1"),
        ({"test": {"accuracy": 0.5, "loss": "low"}}, "test: 'loss' is \"low\", not a number"),
        ({"cost": None}, "'cost' is missing, not counts"),
        ({"cost": {"forwards": -1}}, "cost: 'forwards' is -1, not a number of at least 0"),
        ({"steps": 2.5}, "'steps' is 2.5, not a count"),
        ({"parameters_trained": True}, "'parameters_trained' is true, not a count"),
        ({"health": "well"}, "'health' is \"well\", not a list of sentences"),
    ],
)
def test_what_is_wrong_in_a_result_is_named(tmp_path, changed, message):
    assert write(tmp_path, {**RESULT, **changed}) == [f"result.json: {message}"]


@pytest.mark.parametrize("whole", [None, [], 7, "x"])
def test_a_result_that_is_none_is_named(tmp_path, whole):
    (found,) = write(tmp_path, whole)
    assert "not the parts of a result" in found


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"epoch": 1}], "line 1 is of epoch 1, not of epoch 0"),
        ([{"epoch": 0}, {"epoch": 2}], "line 2 is of epoch 2, not of epoch 1"),
        ([{"epoch": 0}, {"epoch": True}], "line 2 is of epoch true, not of epoch 1"),
        ([{"epoch": 0, "step": -4}], "line 1: 'step' is -4, not a number of at least 0"),
        ([{"epoch": 0, "validation_accuracy": 1.01}], "line 1: 'accuracy' is 1.01, not a share from 0 to 1"),
        ([{"epoch": 0, "train_loss": "x"}], "line 1: 'train_loss' is \"x\", not a number"),
        ([[]], "line 1 holds [], not the measures of an epoch"),
    ],
)
def test_what_is_wrong_in_a_curve_is_named(tmp_path, lines, message):
    assert write(tmp_path, lines=lines) == [f"metrics.jsonl: {message}"]


def test_what_is_wrong_in_the_small_files_is_named(tmp_path):
    assert write(tmp_path, test={"evaluations": 0}) == ["test.json: 'evaluations' is 0, not a count of at least 1"]
    assert write(tmp_path, timing={"seconds": -1}) == ["timing.json: it: 'seconds' is -1, not a number of at least 0"]
    write(tmp_path)
    (tmp_path / "test.json").write_text("[" * 100_000)
    (found,) = impossible(tmp_path)
    assert found.startswith("test.json is not valid JSON (it is nested too deep)")
