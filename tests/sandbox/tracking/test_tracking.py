"""What TensorBoard and MLflow hold of a run is what its book holds, whatever happened to the run in between."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.grid import Grid, run_grid
from sandbox.config.experiment import NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine.files import read_json
from sandbox.runs.book import RunFailed
from sandbox.runs.run import run
from sandbox.tracking import TRACKERS
from sandbox.tracking.together import Tracked, numbers, series
from tests.conftest import ROOT
from tests.sandbox.runs.test_run import TINY

DEAF = replace(
    TINY, encoder=Choice("constant", {"steps": 5, "gain": 1e-9}), network=NetworkConfig(hidden=[10], rate=0.001)
)
WILD = replace(TINY, rule=RuleConfig("bptt", {"lr": 3e37}), epochs=20)
HERE = "tests.sandbox.tracking.test_tracking"
STOPS = [
    (5, False),
    (8, True),
    *(
        pytest.param(step, killed, marks=pytest.mark.slow)
        for step, killed in [(1, True), (3, False), (4, True), (12, False), (12, True)]
    ),
]
SLOW_MLFLOW = ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)]


class Stop(BaseException):
    pass


def stop_at(step, error=Stop):
    def progress(done, total):
        if done == step:
            raise error

    return progress


class Notes:
    """A user-defined tracker that records all calls."""

    told: list = []  # noqa: RUF012
    held = -1

    def begin(self, folder, parameters, kept):
        self.told.append(("begin", kept))
        return self.held

    def log(self, step, values, health):
        self.told.append((step, values["epoch"]))

    def end(self, status, values):
        self.told.append((status, values.get("result/test/accuracy")))


@pytest.fixture
def notes(monkeypatch):
    told = []
    monkeypatch.setattr(Notes, "told", told)
    return told


class Broken(Notes):
    """A tracker that fails at one of its verbs."""

    at = "begin"

    def _fail(self, verb):
        if self.at == verb:
            raise OSError(f"no space left to {verb}")
        self.told.append(verb)

    def begin(self, folder, parameters, kept):
        self._fail("begin")
        return -1

    def log(self, step, values, health):
        self._fail("log")

    def end(self, status, values):
        self._fail("end")


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def in_tensorboard(folder):
    found = events(folder)
    return {
        tag: [(point.step, np.float32(point.value)) for point in found.Scalars(tag)] for tag in found.Tags()["scalars"]
    }


def texts(folder, name):
    return [point.tensor_proto.string_val[0].decode() for point in events(folder).Tensors(f"{name}/text_summary")]


def store(root):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def tracked_run(folder, root=None):
    return store(root or folder.parent).get_run(read_json(folder / "mlflow.json")["run"])


def in_mlflow(folder, root=None):
    client, found = store(root or folder.parent), tracked_run(folder, root)
    histories = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    return {
        name: [(point.step, np.float64(point.value)) for point in sorted(history, key=lambda point: point.step)]
        for name, history in histories.items()
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A store of MLflow, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("tables")
    run(replace(TINY, epochs=1), folder / "r", trackers=["mlflow"])
    return folder / "mlflow.db"


@pytest.fixture
def place(name, tmp_path, request):
    """Where a run goes that is tracked by `name`."""
    if name == "mlflow":
        shutil.copy(request.getfixturevalue("tables"), tmp_path / "mlflow.db")
    return tmp_path / "r"


READ = {"tensorboard": (in_tensorboard, np.float32), "mlflow": (in_mlflow, np.float64)}


def in_the_book(folder, precision):
    curves = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        for name, value in series(json.loads(line)).items():
            curves.setdefault(name, []).append((json.loads(line)["step"], precision(value)))
    return curves


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without trackers."""
    folder = tmp_path_factory.mktemp("plain") / "r"
    run(TINY, folder)
    return folder


