"""A folder of somebody else runs no code unless it is trusted; one's own resumes as it did."""

from __future__ import annotations

import json
import shlex
import shutil
import threading
from dataclasses import asdict, replace

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison
from sandbox.config.experiment import Experiment, MicroscopeConfig, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.runs import trust
from sandbox.runs.folder import load, read_config
from sandbox.runs.run import run
from sandbox.runs.trust import made_here, named_code, require_trust, sign
from tests.sandbox.report.folders import GRID
from tests.sandbox.runs.test_run import TINY

MINE = """
from pathlib import Path
from sandbox.tasks import YinYang

Path(__file__).with_name("ran").touch()


class Mine(YinYang):
    pass
"""


@pytest.fixture
def key(tmp_path, monkeypatch):
    monkeypatch.setenv(trust.VARIABLE, str(tmp_path / "data" / "key"))
    return tmp_path / "data" / "key"


@pytest.fixture
def begun(tmp_path, key):
    """A run of a task of one's own, stopped before its result."""
    (tmp_path / "mine.py").write_text(MINE)
    mine = replace(TINY, task=Choice(f"{tmp_path / 'mine.py'}:Mine", TINY.task.options), epochs=1)
    run(mine, tmp_path / "runs" / "r")
    (tmp_path / "runs" / "r" / "result.json").unlink()
    (tmp_path / "ran").unlink()
    return tmp_path / "runs" / "r"


def received(folder, key):
    """As if another user had made the folder."""
    key.write_bytes(bytes(32))
    return folder


def test_ones_own_folder_resumes_under_any_name(begun, tmp_path):
    moved = begun.rename(tmp_path / "runs" / "moved")
    assert main(["resume", str(moved)]) == OK
    assert (moved / "result.json").exists()


def test_a_received_folder_is_refused_with_its_names(begun, key, tmp_path, capsys):
    folder = received(begun, key).rename(tmp_path / "runs" / "of a friend")
    assert main(["resume", str(folder)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert f"{folder} was not made here by you, and its configuration names code, which would be run:" in said
    assert f"\n  {tmp_path / 'mine.py'}:Mine\n" in said
    assert f"if you trust it, run `sandbox resume {shlex.quote(str(folder))} --trust`" in said
    assert not (tmp_path / "ran").exists()
    assert not (folder / "result.json").exists()


def test_trust_runs_it_and_is_remembered(begun, key, tmp_path):
    folder = received(begun, key)
    assert main(["resume", str(folder), "--trust"]) == OK
    assert (folder / "result.json").exists()
    (folder / "result.json").unlink()
    assert main(["resume", str(folder)]) == OK


def test_an_edited_configuration_is_not_ones_own(begun, tmp_path):
    assert made_here(begun)
    path = begun / "config.yaml"
    path.write_text(path.read_text().replace("mine.py:Mine", "theirs.py:Mine"))
    assert not made_here(begun)
    assert main(["resume", str(begun)]) == BAD_INPUT


def test_a_received_folder_without_code_needs_no_trust(tmp_path, key):
    run(replace(TINY, epochs=1), tmp_path / "runs" / "r")
    (tmp_path / "runs" / "r" / "result.json").unlink()
    received(tmp_path, key)
    assert main(["resume", str(tmp_path / "runs" / "r")]) == OK


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("comparison", {"experiment": {"task": {"name": "os:system"}}, "rules": ["bptt"], "seeds": 1}),
        ("comparison", {"rules": ["os:system"]}),
        ("grid", {"name": "g", "comparisons": [{"rules": ["os:system"]}]}),
        ("tuning", {"grid": {"name": "g", "comparisons": [{"rules": ["os:system"]}]}, "trials": 1, "seeds": 1}),
        ("run", {"microscope": {"references": [{"name": "os:system", "options": {"command": "touch PWNED"}}]}}),
        ("run", {"rule": {"options": {"x": {"class_path": "os.system"}}}}),
    ],
)
def test_every_kind_of_folder_is_asked_about(tmp_path, key, monkeypatch, capsys, kind, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "config.yaml").write_text(json.dumps({"format": folders.FORMAT, "kind": kind, **content}))
    assert main(["resume", str(tmp_path / "f")]) == BAD_INPUT
    assert "names code, which would be run:\n  os" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["config.yaml"]


