"""Reading runs nothing: whatever a folder names, wherever a name can stand, nothing of it is imported, built or called."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
import yaml

from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.gather import gather
from sandbox.config.experiment import Experiment, MicroscopeConfig, NetworkConfig
from sandbox.config.reading import from_dict
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig, Search
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.runs.run import run
from tests.conftest import ROOT
from tests.sandbox.report.folders import GRID, write_grid, write_tuning
from tests.sandbox.report.test_report import write_comparison, write_run
from tests.sandbox.runs.test_run import TINY

OUTPUTS = (".html", ".md", ".csv", ".png")  # of a report
WHOLE = Experiment(
    augment=Choice("noise"),
    network=NetworkConfig(),
    rule=RuleConfig(
        "bptt",
        objective=Choice("mse"),
        credit=Choice("bptt"),
        plasticity=Choice("adam"),
        regularisers=[Choice("rate_l1")],
        search=Search({"lr": 0.1}, {"lr": [0.01, 1.0]}, ["lr"]),
        label="mine",
    ),
    microscope=MicroscopeConfig(references=["bptt", Choice("differences")]),
    schedule=Choice("cosine"),
)
COMPARED = {("rule", "readout"), ("rule", "searched")}  # what only rules of a comparison have
MODEL = replace(WHOLE, network=NetworkConfig(model=Choice("perceptron")))


def bad_names(place):
    """Names of code: a module, a file, a class path, something to call, a tag of YAML."""
    return (
        "canary:Name",
        "package.canary:Name",
        f"{place}/canary.py:Name",
        "canary.Name",
        "os:system",
        {"class_path": "canary.Name"},
        {"class_path": "subprocess.Popen", "init_args": {"args": f"touch {place}/proof", "shell": True}},
    )


def spots(content, path=()):
    """The path of every word, and of every set of options, in a configuration."""
    if isinstance(content, dict):
        if path and path[-1] == "options":
            yield (*path, "option")
        for key, part in content.items():
            yield from spots(part, (*path, key))
    elif isinstance(content, list):
        for number, part in enumerate(content):
            yield from spots(part, (*path, number))
    elif isinstance(content, str):
        yield path


def put(content, path, value):
    found = copy.deepcopy(content)
    around = found
    for key in path[:-1]:
        around = around[key]
    around[path[-1]] = value
    return found


def holders(kind, path=()):
    """The path of every field of a configuration that holds a choice, a rule, or such in a list."""
    for field in fields(kind):
        hint = get_type_hints(kind)[field.name]
        inner = [hint, *get_args(hint), *(each for part in get_args(hint) for each in get_args(part))]
        for each in inner:
            if isinstance(each, type) and is_dataclass(each):
                yield (*path, field.name)
                yield from holders(each, (*path, field.name))


def test_every_place_of_a_name_is_tried():
    """A new field of a configuration has to stand in WHOLE."""
    tried = {
        tuple(part for part in path if not isinstance(part, int))
        for each in (WHOLE, MODEL)
        for path in spots(asdict(each))
    }
    for path in holders(Experiment):
        if path[0] not in ("health", "parent") and path not in COMPARED:  # numbers, and words from a list
            assert any(each[: len(path)] == path for each in tried), path


@pytest.fixture
def hostile(tmp_path):
    """A folder with modules that leave a proof when they are imported."""
    place = tmp_path / "hostile"
    (place / "package").mkdir(parents=True)
    text = f"open({str(place / 'proof')!r}, 'w').close()\nclass Name:\n    pass\n"
    for path in (place / "canary.py", place / "package" / "__init__.py", place / "package" / "canary.py"):
        path.write_text(text)
    return place


def save(folder, kind, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"format": folders.FORMAT, "kind": kind, **content}))
    (folder / ".lock").touch()


def write_all(place, names):
    """Folders of every kind in which a name stands in every place, one at a time."""
    for number, name in enumerate(names):
        for kind, whole in (("layers", WHOLE), ("model", MODEL)):
            for path in spots(asdict(whole)):
                folder = place / f"{kind}-{number}-{'.'.join(map(str, path))}" / "r"
                write_run(folder, TINY, 0.9)
                save(folder, "run", put(asdict(whole), path, name))
        spsa = RuleConfig("spsa", regularisers=[Choice("rate_l1")], readout=Choice("leaky_integrator"))
        comparison = asdict(Comparison(WHOLE, ["bptt", spsa], seeds=1))
        for path in spots(comparison):
            folder = place / f"comparison-{number}-{'.'.join(map(str, path))}"
            write_comparison(folder, Comparison(Experiment(epochs=1), [], seeds=1))
            save(folder, "comparison", put(comparison, path, name))
        grid = put(asdict(GRID), ("comparisons", 0, "experiment", "task", "name"), name)
        write_grid(place / f"grid-{number}")
        save(place / f"grid-{number}", "grid", grid)
        write_tuning(place / f"tuning-{number}")
        save(place / f"tuning-{number}", "tuning", {"grid": grid, "trials": 3, "seeds": 1})


def write_whole(place, name):
    """A comparison that its report shows whole, with a name of code in every place that may have one."""
    bad = Choice(name, {"command": f"touch {place}/proof"})
    watched = MicroscopeConfig(references=[bad, name])
    experiment = replace(WHOLE, task=bad, encoder=bad, augment=bad, schedule=bad, microscope=watched, epochs=2)
    experiment = replace(experiment, network=NetworkConfig(model=bad), rule=RuleConfig())
    parts = RuleConfig("bptt", objective=bad, credit=bad, plasticity=bad, regularisers=[bad])
    write_comparison(place / "whole", Comparison(experiment, [parts], seeds=1))
    for path in (place / "whole").glob("*/config.yaml"):
        (path.parent / ".lock").touch()


def read(ordinary, hostile, answer):
    """Everything that happens while all readers read."""
    script = Path(__file__).with_name("reading_others.py")
    done = subprocess.run(
        [sys.executable, str(script), str(ordinary), str(hostile), str(answer)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answer.read_text())


@pytest.mark.slow(minutes=1.5)
@pytest.mark.parametrize("half", [0, 1])
def test_readers_run_import_and_write_nothing(tmp_path, hostile, half):
    ordinary = tmp_path / "ordinary"
    ordinary.mkdir()
    write_comparison(ordinary / "c")
    write_run(ordinary / "r", TINY, 0.9)
    write_grid(ordinary / "g")
    write_tuning(ordinary / "t")
    names = bad_names(hostile)
    write_whole(hostile, "os:system")
    write_all(hostile / "single", names[half::2])
    found = read(ordinary, hostile, tmp_path / "answer.json")
    written = [event for event in found["seen"] if event[1] == "write"]
    assert [event for event in found["seen"] if event[1] != "write"] == []
    assert not (hostile / "proof").exists()
    for where, _, path in written:
        assert where.startswith("report "), (where, path)
        name = Path(path).name.lstrip(".")
        assert any(end in name for end in OUTPUTS), (where, path)
        assert Path(path).is_relative_to(hostile), (where, path)
    assert set(found["codes"].values()) <= {0, 1, 2}  # 1: `verify` says that something does not hold
    assert found["codes"]["report whole"] == 0


@pytest.mark.parametrize("kind", [Experiment, Comparison])
def test_configurations_are_built_without_imports(hostile, monkeypatch, kind):
    monkeypatch.syspath_prepend(str(hostile))
    whole = {Experiment: [WHOLE, MODEL], Comparison: [Comparison(WHOLE, ["bptt", RuleConfig("spsa")])]}[kind]
    for each in whole:
        for path in spots(asdict(each)):
            for name in bad_names(hostile):
                with suppress(ValueError):  # and no other exception
                    from_dict(kind, put(asdict(each), path, name))
    assert not (hostile / "proof").exists()
    assert not [name for name in sys.modules if name.split(".")[0] in ("canary", "package")]


TASK = """
from pathlib import Path
import sandbox
from sandbox.tasks import YinYang