@pytest.mark.parametrize("name", SLOW_MLFLOW)
def test_it_holds_what_the_book_and_the_result_hold(name, tmp_path):
    result = run(TINY, tmp_path / "r", trackers=[name])
    read, precision = READ[name]
    found = read(tmp_path / "r")
    assert {tag: points for tag, points in found.items() if not tag.startswith("result/")} == in_the_book(
        tmp_path / "r", precision
    )
    assert [step for step, _ in found["train/loss"]] == [4, 8, 12]
    assert [step for step, _ in found["cost/synaptic_operations"]] == [0, 4, 8, 12]
    last = {tag.removeprefix("result/"): points[0][1] for tag, points in found.items() if tag.startswith("result/")}
    assert last == {path: precision(value) for path, value in numbers(result)}
    assert last["test/accuracy"] == precision(result["test"]["accuracy"])


@pytest.mark.parametrize("name", SLOW_MLFLOW)
@pytest.mark.parametrize(("step", "killed"), STOPS)
def test_a_stopped_run_is_tracked_as_one_that_was_not(name, step, killed, place, monkeypatch):
    if killed:
        monkeypatch.setattr(Tracked, "__exit__", lambda *error: None)
    with pytest.raises(Stop):
        run(TINY, place, trackers=[name], progress=stop_at(step))
    run(TINY, place, trackers=[name])
    require_whole(name, place)


def require_whole(name, folder):
    """Every point of the book once, every number of the result once."""
    read, precision = READ[name]
    found, book = read(folder), in_the_book(folder, precision)
    assert {tag: points for tag, points in found.items() if tag in book} == book
    assert {len(points) for tag, points in found.items() if tag not in book} == {1}
    assert len(found) == len(book) + len(list(numbers(read_json(folder / "result.json"))))


@pytest.mark.parametrize("name", SLOW_MLFLOW)
@pytest.mark.parametrize("verb", ["log", "end"])
def test_what_was_not_told_before_a_kill_is_told_after_it(name, verb, place, monkeypatch):
    """The line is in the book and its checkpoint is written, or the result is reported and not written."""
    calls = []

    def cut(self, *given):
        calls.append(given)
        if verb == "end":
            told(self, *given)
        if verb == "end" or len(calls) == 3:
            raise Stop
        told(self, *given)

    told = getattr(Tracked, verb)
    with monkeypatch.context() as patch:
        patch.setattr(Tracked, "__exit__", lambda *error: None)
        patch.setattr(Tracked, verb, cut)
        with pytest.raises(Stop):
            run(TINY, place, trackers=[name])
    run(TINY, place, trackers=[name])
    require_whole(name, place)


@pytest.mark.parametrize("name", SLOW_MLFLOW)
def test_a_run_is_tracked_whole_from_where_trackers_came_late(name, place):
    with pytest.raises(Stop):
        run(TINY, place, progress=stop_at(9))
    run(TINY, place, trackers=[name])
    require_whole(name, place)


def test_a_record_that_was_torn_is_told_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Stop):  # noqa: PT012
        patch.setattr(Tracked, "__exit__", lambda *error: None)
        run(TINY, tmp_path / "r", trackers=["tensorboard"], progress=stop_at(9))
    (events_file,) = (tmp_path / "r" / "tensorboard").iterdir()
    with open(events_file, "r+b") as file:
        file.truncate(events_file.stat().st_size - 7)
    run(TINY, tmp_path / "r", trackers=["tensorboard"])
    require_whole("tensorboard", tmp_path / "r")


@pytest.mark.parametrize("name", SLOW_MLFLOW)
@pytest.mark.parametrize("older", [0, 5])
def test_a_run_that_is_put_back_is_tracked_from_there(name, older, place):
    """To its beginning, or to an older checkpoint that somebody kept: points after it do not count any more."""
    checkpoint = place / "checkpoint.pt"
    if older:
        with pytest.raises(Stop):
            run(TINY, place, trackers=[name], progress=stop_at(older))
        shutil.copy(checkpoint, place.parent)
    with pytest.raises(Stop):
        run(TINY, place, trackers=[name], progress=stop_at(9))
    first = tracked_run(place) if name == "mlflow" else None
    checkpoint.unlink()
    if older:
        shutil.copy(place.parent / "checkpoint.pt", checkpoint)
    run(TINY, place, trackers=[name])
    require_whole(name, place)
    if first is not None:
        assert store(place.parent).get_run(first.info.run_id).info.lifecycle_stage == "deleted"


