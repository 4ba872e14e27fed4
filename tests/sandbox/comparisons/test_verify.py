"""`sandbox verify` says of each thing whether it holds, runs nothing of the folder, and writes nothing."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
import yaml

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FOUND_WRONG, OK
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.verify import verify
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.runs.run import run
from sandbox.runs.seal import NAME, write_seal
from sandbox.runs.verify import FAILS, HOLDS, OPEN
from sandbox.tasks import YinYang
from tests.sandbox.report.folders import write_tuning
from tests.sandbox.runs.test_run import TINY, Stop, _stop
from tests.sandbox.runs.test_sources import RULE, TASK

ONE = replace(TINY, epochs=1)
WHAT = ["configuration", "seal", "numbers", "checkpoint", "metrics", "attempts", "code", "data", "kernels"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    compare(Comparison(ONE, ["bptt"], seeds=2), place / "c", jobs=1)
    with pytest.raises(Stop):
        run(TINY, place / "stopped", progress=_stop)
    return place


@pytest.fixture
def place(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    return tmp_path / "runs"


def states(folder):
    return {finding.what: finding.state for finding in verify(folder)["."]}


def why(folder, what):
    return next(finding.why for finding in verify(folder)["."] if finding.what == what)


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_what_was_left_alone_holds_and_nothing_is_written(place, capsys):
    before = contents(place)
    assert main(["verify", str(place), "--json"]) == OK
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is True
    assert len(found["folders"]) == 1 + 4 + 1
    assert found["folders"]["c"] == [
        {"what": "seal", "state": HOLDS, "why": "3 files are as the command left them"},
        {"what": "table", "state": HOLDS, "why": "table.json follows from its 4 runs"},
        {"what": "runs", "state": HOLDS, "why": "each rule and seed has one folder"},
    ]
    assert [each["what"] for each in found["folders"][f"c/{ONE.identity}"]] == WHAT
    assert {each["state"] for each in found["folders"][f"c/{ONE.identity}"]} == {HOLDS}
    assert states(place / "stopped")["seal"] == OPEN
    assert main(["verify", str(place)]) == OK
    assert capsys.readouterr().out.endswith("all that can be checked holds\n")
    assert contents(place) == before


def spoil(folder, name, change):
    content = files.read_json(folder / name)
    change(content)
    files.write_json(folder / name, content)


@pytest.mark.parametrize(
    ("what", "change", "message"),
    [
        ("seal", lambda f: (f / NAME).unlink(), "no seal: seal.json is gone"),
        ("seal", lambda f: spoil(f, "timing.json", lambda c: c.update(seconds=0.1)), "timing.json is not the file"),
        ("numbers", lambda f: spoil(f, "result.json", lambda c: c["test"].update(accuracy=7)), "'accuracy' is 7"),
        ("checkpoint", lambda f: (f / "checkpoint.pt").write_bytes(b"half"), "cannot be read"),
        ("checkpoint", lambda f: (f / "checkpoint.pt").unlink(), "there is none, and the run is finished"),
        (
            "configuration",
            lambda f: f.joinpath("config.yaml").write_text("["),
            "config.yaml is not valid YAML",
        ),
        (
            "configuration",
            lambda f: f.joinpath("config.yaml").write_text(
                yaml.safe_dump({**yaml.safe_load((f / "config.yaml").read_text()), "batch_size": 49})
            ),
            "not of this folder",
        ),
        ("kernels", lambda f: spoil(f, "provenance.json", lambda c: c["kernels"].update(asked="x")), "x was asked for"),
        ("attempts", lambda f: spoil(f, "provenance.json", lambda c: c.update(changed=["data"])), "another: data"),
        (
            "attempts",
            lambda f: spoil(
                f,
                "provenance.json",
                lambda c: c["attempts"].append({**c["attempts"][0], "data_sha256": "0", "continued_from_step": 4}),
            ),
            "2 attempts, .*; they differ in: data",
        ),
        (
            "data",
            lambda f: spoil(f, "provenance.json", lambda c: c.update(data_sha256="0")),
            "not those the run learned",
        ),
    ],
)
def test_what_does_not_hold_is_named(place, capsys, what, change, message):
    folder = place / "c" / ONE.identity
    change(folder)
    assert states(folder)[what] == FAILS
    assert re.search(message, why(folder, what))
    assert main(["verify", str(folder)]) == FOUND_WRONG
    assert f"{FAILS}  {what}: " in capsys.readouterr().out


def test_a_table_that_does_not_follow_from_its_runs_is_found(place):
    spoil(place / "c", "table.json", lambda table: table["rows"][0]["accuracies"].reverse())
    spoil(place / "c", "table.json", lambda table: table["rows"][0].update(accuracy=[99.0, 98.0, 100.0]))
    (finding,) = (each for each in verify(place / "c")["."] if each.what == "table")
    assert finding.state == FAILS
    assert finding.why.startswith("table.json is not that of the runs: bptt (accurac")


def test_a_folder_of_an_earlier_version_has_no_seal(place):
    folder = place / "c" / ONE.identity
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("format: 4", "format: 3"))
    (folder / NAME).unlink()
    spoil(folder, "provenance.json", lambda made: (made.pop("attempts"), made.pop("kernels")))
    found = states(folder)
    assert FAILS not in found.values()
    assert [found[what] for what in ("seal", "checkpoint", "attempts", "kernels")] == [OPEN] * 4
    assert why(folder, "seal") == "no seal: an earlier version wrote it"


def test_code_that_a_folder_names_is_hashed_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RULE.format(lr=0.1))
    (tmp_path / "task.py").write_text(TASK.format(seed=0))
    experiment = replace(ONE, rule=RuleConfig("mine.py:mine"), task=Choice("task.py:Drawn"))
    run(experiment, tmp_path / "r")
    assert states(tmp_path / "r")["code"] == HOLDS
    for name in ("mine.py", "task.py"):
        (tmp_path / name).write_text("open('ran', 'w')\n")
    assert states(tmp_path / "r")["code"] == FAILS
    assert why(tmp_path / "r", "code") == "mine.py, task.py: not as the run was made with"
    assert why(tmp_path / "r", "data") == "not loaded, because that would run task.py"
    (tmp_path / "mine.py").unlink()
    (tmp_path / "task.py").unlink()
    assert states(tmp_path / "r")["code"] == OPEN
    assert not (tmp_path / "ran").exists()


def test_data_that_are_not_here_are_not_downloaded(place, monkeypatch):
    folder = place / "c" / ONE.identity
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["task"] = {"name": "mnist", "options": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_seal(folder)
    for name in ("SANDBOX_DATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(place / "none"))
    assert states(folder)["data"] == OPEN
    assert "is in none of the folders of data sets" in why(folder, "data")
    assert not (place / "none").exists()


@pytest.mark.parametrize("name", ["nowhere", "empty", "a_file"])
def test_what_is_no_folder_of_runs_is_bad_input(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("")
    assert main(["verify", str(tmp_path / name)]) == BAD_INPUT
    assert ("holds no run" if name == "empty" else "is not a folder") in capsys.readouterr().err


@pytest.mark.parametrize(
    "task", ["sandbox.config.registry:find", "sandbox.executors.making:import_module", "os:system"]
)
def test_no_function_of_the_project_is_called_because_a_folder_names_it(place, tmp_path, task):
    """`sandbox.x:y` with options of the folder's choice could import anything."""
    folder, mark = place / "c" / ONE.identity, tmp_path / "called"
    payload = tmp_path / "payload.py"
    payload.write_text(f"open({str(mark)!r}, 'w')")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["task"] = {"name": task, "options": {"kind": "task", "name": f"{payload}:X"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert states(folder)["data"] == OPEN
    assert not mark.exists()


def test_a_task_of_the_project_given_as_an_object_is_loaded(tmp_path):
    task = YinYang(**TINY.task.options)
    run(replace(ONE, task=task), tmp_path / "r")
    assert ":" in yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())["task"]["name"]
    assert states(tmp_path / "r")["data"] == HOLDS


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table["rows"][0].update(accuracy=[99.9, 99.0, 100.0]),
        *(
            pytest.param(change, marks=pytest.mark.slow)
            for change in (
                lambda table: table.update(linear=1.0),
                lambda table: table.update(chance=99.0, task="mnist"),
                lambda table: table.update(unfit={"hzo": "forged"}),
                lambda table: table.update(rows=table["rows"] * 2),
            )
        ),
    ],
)
def test_an_edited_table_is_found_by_verify_and_report_and_made_anew_by_resume(place, capsys, change):
    before = (place / "c" / "table.json").read_bytes()
    spoil(place / "c", "table.json", change)
    assert states(place / "c")["seal"] == FAILS
    assert main(["report", str(place / "c")]) == BAD_INPUT
    assert "table.json is not the file" in capsys.readouterr().err
    assert main(["resume", str(place / "c")]) == OK
    assert (place / "c" / "table.json").read_bytes() == before