Path(__file__).with_name("loaded").touch()


class Mine(YinYang):
    pass
"""


def test_a_table_of_a_task_of_ones_own_takes_its_linear_model_from_the_comparison(tmp_path):
    (tmp_path / "mine.py").write_text(TASK)
    mine = replace(TINY, task=Choice(f"{tmp_path / 'mine.py'}:Mine", TINY.task.options), epochs=1)
    for rule in ("bptt", "readout_only"):
        run(replace(mine, rule=RuleConfig(rule)), tmp_path / "runs" / rule)
    (tmp_path / "loaded").unlink()
    table = gather(tmp_path / "runs")
    assert table["linear"] is None
    assert f"the task {mine.task.name} is code, which a table does not run" in table["without_linear"]
    made = {"data_sha256": files.read_json(tmp_path / "runs" / "bptt" / "provenance.json")["data_sha256"]}
    kept = {"task": mine.task.name, "linear": 64.0, "chance": 33.3, "measure": "accuracy"}
    files.write_json(tmp_path / "runs" / "table.json", kept)
    files.write_json(tmp_path / "runs" / "provenance.json", made)
    table = gather(tmp_path / "runs")
    assert (table["linear"], table["chance"]) == (64.0, 33.3)
    assert "without_linear" not in table
    files.write_json(tmp_path / "runs" / "provenance.json", {"data_sha256": "of other data"})
    assert gather(tmp_path / "runs")["linear"] is None
    assert not (tmp_path / "loaded").exists()


class Evil:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def test_arrays_of_others_are_not_unpickled(tmp_path):
    checksum = "a" * 64
    mine = replace(TINY, task=Choice("arrays", {"sha256": checksum}), epochs=1)
    for rule in ("bptt", "readout_only"):
        write_run(tmp_path / "runs" / rule, replace(mine, rule=RuleConfig(rule)), 0.9)
        (tmp_path / "runs" / rule / ".lock").touch()
        torch.save(Evil(tmp_path / "proof"), tmp_path / "runs" / rule / f"arrays-{checksum[:12]}.pt")
    with pytest.raises(
        ValueError, match=r"arrays-aaaaaaaaaaaa.pt holds no arrays .*; remove it, and give the task again"
    ):
        gather(tmp_path / "runs")
    assert not (tmp_path / "proof").exists()
