"""Folders from elsewhere whose files are pipes or symbolic links: commands end, and change no file outside of them."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from dataclasses import asdict, replace

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FAILED, FOUND_WRONG, OK
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.grid import Grid
from sandbox.config.rule import RuleConfig
from sandbox.executors import claims, ray, slurm
from sandbox.microscope import Look, Row, read_rows, write_look
from sandbox.runs import checkpoint, index
from sandbox.runs import folder as folders
from sandbox.runs.arrays import keep
from sandbox.runs.growing import Growing
from sandbox.runs.run import run
from sandbox.tracking import MLflow, TensorBoard
from sandbox.tuning import storage
from sandbox.tuning.tuning import Tuning
from tests.sandbox.executors.toys import Steps
from tests.sandbox.runs.test_arrays import VALUES
from tests.sandbox.runs.test_run import TINY, Stop, _stop

ONE = replace(TINY, epochs=1)
OLD = "what the user has written\n"
ROW = Row(0, "readout", "backpropagation", 1)
PLAN = Comparison(ONE, ["bptt"], seeds=1)
OF_A_RUN = (
    *("config.yaml", "result.json", "metrics.jsonl", "microscope.jsonl", "seal.json", "test.json", "timing.json"),
    *("provenance.json", "checkpoint.pt", "model.json", "made-here.txt", "error.txt", "refused.txt", ".lock"),
    *(".claims/0000", ".claims/0000.beat", ".ticket.json", "mlflow.json"),
)
READERS = ("verify", "report", "table", "resume")
OF_A_COMPARISON = ("config.yaml", "table.json", "provenance.json", ".lock", ".shared.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    compare(PLAN, place / "c", jobs=1)
    with pytest.raises(Stop):
        run(TINY, place / "stopped", progress=_stop)
    return place


@pytest.fixture
def runs(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def precious(tmp_path):
    path = tmp_path / "precious"
    path.write_text(OLD)
    yield path
    assert path.read_text() == OLD


@pytest.fixture(autouse=True)
def soon():
    """End a test that waits for the writer of a pipe."""

    def late(number, frame):
        raise SystemExit("it waited")  # no Exception, which a reader of damaged files may take for damage

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def every_command(folder, root):
    """Give a folder to every command that reads one; each must answer within 20 s, with a code meant for the user."""
    for command in (["list", "runs", "--out", str(root)], *([name, str(folder)] for name in READERS)):
        signal.alarm(20)
        code = main(command)
        assert code in ((OK,) if command[0] == "list" else (OK, BAD_INPUT, FAILED, FOUND_WRONG))


@pytest.mark.parametrize("name", OF_A_RUN)
@pytest.mark.parametrize("which", ["c", "stopped"])
def test_pipes_in_a_run_keep_no_command_waiting(runs, name, which):
    folder = next((runs / "c").glob("*bptt*")) if which == "c" else runs / "stopped"
    pipe(folder / name)
    every_command(folder, runs)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "table.json")) for name in OF_A_COMPARISON]
)
def test_pipes_in_a_comparison_keep_no_command_waiting(runs, name):
    pipe(runs / "c" / name)
    every_command(runs / "c", runs)
    assert main(["compare", "--join", str(runs / "c")]) == BAD_INPUT


@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
def test_pipes_in_place_of_the_index_keep_no_command_waiting(runs, end, capsys):
    assert main(["index", "--rebuild", "--out", str(runs)]) == OK
    pipe(runs / f"index.sqlite{end}")
    every_command(runs / "stopped", runs)
    assert f"index.sqlite{end} is not a regular file" in capsys.readouterr().err


def test_pipes_in_place_of_tensors_keep_nobody_waiting(tmp_path):
    pipe(tmp_path / "checkpoint.pt")
    with pytest.raises(checkpoint.RunFailed, match=r"checkpoint.pt is not a regular file"):
        checkpoint.read_checkpoint(tmp_path / "checkpoint.pt")


def test_pipes_in_place_of_arrays_keep_nobody_waiting(tmp_path, capsys):
    keep(VALUES, tmp_path)
    (path,) = tmp_path.glob("arrays-*.pt")
    folders.write_config(tmp_path, "run", asdict(VALUES))
    pipe(path)
    every_command(tmp_path, tmp_path.parent)
    assert main(["resume", str(tmp_path)]) == BAD_INPUT
    assert f"{path} is not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["metrics.jsonl", "microscope.jsonl"])
def test_resume_empties_no_file_through_a_link(runs, precious, name, capsys):
    """A checkpoint may be forged: it counts no byte of a file, so that all of it would be dropped."""
    folder = runs / "stopped"
    state = checkpoint.read_checkpoint(folder / "checkpoint.pt")
    state["metrics" if name == "metrics.jsonl" else "looks"] = Growing(folder / "none").settle()
    checkpoint.write_checkpoint(folder / "checkpoint.pt", state)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(precious)
    assert main(["resume", str(folder)]) == BAD_INPUT
    assert f"{folder / name} is a symbolic link, and writing would change what it leads to; remove that link" in (
        capsys.readouterr().err
    )
    assert precious.read_text() == OLD


@pytest.mark.parametrize("step", ["write", "cut", "require"])
def test_what_grows_is_not_a_link(tmp_path, precious, step):
    (tmp_path / "metrics.jsonl").symlink_to(precious)
    grown = Growing(tmp_path / "metrics.jsonl")
    steps = {"write": lambda: grown.write("x"), "cut": grown.cut, "require": lambda: grown.require(grown.settle())}
    with pytest.raises(ValueError, match="is a symbolic link"):
        steps[step]()


def test_a_look_is_not_appended_through_a_link(tmp_path, precious):
    (tmp_path / "microscope.jsonl").symlink_to(precious)
    write_look(tmp_path / "other.jsonl", Look(0, (ROW,)))
    write_look(tmp_path / "other.jsonl", Look(1, (ROW,)))
    assert read_rows(tmp_path / "other.jsonl") == [ROW, ROW]
    with pytest.raises(ValueError, match="is a symbolic link"):
        write_look(tmp_path / "microscope.jsonl", Look(0, (ROW,)))


@pytest.mark.parametrize("name", OF_A_RUN)
def test_no_file_of_a_run_is_written_through_a_link(runs, precious, name):
    folder = runs / "stopped"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(precious)
    assert main(["resume", str(folder)]) in (OK, BAD_INPUT, FAILED)


@pytest.mark.parametrize("name", ["error.txt", "refused.txt"])
def test_why_a_run_ended_is_not_written_through_a_link(runs, precious, name):
    folder = runs / "stopped"
    (folder / "checkpoint.pt").write_bytes(b"damaged")

    def again(link):
        link.unlink(missing_ok=True)
        link.symlink_to(precious)

    unlink = type(folder).unlink
    again(folder / name)
    with pytest.MonkeyPatch.context() as patch:  # the link is made again after the old file is removed
        patch.setattr(type(folder), "unlink", lambda path, **k: None if path.name == name else unlink(path, **k))
        assert main(["resume", str(folder)]) == FAILED


def test_a_run_that_leads_out_of_its_comparison_is_refused(runs, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (runs / "c" / "table.json").unlink()
    place = next((runs / "c").glob("*bptt*"))
    shutil.rmtree(place)
    place.symlink_to(outside)
    assert main(["resume", str(runs / "c")]) == BAD_INPUT
    assert f"{place} leads out of {runs / 'c'}, to {outside}, by a symbolic link" in capsys.readouterr().err
    assert os.listdir(outside) == []


@pytest.mark.parametrize("inner", [False, True])
def test_a_comparison_that_leads_out_of_its_grid_is_refused(tmp_path, inner, capsys):
    outside, folder = tmp_path / "outside", tmp_path / "g"
    outside.mkdir()
    (folder / PLAN.identity).mkdir(parents=True)
    folders.write_config(folder, "grid", asdict(Grid([PLAN])))
    if inner:
        run_of_it = next(iter(PLAN.experiments().values()))[0].identity
        (folder / PLAN.identity / run_of_it).symlink_to(outside)
    else:
        (folder / PLAN.identity).rmdir()
        (folder / PLAN.identity).symlink_to(outside)
    assert main(["resume", str(folder)]) == BAD_INPUT
    assert f"leads out of {folder}" in capsys.readouterr().err
    assert os.listdir(outside) == []


@pytest.mark.parametrize("name", ["studies", "tuning.sqlite"])
def test_what_leads_out_of_a_tuning_is_refused(tmp_path, precious, name, capsys):
    pytest.importorskip("optuna")
    outside, folder = tmp_path / "outside", tmp_path / "t"
    outside.mkdir()
    folder.mkdir()
    plan = Tuning(Grid([Comparison(ONE, [RuleConfig("spsa", {"draws": 1})])]), trials=1)
    folders.write_config(folder, "tuning", asdict(plan))
    precious.write_bytes(b"")  # SQLite makes a database of an empty file
    (folder / name).symlink_to(outside if name == "studies" else precious)
    assert main(["resume", str(folder)]) == BAD_INPUT
    assert "symbolic link" in capsys.readouterr().err
    assert os.listdir(outside) == []
    assert precious.read_bytes() == b""
    precious.write_text(OLD)


def test_trials_are_not_written_through_a_link(tmp_path, precious):
    pytest.importorskip("optuna")
    (tmp_path / "tuning.journal").symlink_to(precious)
    with pytest.raises(ValueError, match="is a symbolic link"):
        storage.opened("journal", tmp_path)


def test_a_folder_that_is_a_link_itself_is_the_users_choice(runs, tmp_path):
    (tmp_path / "run").symlink_to(runs / "stopped")
    (tmp_path / "c").symlink_to(runs / "c")
    (runs / "c" / "table.json").unlink()
    assert main(["resume", str(tmp_path / "run")]) == OK
    assert main(["resume", str(tmp_path / "c")]) == OK
    assert (runs / "c" / "table.json").exists()


def test_the_index_is_not_written_through_a_link(runs, tmp_path, capsys):
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    before = other.read_bytes()
    (runs / index.NAME).unlink(missing_ok=True)
    (runs / index.NAME).symlink_to(other)
    assert main(["resume", str(runs / "stopped")]) == OK
    assert "index.sqlite is a symbolic link" in capsys.readouterr().err
    assert other.read_bytes() == before


def test_claims_stay_in_the_folder_of_their_job(tmp_path, precious):
    outside, job = tmp_path / "outside", tmp_path / "job"
    outside.mkdir()
    job.mkdir()
    (job / ".claims").symlink_to(outside)
    with pytest.raises(ValueError, match="claims leads out of"):
        claims.claim(job, None)
    assert os.listdir(outside) == []
    (job / ".claims").unlink()
    held = claims.claim(job, None)
    (job / ".claims" / "0000.beat.draft").symlink_to(precious)
    with held.kept(60.0):
        assert claims.pulse(job, 0) == claims.Pulse(0, 0, 0)


def test_what_ray_prints_is_not_appended_through_a_link(tmp_path, precious):
    (tmp_path / "ray.log").symlink_to(precious)
    with pytest.raises(ValueError, match="ray.log is a symbolic link"):
        ray._task(Steps(tmp_path), "ticket", tmp_path, {})


@pytest.mark.parametrize("whole", [True, False])
def test_slurm_writes_nothing_through_a_link(tmp_path, precious, monkeypatch, whole):
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "require_commands", lambda: None)
    logs = tmp_path / "c" / "slurm"
    logs.parent.mkdir()
    if whole:
        logs.symlink_to(tmp_path)
    else:
        logs.mkdir()
        (logs / "7_0_log.out").symlink_to(precious)
    with pytest.raises(ValueError, match="slurm.* leads out of .* by a symbolic link"):
        slurm.Slurm(1).submit([], tmp_path / "c")


def test_event_files_stay_in_their_folder(tmp_path):
    pytest.importorskip("tensorboard")
    for name in ("outside", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "tensorboard").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="leads out of"):
        TensorBoard().begin(tmp_path / "run", {}, -1)
    assert os.listdir(tmp_path / "outside") == []


def test_event_files_are_no_pipes(tmp_path):
    pytest.importorskip("tensorboard")
    pipe(tmp_path / "tensorboard" / "events.out.tfevents.0")
    with pytest.raises(ValueError, match="is not a regular file"):
        TensorBoard().begin(tmp_path, {}, -1)


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db-journal", ".mlflow.db.lock"])
def test_the_store_of_mlflow_is_no_link(tmp_path, precious, monkeypatch, name):
    pytest.importorskip("mlflow")
    (tmp_path / name).symlink_to(precious)
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=f"{name} is a symbolic link"):
        MLflow().begin(tmp_path / "run", {}, -1)