def test_a_finished_run_tells_nothing(tmp_path, notes):
    run(TINY, tmp_path / "r", trackers=["tensorboard", Notes()])
    before = {path: path.read_bytes() for path in (tmp_path / "r" / "tensorboard").iterdir()}
    assert notes[0] == ("begin", -1)
    assert notes[-1][0] == "finished"
    notes.clear()
    run(TINY, tmp_path / "r", trackers=["tensorboard", Notes()])
    assert notes == []
    assert {path: path.read_bytes() for path in (tmp_path / "r" / "tensorboard").iterdir()} == before


def test_a_tracker_is_told_from_where_it_holds(tmp_path, notes, monkeypatch):
    with pytest.raises(Stop):
        run(TINY, tmp_path / "r", trackers=[f"{HERE}:Notes"], progress=stop_at(9))
    assert notes == [("begin", -1), (0, 0), (4, 1), (8, 2), ("interrupted", None)]
    notes.clear()
    monkeypatch.setattr(Notes, "held", 4)
    result = run(TINY, tmp_path / "r", trackers=[f"{HERE}:Notes"])
    assert notes == [("begin", 8), (8, 2), (12, 3), ("finished", result["test"]["accuracy"])]


def test_the_seconds_of_learning_are_without_those_of_tracking(tmp_path):
    class Slow(Notes):
        def begin(self, folder, parameters, kept):
            time.sleep(0.3)
            return -1

        def log(self, step, values, health):
            time.sleep(0.1)

        def end(self, status, values):
            """At once."""

    began = time.perf_counter()
    run(TINY, tmp_path / "r", trackers=[Slow()])
    assert time.perf_counter() - began - read_json(tmp_path / "r" / "timing.json")["seconds"] > 0.7


def test_tracking_is_no_part_of_what_a_run_is(tmp_path, plain):
    run(TINY, tmp_path / "r", trackers=["tensorboard"])
    for name in ("config.yaml", "metrics.jsonl", "result.json", "test.json"):
        assert (tmp_path / "r" / name).read_bytes() == (plain / name).read_bytes(), name


@pytest.mark.parametrize("verb", ["begin", "log", "end"])
def test_a_tracker_that_fails_stops_no_run_and_is_named_once(verb, tmp_path, plain, notes, capsys, monkeypatch):
    monkeypatch.setattr(Broken, "at", verb)
    run(TINY, tmp_path / "r", trackers=[Broken(), "tensorboard"])
    said = f"Broken stopped tracking r (OSError: no space left to {verb}); the run continues"
    assert capsys.readouterr().err.count(said) == 1
    assert (tmp_path / "r" / "result.json").read_bytes() == (plain / "result.json").read_bytes()
    assert notes == {"begin": [], "log": ["begin"], "end": ["begin", *["log"] * 4]}[verb]
    require_whole("tensorboard", tmp_path / "r")


