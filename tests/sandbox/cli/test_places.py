"""Whatever a name contains, what is made lies directly below --out, is listed at once, and can be resumed."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandbox import Choice, Experiment, Task
from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.config.experiment import NetworkConfig
from sandbox.config.names import LABEL
from sandbox.config.rule import RuleConfig
from sandbox.runs import index
from sandbox.runs.run import run
from tests.sandbox.config.test_identity import NASTY

X = np.random.default_rng(0).random((40, 2))
TINY = Experiment(
    encoder=Choice("still"),
    network=NetworkConfig(model=Choice("perceptron", {"hidden": [2]})),
    epochs=1,
    batch_size=40,
)
SMALL = {
    "experiment": {
        "task": {"name": "yinyang", "options": {"train": 20, "validation": 10, "test": 10}},
        "encoder": {"name": "constant", "options": {"steps": 2}},
        "epochs": 1,
        "batch_size": 20,
    },
    "rules": ["readout_only"],
    "seeds": 1,
}


@given(st.text(max_size=300))
@example(NASTY[0])
@example("../../x")
@example("a/b:C")
@example("\x00\n\x1b[0m")
@example("é" * 200)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_task_of_any_name(text):
    with tempfile.TemporaryDirectory() as place:
        try:
            task = Task.from_arrays(X, (X[:, 0] > 0.5).astype(int), name=text)
        except ValueError:  # refused before anything runs
            assert os.listdir(place) == []
            return
        experiment = replace(TINY, task=task)
        out = Path(place) / "deep" / "out"
        folder = out / experiment.identity
        result = run(experiment, folder)
        assert (os.listdir(place), os.listdir(out.parent)) == (["deep"], ["out"])
        assert {path.name for path in out.iterdir()} == {index.NAME, folder.name}
        for _ in range(2):
            assert [(row["folder"], row["status"]) for row in index.rows(out)] == [(folder.name, "done")]
            index.rebuild(out)
        (folder / "result.json").unlink()
        assert main(["resume", str(folder)]) == OK
        assert run(experiment, folder)["test"] == result["test"]


@given(st.text(max_size=80))
@example("a/b")
@example("../y")
@example("..")
@example("é")
@example("con")
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_label_of_any_text_is_refused_or_safe(text):
    try:
        rule = RuleConfig("bptt", label=text)
    except ValueError:
        assert LABEL.fullmatch(text) is None
        return
    with tempfile.TemporaryDirectory() as place:
        experiment = replace(TINY, task=Choice("yinyang", {"train": 40, "validation": 10, "test": 10}), rule=rule)
        run(experiment, Path(place) / experiment.identity)
        assert {path.name for path in Path(place).iterdir()} == {index.NAME, experiment.identity}
        assert [row["folder"] for row in index.rows(Path(place))] == [experiment.identity]


@pytest.mark.parametrize("name", ["../../x", "/abs/olute", "..", "new\nline" * 30])
def test_a_grid_whose_name_is_a_path_is_refused_before_it_begins(name, tmp_path, capsys):
    comparison = {**SMALL, "rules": ["bptt"], "seeds": 1}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"name": name, "comparisons": [comparison]}))
    assert main(["compare", "--preset", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "out")]) == BAD_INPUT
    assert "is part of the name of a folder" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["grid.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a = b (c), #2", "_.._x"])
def test_a_grid_of_an_unusual_name(name, tmp_path, capsys):
    task = {"name": "yinyang", "options": {"train": 200, "validation": 50, "test": 200}}
    trained = {"experiment": {**SMALL["experiment"], "task": task, "epochs": 8}, "rules": ["bptt"], "seeds": 1}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"name": name, "comparisons": [trained]}))
    out = tmp_path / "deep" / "out"
    assert main(["compare", "--preset", str(tmp_path / "grid.yaml"), "--jobs", "1", "--out", str(out)]) == OK
    assert {path.name for path in tmp_path.iterdir()} == {"grid.yaml", "deep"}
    assert os.listdir(tmp_path / "deep") == ["out"]
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    assert {path.name for path in out.iterdir()} == {index.NAME, folder.name}
    assert [row["status"] for row in index.rows(out)] == ["done", "done"]
    (folder / "overall.json").unlink()
    assert main(["resume", str(folder)]) == OK
    assert (folder / "overall.json").exists()


@pytest.mark.slow
def test_a_task_file_elsewhere(tmp_path, monkeypatch, capsys):
    """Its folders are made below --out, and not beside the file."""
    place, out = tmp_path / "sub dir", tmp_path / "here" / "runs"
    place.mkdir()
    (tmp_path / "here").mkdir()
    (place / "t.py").write_text("from sandbox.tasks import YinYang\nclass T(YinYang):\n    pass\n")
    monkeypatch.chdir(tmp_path / "here")
    config = {**SMALL, "experiment": {**SMALL["experiment"]}}
    for number, name in enumerate((f"{place}/t.py:T", "../sub dir/t.py:T")):
        config["experiment"]["task"] = {**SMALL["experiment"]["task"], "name": name}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(config["experiment"]))
        assert main(["run", "--config", str(tmp_path / "r.yaml"), "--out", "runs"]) == OK
        assert main(["compare", "--config", str(tmp_path / "c.yaml"), "--jobs", "1", "--out", "runs"]) == OK
        assert {path.name for path in place.iterdir()} <= {"t.py", "__pycache__"}
        assert os.listdir(tmp_path / "here") == ["runs"]
        assert [row["status"] for row in index.rows(out)] == ["done"] * 2 * (number + 1)
    assert all((path / "config.yaml").exists() for path in out.iterdir() if path.is_dir())


@pytest.mark.slow
def test_a_tuning_below_any_out(tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    label = {"name": "bptt", "label": "a=b #2"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SMALL, "rules": [label]}))
    for out in ("q?x=1", "p%41", "a#b"):
        words = ["tune", "c.yaml", "--trials", "1", "--searches", "1", "--jobs", "1", "--out", out]
        assert main(words) == OK
        (folder,) = Path(out).iterdir()
        assert (folder / "tuning.sqlite").exists()
        assert {path.name for path in folder.iterdir()} >= {"config.yaml", "studies", "tuning.json"}
        assert len(list((folder / "studies").iterdir())) == 2
        assert set(os.listdir(tmp_path)) == {"c.yaml", out}
        shutil.rmtree(out)


def test_folders_by_every_way_to_name_them(tmp_path, monkeypatch, capsys):
    out = tmp_path / "runs"
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(SMALL["experiment"]))
    words = ["run", "--config", str(tmp_path / "r.yaml")]
    assert main([*words, "--out", str(out)]) == OK
    (name,) = (path.name for path in out.iterdir() if path.is_dir())
    (tmp_path / "link").symlink_to(out)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(out / name)
    for folder in (".", f"../{name}", f"../../runs/{name}/", str(tmp_path / "link" / name), f"~/runs/{name}"):
        for command in ("resume", "report"):
            assert main([command, folder]) == OK, folder
    for root in ("..", "../", str(tmp_path / "link"), "~/runs", "../../runs/"):
        assert main([*words, f"--out={root}"]) == OK
        capsys.readouterr()
        assert main(["list", "runs", f"--out={root}"]) == OK
        assert capsys.readouterr().out.split()[:2] == [name, "done"]
    monkeypatch.chdir(out)
    assert main([*words, "--out", "."]) == OK
    assert {path.name for path in out.iterdir()} == {index.NAME, name}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "link", "r.yaml"}


def test_a_label_with_a_separator_is_refused_before_a_tuning_begins(tmp_path, capsys):
    for label in ("a/b", "../y", "../../../../../x", "a\\b"):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({**SMALL, "rules": [{"name": "bptt", "label": label}]}))
        assert main(["tune", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out")]) == BAD_INPUT
        assert "part of the name of a folder" in capsys.readouterr().err
        assert os.listdir(tmp_path) == ["c.yaml"]
