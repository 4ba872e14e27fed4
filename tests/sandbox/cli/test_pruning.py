"""`sandbox prune` on tiny runs: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FAILED, OK
from sandbox.networks.parts import Joined
from sandbox.runs.checkpoint import read_checkpoint, write_checkpoint
from sandbox.runs.pruned import read_pruned
from sandbox.runs.seal import broken

TINY = ["--task=digits", "--task.options={image: true}", "--encoder.options={steps: 2}", "--epochs=1", "--rule=bptt"]
GATED = "{name: orrc_resnet, options: {shortcut: channel}}"


def call(capsys, *words):
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


def made(root, model):
    assert main(["run", *TINY, "--batch_size=400", "--network.model", model, "--out", str(root)]) == OK
    return next(path for path in root.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose gate is shut for good."""
    folder = made(tmp_path_factory.mktemp("runs"), GATED)
    state = read_checkpoint(folder / "checkpoint.pt")
    state["trainer"]["model"]["parts.5.shortcut.1.weigh.2.weight"].zero_()
    write_checkpoint(folder / "checkpoint.pt", {name: part for name, part in state.items() if name != "format"})
    return folder


def test_what_was_removed_is_printed_and_written_beside_the_run(run, capsys):
    code, out, _ = call(capsys, "prune", run)
    assert code == OK
    assert "parts.5: removed, never fired" in out
    assert "outputs of 1,200 samples are the same bit for bit" in out
    assert str(run / "pruned.pt") in out
    facts = json.loads((run / "pruned.json").read_text())
    assert facts["removed"] == ["parts.5"]
    assert facts["parameters_saved"] == 16 * 32 + 2 * 32 + 2 * 8 * 32
    model, x = read_pruned(run).eval(), torch.rand(2, 3, 1, 8, 8)
    assert [part.shortcut for part in model.modules() if isinstance(part, Joined)] == [None]
    assert model(x).output.shape == (2, 3, 10)


def test_facts_for_machines(run, capsys):
    code, out, _ = call(capsys, "prune", run, "--json", "--rate", "0")
    assert code == OK
    found = json.loads(out)
    assert found["shortcuts"][0]["spikes"] == 0
    assert found["operations_saved"] < found["operations"]


def test_the_evidence_of_the_run_stays(tmp_path, capsys):
    folder = made(tmp_path, GATED)
    call(capsys, "prune", folder)
    assert broken(folder) == []


def test_a_model_without_gates_is_refused_and_nothing_is_written(tmp_path, capsys):
    folder = made(tmp_path, "sew_resnet")
    code, _, err = call(capsys, "prune", folder)
    assert code == BAD_INPUT
    assert "has no gated shortcut" in err
    assert "orrc_resnet with shortcut=" in err
    assert not (folder / "pruned.pt").exists()
    with pytest.raises(ValueError, match=r"has no pruned.pt; `sandbox prune .*` writes one"):
        read_pruned(folder)


def test_folders_that_cannot_be_pruned(run, tmp_path, capsys):
    other = tmp_path / run.name
    shutil.copytree(run, other)
    (other / "checkpoint.pt").write_bytes(b"cut off")
    code, _, err = call(capsys, "prune", other)
    assert code == FAILED
    assert "cannot be read" in err
    (other / "checkpoint.pt").unlink()
    code, _, err = call(capsys, "prune", other)
    assert code == BAD_INPUT
    assert "has no checkpoint.pt" in err
    code, _, err = call(capsys, "prune", tmp_path)
    assert code == BAD_INPUT
    assert "is not a run folder" in err
    config = (run / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("name: digits", "name: ./mine.py:Task"))
    code, _, err = call(capsys, "prune", other)
    assert code == BAD_INPUT
    assert "--trust" in err
