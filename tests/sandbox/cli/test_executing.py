"""`--executor`, `compare --join`, and what is said where they do not fit."""

from __future__ import annotations

import json

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FAILED, OK
from sandbox.comparisons.grid import executor_of, read_grid
from sandbox.executors import claims, session
from sandbox.machine.files import read_json
from tests.sandbox.executors.conformance import hashes
from tests.sandbox.executors.hosts import on_host

TINY = [
    "--task.options={train: 60, validation: 20, test: 20}",
    "--encoder.options={steps: 3}",
    *("--network.hidden=5", "--epochs=1", "--batch_size=20", "--seeds=2", "--rules=readout_only"),
]

PLAN = """\
seeds: 2
rules: [{name: bptt, options: {lr: 0.04}}, readout_only]
experiment:
  epochs: 4
  encoder: {name: constant, options: {steps: 3}}
  task: {name: yinyang, options: {train: 600, validation: 50, test: 50}}
"""  # one rule above chance, so that a grid can be ranked


def said(capsys, *words):
    code = main([*words])
    out, errors = capsys.readouterr()
    return code, out, errors


def only(out):
    (folder,) = out.glob("compare-*")
    return folder


@pytest.mark.slow
def test_an_executor_by_name_and_with_options_changes_no_bit(tmp_path, capsys):
    assert said(capsys, "compare", *TINY, "--out", str(tmp_path / "a"))[0] == OK
    assert (
        said(
            capsys, "compare", *TINY, "--executor=shared", "--executor-options={lease: 5}", "--out", str(tmp_path / "b")
        )[0]
        == OK
    )
    assert hashes(only(tmp_path / "a")) == hashes(only(tmp_path / "b"))
    assert session.find(only(tmp_path / "b")).lease == 5.0
    assert not (only(tmp_path / "a") / session.NAME).exists()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["executor: shared", "executor: {name: shared, options: {lease: 7}}"])
def test_a_file_names_the_executor(tmp_path, capsys, text):
    path = tmp_path / "c.yaml"
    path.write_text(f"{text}\n{PLAN}")
    assert executor_of(str(path)) is not None
    assert len(read_grid(str(path)).comparisons) == 1
    for words in (["--config", str(path)], ["--preset", str(path)]):
        out = tmp_path / words[0].strip("-")
        assert said(capsys, "compare", *words, "--out", str(out))[0] == OK
        (found,) = out.rglob(session.NAME)
        assert read_json(found)["lease"] == (7.0 if "lease" in text else 30.0)
    out = tmp_path / "local"
    assert said(capsys, "compare", "--config", str(path), "--executor", "local", "--out", str(out))[0] == OK
    assert not list(out.rglob(session.NAME))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--executor", "shraed"], "unknown executor 'shraed'; nearest: 'shared'; valid: local, shared"),
        (["--executor", "{nme: shared}"], "unknown key of executor 'nme'; nearest: 'name'; valid: name, options"),
        (["--executor", "{name: 3}"], "executor: {'name': 3}: give a name, or a name and options"),
        (["--executor", "shared", "--executor-options", "{lease: -1}"], "lease=-1.0: give a time in seconds above 0"),
        (["--executor", "shared", "--executor-options", "{lase: 1}"], "unknown option of executor 'shared' 'lase'"),
        (["--executor-options", "{lease: 1}"], "unknown option of executor 'local' 'lease'; there are none"),
        (["--executor", "shared", "--executor-options", '{lease: "30"}'], "lease='30': give a finite number; this is"),
        (["--executor-options", "3"], "--executor-options=3: give names with their values"),
        (["--rules", "bptx"], "unknown rule 'bptx'"),
        (["--track", "tensorbord"], "unknown tracker 'tensorbord'"),
        (["--executor", "shared", "--jobs", "0"], "jobs=0: give the number of processes, at least 1"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(tmp_path, capsys, words, message):
    code, _, errors = said(capsys, "compare", *TINY, *words, "--out", str(tmp_path / "r"))
    assert code == BAD_INPUT
    assert message in errors
    assert "folder: " not in errors
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    assert main(["compare", *TINY, "--executor=shared", "--json", "--out", str(out)]) == OK
    return only(out)


def test_joining_what_is_finished(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    code, out, _ = said(capsys, "compare", "--join", str(finished), "--json")
    assert code == OK
    assert json.loads(out) == {"folder": str(finished), "jobs": 2, "here": 0, "failed": {}}
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    code, out, errors = said(capsys, "compare", "--join", str(finished))
    assert (code, errors) == (OK, f"folder: {finished}\n")
    assert out == f"2 jobs are done, 0 of them here; {finished / 'table.json'} was there before\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--seeds", "3"], "the settings of a comparison"),
        (["--preset", "demo"], "--preset"),
        (["--out", "x"], "--out"),
        (["--skip-unfit"], "--skip-unfit"),
        (["--executor", "local"], "--executor"),
    ],
)
def test_joining_takes_everything_from_the_folder(finished, capsys, words, named):
    code, _, errors = said(capsys, "compare", "--join", str(finished), *words)
    assert code == BAD_INPUT
    assert f"--join takes everything from the folder; leave out {named}: sandbox compare --join" in errors


