"""What a run asks its model, and how it fails if the rule would learn something wrong on it."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import pytest

from rules.models.admission import ModelWarning, UnfitModel
from sandbox.config.experiment import NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.runs import index
from sandbox.runs.run import run
from tests.sandbox.runs.test_run import TINY

OWN = """
import torch
from torch import nn

class Keeping(nn.Module):
    '''Membranes that stay from one call to the next.'''

    def __init__(self):
        super().__init__()
        self.kept = torch.zeros(1)

    def forward(self, x):
        self.kept = 0.5 * self.kept.detach().mean() + x
        return self.kept

def keeping(shape, classes, *, seed):
    return nn.Sequential(nn.Linear(shape[0], 8), Keeping(), nn.Linear(8, classes))

class Last(nn.Module):
    '''One answer for a whole sequence.'''

    def __init__(self, features, classes):
        super().__init__()
        self.cells, self.last = nn.GRU(features, 6), nn.Linear(6, classes)

    def forward(self, x):
        return self.last(self.cells(x)[0][-1])

def last(shape, classes, *, seed):
    return Last(shape[0], classes)

def dropping(shape, classes, *, seed):
    return nn.Sequential(nn.Linear(shape[0], 8), nn.Dropout(0.5), nn.Linear(8, classes))
"""
KEEPS = r"HZO would learn something wrong: Sequential keeps state .* \(first seen in '1'\)\. .* rules\.adapt\(model"


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(dedent(OWN))
    return replace(TINY, epochs=1, encoder=Choice("still"), network=NetworkConfig(model=Choice("own.py:keeping")))


def test_answers_and_what_is_trained_are_in_the_folder(tmp_path):
    run(replace(TINY, epochs=1, rule=RuleConfig("readout_only")), tmp_path / "r")
    found = files.read_json(tmp_path / "r" / "model.json")
    assert found["confirm"] is True
    assert found["trains"] == ["layers.1.synapse.weight", "layers.1.synapse.bias"]
    told = ("stateless", "deterministic", "independent", "causal", "remembers", "exchanged")
    assert {name: found["answers"][name] for name in told} == {
        **dict.fromkeys(told, True),
        "exchanged": False,
    }
    assert 3 <= found["answers"]["passes"] <= 5
    assert found["answers"]["error"] is None


def test_a_model_that_keeps_state_is_warned_of_and_told(own, tmp_path):
    with pytest.warns(ModelWarning, match="Sequential keeps state from one call to the next"):
        run(own, tmp_path / "r")
    answers = files.read_json(tmp_path / "r" / "model.json")["answers"]
    assert (answers["stateless"], answers["where"]) == (False, "1")


def test_a_run_says_that_its_model_was_not_asked(own, tmp_path, recwarn):
    run(replace(own, confirm=False), tmp_path / "r")
    assert not [warning for warning in recwarn if warning.category is ModelWarning]
    found = files.read_json(tmp_path / "r" / "model.json")
    assert (found["confirm"], found["answers"]) == (False, None)
    assert found["trains"] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_refused_model_leaves_nothing(own, tmp_path):
    """With another model, or without questions, the same configuration can be run in the same place."""
    experiment = replace(own, rule=RuleConfig("hzo"))
    folder = tmp_path / "runs" / "r"
    for _ in range(2):  # a second attempt gives the same answer
        with pytest.raises(UnfitModel, match=KEEPS) as caught:
            run(experiment, folder)
        assert "rules.adapt(model" in str(caught.value)
        assert not folder.parent.exists()


def test_dropout_is_refused_in_a_rule_that_compares_passes_with_its_remedy(own, tmp_path):
    experiment = replace(own, network=NetworkConfig(model=Choice("own.py:dropping")), rule=RuleConfig("spsa"))
    with pytest.raises((UnfitModel, ValueError), match="model.eval"):
        run(experiment, tmp_path / "runs" / "r")
    assert not (tmp_path / "runs" / "r" / "checkpoint.pt").exists()


def test_a_run_that_was_refused_for_its_code_goes_on_when_that_is_mended(own, tmp_path):
    """A folder that was there before is kept, and says why."""
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    with pytest.raises(UnfitModel):
        run(replace(own, rule=RuleConfig("hzo")), folder)
    assert {path.name for path in folder.iterdir()} == {".lock", "config.yaml", "refused.txt", "made-here.txt"}
    assert "rules.adapt(model" in (folder / "refused.txt").read_text()
    assert [row["status"] for row in index.rows(folder.parent)] == ["refused"]
    (tmp_path / "own.py").write_text(dedent(OWN).replace("self.kept = 0.5 * self.kept.detach().mean() + x", "return x"))
    run(replace(own, rule=RuleConfig("hzo")), folder)
    assert not (folder / "refused.txt").exists()
    assert [row["status"] for row in index.rows(folder.parent)] == ["done"]


NORM = """
from torch import nn

class Normed(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Linear(8, classes)

    def forward(self, x):
        return self.last(self.norm(self.first(x.flatten(0, 1))).unflatten(0, x.shape[:2]))

def normed(shape, classes, *, seed):
    return Normed(shape[0], classes)
"""


@pytest.mark.parametrize(("epochs", "said"), [(1, True), (40, False)])
def test_a_run_says_that_statistics_lag_behind(epochs, said, tmp_path, capsys):
    (tmp_path / "norm.py").write_text(NORM)
    network = NetworkConfig(model=Choice(f"{tmp_path}/norm.py:normed"), rate=None)
    run(replace(TINY, network=network, epochs=epochs), tmp_path / "run")
    assert ("running statistics of" in capsys.readouterr().err) == said


def test_a_model_with_one_answer_for_a_sequence_has_no_accuracy_at_fewer_steps(own, tmp_path):
    """Its input has as many steps as that of a network of ours, its output one."""
    experiment = replace(TINY, network=NetworkConfig(model=Choice("own.py:last"), rate=None), epochs=1)
    found = run(experiment, tmp_path / "run", indexed=False)["test"]
    assert "accuracy" in found
    assert not [name for name in found if name.startswith("accuracy_at_")]
    ours = run(replace(TINY, epochs=1), tmp_path / "ours", indexed=False)["test"]
    assert [name for name in ours if name.startswith("accuracy_at_")]