def test_a_comparison_without_its_provenance_or_its_seal_is_found(place):
    (place / "c" / "provenance.json").unlink()
    assert "provenance.json is missing" in why(place / "c", "seal")
    (place / "c" / NAME).unlink()
    assert states(place / "c")["seal"] == FAILS


@pytest.mark.parametrize("cut", ["edited", "short", "gone"])
def test_metrics_of_a_stopped_run_are_those_that_its_checkpoint_counts(place, cut):
    path = place / "stopped" / "metrics.jsonl"
    assert states(place / "stopped")["metrics"] == HOLDS
    whole = path.read_text()
    path.write_text(whole + "{}")  # a line after the checkpoint, half written, is dropped by resume
    assert states(place / "stopped")["metrics"] == HOLDS
    if cut == "gone":
        path.unlink()
    else:
        path.write_text(whole[: whole.rindex("{")] if cut == "short" else whole.replace('"step": 0', '"step": 1'))
    assert states(place / "stopped")["metrics"] == FAILS
    assert "metrics.jsonl is damaged" in why(place / "stopped", "metrics")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "provenance.json does not record the attempt that wrote the checkpoint"),
        (lambda path: path.write_text("{}"), "provenance.json does not record the attempt that wrote the checkpoint"),
        (
            lambda path: spoil(path.parent, path.name, lambda made: made["attempts"][0].update(data_sha256="0")),
            "provenance.json does not record the attempt that wrote the checkpoint",
        ),
    ],
)
def test_a_checkpoint_without_the_attempt_that_wrote_it_is_found(place, change, message):
    change(place / "stopped" / "provenance.json")
    assert states(place / "stopped")["attempts"] == FAILS
    assert why(place / "stopped", "attempts").startswith(message)