def test_joining_what_cannot_be_joined(tmp_path, capsys):
    code, _, errors = said(capsys, "compare", "--join", str(tmp_path / "gone"))
    assert code == BAD_INPUT
    assert "gone is not a folder on " in errors
    assert said(capsys, "compare", *TINY, "--out", str(tmp_path / "r"))[0] == OK
    code, _, errors = said(capsys, "compare", "--join", str(only(tmp_path / "r")))
    assert code == BAD_INPUT
    assert "is not shared: begin it with `sandbox compare --executor shared" in errors
    code, _, errors = said(capsys, "compare", "--join", str(only(tmp_path / "r")), "--jobs", "0")
    assert code == BAD_INPUT
    assert "jobs=0" in errors


def test_a_full_disk_has_its_own_exit_code_and_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def full(draft, path):
        raise OSError(28, "No space left on device")

    words = ["compare", *TINY, "--executor=shared", "--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(claims.os, "link", full)
        code, _, errors = said(capsys, *words)
        assert code == FAILED
        assert "No space left on device; make room" in errors
        assert f"continue: sandbox resume {only(tmp_path)}" in errors
        code, _, errors = said(capsys, "compare", "--join", str(only(tmp_path)))
        assert code == FAILED
        assert f"continue: sandbox compare --join {only(tmp_path)}" in errors
    assert said(capsys, *words)[0] == OK


def test_one_run_is_resumed_by_an_executor(tmp_path, capsys):
    words = ["--task.options={train: 60, validation: 20, test: 20}", "--encoder.options={steps: 3}", "--epochs=1"]
    assert said(capsys, "run", *words, "--out", str(tmp_path))[0] == OK
    (folder,) = tmp_path.glob("yinyang-*")
    want = (folder / "result.json").read_bytes()
    (folder / "result.json").unlink()
    (folder / "checkpoint.pt").unlink()
    code, out, _ = said(capsys, "resume", str(folder), "--executor", "shared", "--json")
    assert code == OK
    assert json.loads(out)["steps"] == json.loads(want)["steps"]
    assert (folder / "result.json").read_bytes() == want


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["comparison", "grid"])
def test_two_hosts_make_what_one_makes(tmp_path, capsys, kind):
    """Each has a host name, a network, a temporary folder and a home of its own."""
    path, name = tmp_path / "plan.yaml", {"comparison": "compare", "grid": "plan"}[kind]
    indented = PLAN.replace("\n", "\n  ").rstrip()
    path.write_text(PLAN if kind == "comparison" else f"comparisons:\n- {indented}\n")
    words = ["compare", "--config" if kind == "comparison" else "--preset", str(path), "--jobs", "2"]
    assert said(capsys, *words, "--out", str(tmp_path / "quiet"))[0] == OK
    anna = on_host("anna", tmp_path / "anna", *words, "--executor", "shared", "--out", str(tmp_path / "both"))
    found = []
    while not found and anna.poll() is None:
        found = list((tmp_path / "both").glob(f"*/{session.NAME}"))
    bert = on_host("bert", tmp_path / "bert", "compare", "--join", str(found[0].parent), "--jobs", "2")
    ends = [process.communicate(timeout=120) for process in (bert, anna)]
    assert [bert.returncode, anna.returncode] == [0, 0], ends
    joined = json.loads(ends[0][0])
    assert (joined["jobs"], joined["failed"]) == (4, {})
    quiet, both = (next((tmp_path / out).glob(f"{name}-*")) for out in ("quiet", "both"))
    places = [folder.parent.relative_to(quiet) for folder in quiet.rglob("table.json")]
    assert places
    for place in places:
        assert hashes(quiet / place) == hashes(both / place)
    assert not (tmp_path / "bert" / "runs").exists()