def test_every_kind_of_folder_is_signed(tmp_path, key):
    for kind in folders.KINDS:
        (tmp_path / kind).mkdir()
        folders.write_config(tmp_path / kind, kind, {"seed": 3})
        assert made_here(tmp_path / kind)


def test_a_kill_between_signature_and_configuration_loses_nothing(tmp_path, key, monkeypatch):
    """Whichever of the two files is written last, the folder counts as one's own."""
    (tmp_path / "f").mkdir()
    written = files.write_atomically

    class Killed(BaseException):
        pass

    def until(name):
        def write(path, content):
            if path.name == name:
                raise Killed
            written(path, content)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", until("config.yaml"))
        with pytest.raises(Killed):
            folders.write_config(tmp_path / "f", "run", {"seed": 3})
    assert not (tmp_path / "f" / "config.yaml").exists()
    folders.write_config(tmp_path / "f", "run", {"seed": 3})
    assert made_here(tmp_path / "f")
    sign(tmp_path / "f", "another text, before whose file the process is killed")
    assert made_here(tmp_path / "f")
    (tmp_path / "f" / "config.yaml").write_text("another text, before whose file the process is killed")
    assert made_here(tmp_path / "f")


def test_the_secret_is_made_once_and_private(key):
    found = []
    threads = [threading.Thread(target=lambda: found.append(trust.secret())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found[0]) == trust.LENGTH
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in key.parent.iterdir() if not path.name.endswith(".lock")) == ["key"]


@pytest.mark.parametrize("how", ["no folder", "damaged", "readable by others", "a folder"])
def test_without_a_secret_nothing_fails_and_nothing_is_ones_own(tmp_path, key, monkeypatch, how):
    key.parent.mkdir()
    if how == "no folder":
        key.parent.rmdir()
        key.parent.write_text("")
    elif how == "damaged":
        key.write_bytes(b"short")
        key.chmod(0o600)
    elif how == "readable by others":
        key.write_bytes(bytes(32))
        key.chmod(0o644)
    else:
        key.mkdir()
    (tmp_path / "f").mkdir()
    folders.write_config(tmp_path / "f", "run", {"seed": 3})
    assert read_config(tmp_path / "f") == {"seed": 3}
    assert not made_here(tmp_path / "f")
    assert not (tmp_path / "f" / trust.NAME).exists()


@pytest.mark.parametrize("text", ["", "nonsense\n", "\xff", "é" * 64 + "\n", "a" * 64 + "\n"])
def test_a_false_signature_is_none(tmp_path, key, text):
    (tmp_path / "f").mkdir()
    folders.write_config(tmp_path / "f", "run", {"seed": 3})
    (tmp_path / "f" / trust.NAME).write_text(text, encoding="latin-1" if text == "\xff" else "utf-8")
    assert not made_here(tmp_path / "f")


def test_a_signature_of_another_configuration_is_none(tmp_path, key):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        folders.write_config(tmp_path / name, "run", {"seed": seed})
    shutil.copy(tmp_path / "a" / trust.NAME, tmp_path / "b" / trust.NAME)
    assert not made_here(tmp_path / "b")


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"task": {"name": "yinyang"}, "device": "cuda:1", "rules": ["bptt", {"name": "spsa"}]}, []),
        ({"device": "os:system"}, ["os:system"]),
        ({"device": {"name": "a:1"}}, ["a:1"]),
        ({"task": {"name": "evil:1"}}, ["evil:1"]),
        ({"x": [{"y": ("a:b", "a:b")}], "c:d": None}, ["a:b", "c:d"]),
        ({"options": {"class_path": "a.B", "init_args": {"x": "c:D"}}}, ["a.B", "c:D"]),
        (None, []),
    ],
)
def test_names_of_code_are_found_wherever_they_stand(config, names):
    assert named_code(config) == names


def test_the_usual_configurations_name_no_code():
    whole = Experiment(network=NetworkConfig(model=Choice("perceptron")), microscope=MicroscopeConfig())
    for each in (whole, Comparison(rules=["bptt", RuleConfig("spsa")]), GRID):
        assert named_code(asdict(each)) == []


def test_trust_needs_a_flag_alone(begun, key):
    config = read_config(received(begun, key))
    with pytest.raises(trust.Untrusted):
        require_trust(begun, config, trust=False)
    require_trust(begun, config, trust=True)
    assert load(Experiment, begun).task.name.endswith("mine.py:Mine")  # reading it needs none