def test_two_folders_of_one_run_in_a_comparison_are_found(place, capsys):
    shutil.copytree(place / "c" / ONE.identity, place / "c" / "mine")
    assert main(["verify", str(place / "c")]) == FOUND_WRONG
    out = capsys.readouterr().out
    assert f"WRONG  runs: mine and {ONE.identity}: folders of the same run" in out
    assert out.endswith("\n1 thing does not hold\n")


def test_an_edited_configuration_is_named_and_not_the_checkpoint(place):
    named = place / TINY.identity
    (place / "stopped").rename(named)
    path = named / "config.yaml"
    path.write_text(path.read_text().replace(f"epochs: {TINY.epochs}", f"epochs: {TINY.epochs + 1}"))
    assert re.search("config.yaml has changed since the run was begun: it is now that of yin", why(named, "checkpoint"))


def test_findings_have_no_names_of_errors(place):
    for name in ("table.json", "config.yaml"):
        (place / "c" / name).write_text("{}")
        (place / "c" / ONE.identity / "result.json").write_text("{")
        assert not re.search(r"[A-Za-z]+Error", str(verify(place)))


def test_a_linear_model_of_other_data_than_those_of_the_runs_is_found(place):
    spoil(place / "c", "provenance.json", lambda made: made.update(linear_data_sha256="0"))
    (finding,) = (each for each in verify(place / "c")["."] if each.what == "table")
    assert finding == ("table", FAILS, "table.json has a linear model of other data than those the runs learned from")


def tuned(folder, change=None, **more):
    """What is said of the trials of a tuning whose facts were changed."""
    folder = folder / "t"
    facts = write_tuning(folder, **more)
    if change is not None:
        change(facts)
        files.write_json(folder / "tuning.json", facts)
    return next((found.state, found.why) for found in verify(folder)["."] if found.what == "trials")


def of_second(facts):
    return next(study for name, study in facts["studies"].items() if name.endswith("/1"))


@pytest.mark.parametrize("earlier", [False, True])
def test_trials_of_several_searches_hold_and_those_of_earlier_versions(tmp_path, earlier):
    assert tuned(tmp_path, earlier=earlier) == (HOLDS, "tuning.json: the best trials follow from all trials")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: of_second(facts)["best"].update(validation=99.0), r"not the best of its trials: \S+/bptt/1$"),
        (lambda facts: of_second(facts)["best_so_far"].reverse(), r"not the best of its trials: \S+/bptt/1$"),
        (lambda facts: facts["budget"].update(trials=4), r"not every rule had 2 x 4 trials: \S+/bptt/0, "),
        (lambda facts: facts["budget"].update(searches=3), r"not every rule had 3 x 3 trials: \S+/bptt, "),
        (
            lambda facts: facts["studies"].pop(next(iter(facts["studies"]))),
            r"not every rule had 2 x 3 trials: \S+/bptt$",
        ),
    ],
)
def test_a_search_that_does_not_follow_from_its_trials_is_found(tmp_path, change, message):
    state, why = tuned(tmp_path, change)
    assert state == FAILS
    assert re.search(message, why)
