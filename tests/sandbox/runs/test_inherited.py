"""A run that begins from another: whose weights, as whose pupil, and which folders are refused."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
import torch

from sandbox import Choice, Comparison, Experiment, NetworkConfig, RuleConfig, run
from sandbox.cli.entry import main
from sandbox.config.parent import Parent
from sandbox.machine import files
from sandbox.runs.checkpoint import read_checkpoint
from sandbox.runs.folder import load
from sandbox.runs.inherited import fingerprint, heritage, resolved
from sandbox.runs.preparing import prepare
from sandbox.runs.verify import verify_run

TINY = Experiment(
    task=Choice("yinyang", {"train": 60, "validation": 30, "test": 30}),
    encoder=Choice("constant", {"steps": 4}),
    network=NetworkConfig(hidden=[8]),
    rule=RuleConfig(objective=Choice("self_ensemble")),
    epochs=1,
    kernels="plain",
)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parents") / "first"
    run(TINY, folder, indexed=False)
    return folder


@pytest.fixture
def parent(first, tmp_path):
    return shutil.copytree(first, tmp_path / "first")


def begun(how, parent, **changed):
    """The trainer of a run of another seed before its first step."""
    experiment = resolved(replace(TINY, parent=Parent(str(parent), how), seed=1, **changed))
    data = experiment.load()
    return prepare(experiment, data, parent=heritage(experiment, parent.parent / "child", data))[0]


@pytest.mark.parametrize("how", ["weights", "teacher", "both"])
def test_what_is_taken_over(how, parent):
    trainer = begun(how, parent)
    kept = read_checkpoint(parent / "checkpoint.pt")["trainer"]["model"]
    same = all(torch.equal(part, kept[name]) for name, part in trainer.model.state_dict().items())
    teacher = trainer.rule.objective.teacher
    assert same == (how != "teacher")
    assert (teacher is None) == (how == "weights")
    if teacher is not None:
        assert all(torch.equal(part, kept[name]) for name, part in teacher.state_dict().items())
        assert not teacher.training


def test_an_objective_in_the_options_of_the_rule_is_taught_too(parent):
    rule = RuleConfig("bptt", {"objective": {"name": "kdcl", "options": {"share": 0.25}}})
    objective = begun("teacher", parent, rule=rule).rule.objective
    assert objective.share == 0.25
    assert objective.teacher is not None


def test_the_weights_of_the_parent_are_part_of_the_identity_and_its_place_is_not(parent, tmp_path):
    here = resolved(replace(TINY, parent=Parent(str(parent))))
    shutil.copytree(parent, tmp_path / "elsewhere" / "first")
    there = resolved(replace(TINY, parent=Parent(str(tmp_path / "elsewhere" / "first"))))
    assert here.identity == there.identity != TINY.identity
    run(replace(TINY, seed=7), tmp_path / "other", indexed=False)
    assert resolved(replace(TINY, parent=Parent(str(tmp_path / "other")))).identity != here.identity
    assert resolved(replace(TINY, parent=Parent(str(parent), "weights"))).identity != here.identity


def test_a_repeated_parent_is_known_by_the_same_weights(parent, tmp_path):
    """Though its times differ."""
    run(TINY, tmp_path / "again", indexed=False)
    assert fingerprint(parent) == fingerprint(tmp_path / "again")


def test_a_resumed_run_reads_its_teacher_again_and_notices_another(parent, tmp_path):
    class Stop(BaseException):
        pass

    def interrupt(done, total):
        raise Stop

    child = replace(TINY, parent=Parent("first"), seed=1, checkpoint_steps=1, batch_size=20)
    whole = run(child, tmp_path / "whole", indexed=False)
    with pytest.raises(Stop):
        run(child, tmp_path / "cut", indexed=False, progress=interrupt)
    shutil.move(parent, tmp_path / "away")
    run(replace(TINY, seed=7), tmp_path / "first", indexed=False)
    recorded = load(Experiment, tmp_path / "cut")
    with pytest.raises(ValueError, match="has other weights than the run began with"):
        run(recorded, tmp_path / "cut", indexed=False)
    shutil.rmtree(tmp_path / "first")
    with pytest.raises(ValueError, match="parent.folder='first': there is no such folder"):
        run(recorded, tmp_path / "cut", indexed=False)
    shutil.move(tmp_path / "away", tmp_path / "first")
    assert run(recorded, tmp_path / "cut", indexed=False) == whole
    assert "parent" not in read_checkpoint(tmp_path / "cut" / "checkpoint.pt")


def test_verify_says_whether_the_parent_is_still_the_same(parent, tmp_path):
    run(replace(TINY, parent=Parent("first")), tmp_path / "child", indexed=False)

    def state():
        return {each.what: each for each in verify_run(tmp_path / "child")}["parent"]

    assert (state().state, state().why[:30]) == ("ok", "first is as when the run took ")
    files.write_json(parent / "result.json", {})
    assert state().state == "WRONG"
    shutil.rmtree(parent)
    assert state().state == "-"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "there is no such folder"),
        (lambda folder: (folder / "result.json").unlink(), "is not finished, so it hands nothing on: `sandbox resume"),
        (lambda folder: (folder / "metrics.jsonl").write_text("{}\n"), "is damaged: metrics.jsonl is not the file"),
        (lambda folder: (folder / "checkpoint.pt").unlink(), "is damaged: checkpoint.pt is missing"),
        (lambda folder: (folder / "config.yaml").unlink(), "is not a run folder: it has no config.yaml"),
    ],
)
def test_folders_that_hand_nothing_on(parent, spoil, message):
    spoil(parent)
    with pytest.raises(ValueError, match=re.escape(message)):
        begun("both", parent)


TEXT = "to be or not to be, that is the question; " * 40


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"task": Choice("digits"), "encoder": TINY.encoder},
            "has learned task 'yinyang', and this run learns 'digits': name a run of the same task",
        ),
        (
            {"encoder": Choice("constant", {"steps": 5})},
            "has learned from sequences of encoder 'constant' {'steps': 4}",
        ),
        (
            {"network": NetworkConfig(hidden=[9])},
            "has the weights of another network: layers.0.synapse.weight is (8, 4)",
        ),
        ({"rule": RuleConfig()}, "the parent is to teach, and rule 'bptt' names no objective"),
    ],
)
def test_parents_of_other_runs(parent, changed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        begun("both", parent, **changed)


@pytest.mark.parametrize("how", ["weights", "teacher", "both"])
def test_a_parent_of_the_same_task_with_other_options_is_warned_of(how, parent):
    """It may have learned from what is tested here."""
    other = Choice("yinyang", {**TINY.task.options, "train": 70})
    with pytest.warns(UserWarning, match="with other options than this run's: train 60 and 70. It may have seen"):
        begun(how, parent, task=other)


def test_a_parent_of_other_classes(tmp_path):
    """Both numbers are named."""
    task = Choice("randman", {"classes": 3, "units": 4, "steps": 6, "samples": 20})
    first = replace(TINY, task=task, encoder=Choice("as_recorded"))
    run(first, tmp_path / "first", indexed=False)
    other = replace(first, task=replace(task, options={**task.options, "classes": 4}), parent=Parent("first"))
    with pytest.raises(ValueError, match=r"has learned a task of 3 outputs, and this run's task has 4"):
        run(other, tmp_path / "other", indexed=False)


def test_a_parent_of_another_tokenizer(tmp_path):
    """Both are named."""
    (tmp_path / "a.txt").write_text(TEXT)
    options = {"path": str(tmp_path / "a.txt"), "context": 8}
    network = NetworkConfig(model=Choice("bispikclm", {"size": "tiny"}), rate=None)
    text = {"encoder": Choice("as_recorded"), "network": network, "rule": RuleConfig(objective=Choice("ce_rate"))}
    first = replace(TINY, **text, task=Choice("text_file", {**options, "level": "characters"}))
    run(first, tmp_path / "first", indexed=False)
    taught = replace(first, rule=RuleConfig(objective=Choice("spad")))
    with pytest.raises(
        ValueError, match=r"objective 'spad' has no teacher, .* --parent.folder RUN --parent.how teacher"
    ):
        run(taught, tmp_path / "alone", indexed=False)
    run(replace(taught, parent=Parent("first", "teacher")), tmp_path / "pupil", indexed=False)
    other = replace(taught, task=Choice("text_file", {**options, "level": "bytes"}), parent=Parent("first"))
    with pytest.raises(ValueError, match=r"(?s)characters of .*bytes of 256"):
        run(other, tmp_path / "other", indexed=False)


def test_a_comparison_has_no_parent():
    with pytest.raises(ValueError, match=r"experiment.parent: the runs of a comparison begin anew"):
        Comparison(experiment=replace(TINY, parent=Parent("first")))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folder": ""}, "folder='': give the folder"),
        ({"folder": "x", "how": "all"}, "unknown how 'all'; valid: weights, teacher, both"),
    ],
)
def test_settings_of_a_parent(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Parent(**given)


@pytest.mark.parametrize("name", ["parent", "rule.objective"])
def test_the_command_explains_what_has_parts(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", f"--{name}.help"])
    assert ended.value.code in (0, None)
    assert f"--{name}." in capsys.readouterr().out


def test_the_command_takes_a_parent(parent, tmp_path, capsys):
    words = ["run", "--task", "yinyang", "--task.options", "{train: 60, validation: 30, test: 30}", "--epochs", "1"]
    words += ["--encoder.options", "{steps: 4}", "--network.hidden", "8", "--out", str(tmp_path / "runs")]
    words += ["--parent.folder", str(parent)]
    assert main(words) == 2
    assert "such as --rule.objective kdcl" in capsys.readouterr().err
    assert main([*words, "--rule.objective", "kdcl"]) == 0
    (child,) = (tmp_path / "runs").glob("yinyang*")
    assert main([*words, "--rule.objective", "kdcl"]) == 0  # finished already
    assert load(Experiment, child).parent.sha256 == fingerprint(parent)
    assert main(["resume", str(child)]) == 0