@pytest.mark.parametrize(
    ("name", "missing"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow"), ("mlflow", "sqlalchemy")]
)
def test_a_missing_library_is_said_before_anything_runs(name, missing, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    wanted = rf"needs {missing}, which is not installed: pip install 'learning-rule-sandbox\[trackers\]'"
    comparison = Comparison(TINY, ["bptt"], seeds=1)
    for ask in (
        lambda: run(TINY, tmp_path / "r", trackers=[name]),
        lambda: compare(comparison, tmp_path / "r", trackers=[name]),
        lambda: run_grid(Grid([comparison]), tmp_path / "r", trackers=[name]),
    ):
        with pytest.raises(ImportError, match=wanted):
            ask()
    assert main(["run", "--track", name, "--out", str(tmp_path)]) == BAD_INPUT
    assert "pip install 'learning-rule-sandbox[trackers]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_misspelt_tracker_is_answered(command, tmp_path, capsys):
    assert main([command, "--track", "[tensorbord]", "--out", str(tmp_path)]) == BAD_INPUT
    assert "unknown tracker 'tensorbord'; nearest: 'tensorboard'" in capsys.readouterr().err
    assert list(tmp_path.glob("*")) == []


def test_the_command_line_tracks_and_goes_on_tracking(tmp_path, capsys):
    words = ["--track+", "tensorboard", "--track+", f"{HERE}:Notes", "--json"]
    tiny = ["--task.options={train: 100, validation: 50, test: 50}", "--network.hidden=[8]", "--epochs=2"]
    assert main(["run", *tiny, "--out", str(tmp_path), *words]) == OK
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert json.loads(capsys.readouterr().out)["folder"] == str(folder)
    for name in ("checkpoint.pt", "result.json"):
        (folder / name).unlink()
    assert main(["resume", str(folder), "--track", "tensorboard"]) == OK
    require_whole("tensorboard", folder)
    assert len(list((folder / "tensorboard").iterdir())) == 2


def test_trackers_are_listed(capsys):
    assert main(["list", "trackers"]) == OK
    said = capsys.readouterr().out
    assert all(f"  {name}" in said and member.__doc__.splitlines()[0] in said for name, member in TRACKERS.items())


@pytest.mark.parametrize("name", SLOW_MLFLOW)
def test_findings_about_health_are_told(name, place):
    result = run(DEAF, place, trackers=[name])
    assert "layers.0.cells is silent" in result["health"][0]
    if name == "mlflow":
        assert tracked_run(place).data.tags["health"].splitlines() == result["health"]
    else:
        assert texts(place, "health")[-1].split("\n\n") == result["health"]


@pytest.mark.parametrize("name", SLOW_MLFLOW)
def test_a_failed_run_is_told_to_have_failed(name, place):
    with pytest.raises(RunFailed):
        run(WILD, place, trackers=[name])
    if name == "mlflow":
        assert tracked_run(place).info.status == "FAILED"
    else:
        assert texts(place, "status") == ["failed"]


def test_the_configuration_is_in_tensorboard_s_table(tmp_path):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run(TINY, tmp_path / "r", trackers=["tensorboard"])
    kept = events(tmp_path / "r").SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = HParamsPluginData.FromString(kept).session_start_info.hparams
    assert found["task.options.train"].number_value == 200
    assert found["rule.name"].string_value == "bptt"
    assert found["network.hidden"].string_value == "[10]"


@pytest.mark.slow
def test_two_processes_share_one_store_of_mlflow(tmp_path):
    comparison = Comparison(replace(TINY, epochs=2), ["bptt"], seeds=2)
    place = tmp_path / comparison.identity
    compare(comparison, place, jobs=2, trackers=["mlflow", "tensorboard"])
    client = store(tmp_path)
    experiment = client.get_experiment_by_name(comparison.identity)
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    places = sorted(path.parent for path in place.glob("*/result.json"))
    assert sorted(runs) == [path.name for path in places]
    assert len(runs) == 4
    for path in places:
        found = runs[path.name]
        assert found.info.status == "FINISHED"
        assert f"-s{found.data.params['seed']}-" in path.name
        assert found.data.metrics["result/test/accuracy"] == read_json(path / "result.json")["test"]["accuracy"]
        assert {t: p for t, p in in_mlflow(path, tmp_path).items() if "result/" not in t} == in_the_book(
            path, np.float64
        )
        require_whole("tensorboard", path)


@pytest.mark.slow
def test_a_server_s_store_is_used_where_the_environment_says_so(tmp_path, monkeypatch):
    (tmp_path / "server").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}")
    run(TINY, tmp_path / "runs" / "r", trackers=["mlflow"])
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    assert tracked_run(tmp_path / "runs" / "r", tmp_path / "server").info.status == "FINISHED"


@pytest.mark.slow
def test_a_tracked_run_that_somebody_deleted_is_made_again(tmp_path):
    with pytest.raises(Stop):
        run(TINY, tmp_path / "r", trackers=["mlflow"], progress=stop_at(9))
    assert tracked_run(tmp_path / "r").info.status == "KILLED"
    store(tmp_path).delete_run(tracked_run(tmp_path / "r").info.run_id)
    run(TINY, tmp_path / "r", trackers=["mlflow"])
    require_whole("mlflow", tmp_path / "r")


@pytest.mark.slow
def test_a_run_without_trackers_imports_no_library_of_theirs(tmp_path):
    code = (
        "import sys; from pathlib import Path; from sandbox.runs.run import run; from tests.sandbox.tracking.test_tracking import TINY\n"
        f"run(TINY, Path({str(tmp_path / 'r')!r}))\n"
        "print(*{'mlflow', 'tensorboard', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
