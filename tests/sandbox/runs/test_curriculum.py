"""A curriculum over time steps: stages that hand weights and a teacher on, stopped and continued bit for bit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from rules import Batch
from sandbox import Choice, Experiment, NetworkConfig, Task, read_model
from sandbox.cli.entry import main
from sandbox.config.curriculum import Curriculum
from sandbox.config.parent import Parent
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.networks.rebinned import rebin
from sandbox.runs.checkpoint import read_checkpoint
from sandbox.runs.curriculum import load_curriculum, run_curriculum
from sandbox.runs.inherited import heritage, resolved
from sandbox.runs.preparing import prepare
from sandbox.runs.run import run

TINY = Experiment(
    task=Choice("yinyang", {"train": 60, "validation": 30, "test": 30}),
    encoder=Choice("poisson", {"steps": 8}),
    network=NetworkConfig(hidden=[8]),
    rule=RuleConfig(objective=Choice("kdcl")),
    epochs=2,
    batch_size=20,
    checkpoint_steps=2,
    keep="best",
    kernels="plain",
)
PLAN = Curriculum(TINY, [1, 2, 4])


class Stop(BaseException):  # as an interruption is
    pass


def stages(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/config.yaml"))


def series(lengths=False):
    """A task of twelve steps; with sequences of six to twelve steps if it has lengths."""
    x = torch.rand(60, 12, 3, generator=torch.Generator().manual_seed(0)).round()
    rows = [each[: 6 + n % 7] for n, each in enumerate(x)] if lengths else x
    return Task.from_arrays(rows, torch.arange(60) % 3, sequence=True, name="series")


def test_each_stage_begins_with_the_weights_of_the_one_before_which_teaches_it(whole):
    folder, found = whole
    assert [row["steps"] for row in found["stages"]] == [8, 4, 2]
    assert found["fewer"]["steps"] == 0.75
    first, second, third = stages(folder)
    for before, after in ((first, second), (second, third)):
        stage = PLAN.stage(int(after.name[0]) - 1, None)
        child = resolved(replace(stage, parent=Parent(before.name)), after)
        data = child.load()
        teacher = heritage(child, after, data)
        trainer, _ = prepare(child, data, parent=teacher)
        kept = read_checkpoint(before / "checkpoint.pt")["book"]["best"]["trainer"]["model"]
        mine = {name.removeprefix("model."): part for name, part in trainer.model.state_dict().items()}
        assert all(torch.equal(part, mine[name.removeprefix("model.")]) for name, part in kept.items())
        assert trainer.rule.objective.teacher is teacher
        assert not any(p.requires_grad for p in teacher.parameters())
        assert not trainer.optimizer.state  # nothing of the parent's
        assert len(trainer.state_dict()["model"]) == len(kept)  # and the teacher is not saved


def test_a_finished_curriculum_is_returned_and_no_stage_is_run_again(whole, monkeypatch):
    folder, found = whole
    monkeypatch.setattr("sandbox.runs.run._learn", lambda *a: pytest.fail("learned again"))
    assert run_curriculum(load_curriculum(folder), folder) == found
    assert all(files.read_json(stage / "test.json") == {"evaluations": 1} for stage in stages(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "c"
    return folder, run_curriculum(PLAN, folder)


@pytest.mark.parametrize("stop", [1, 6, 9, 15])
def test_a_stopped_curriculum_continues_bit_for_bit(tmp_path, stop, whole):
    """Stopped within a stage, at the end of the first, and in the last; six steps make a stage."""

    def interrupt(done, total):
        assert total == 18
        if done == stop:
            raise Stop

    folder, found = whole
    with pytest.raises(Stop):
        run_curriculum(PLAN, tmp_path / "cut", progress=interrupt)
    again = run_curriculum(PLAN, tmp_path / "cut")
    assert timeless(again) == timeless(found)
    for a, b in zip(stages(folder), stages(tmp_path / "cut"), strict=True):
        assert a.name == b.name
        assert (a / "result.json").read_bytes() == (b / "result.json").read_bytes()
        assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
        one, two = (read_checkpoint(x / "checkpoint.pt")["trainer"]["model"] for x in (a, b))
        assert all(torch.equal(one[name], two[name]) for name in one)


def timeless(found):
    return {**found, "stages": [{**row, "seconds": None} for row in found["stages"]]}


def test_a_stage_learns_the_loss_of_the_authors_from_what_the_teacher_sees(tmp_path):
    """Its first loss is recomputed from batches of the loader; the teacher sees them before augmentation."""
    plan = Curriculum(replace(TINY, augment=Choice("vector", {"noise": 0.5})), [2, 4])
    run_curriculum(plan, tmp_path / "c")
    first, second = stages(tmp_path / "c")
    child = resolved(plan.stage(1, Parent(first.name)), second)
    data = child.load()
    teacher = heritage(child, second, data)
    trainer, train = prepare(child, data, parent=teacher)
    batch = next(iter(train))
    assert not torch.equal(batch.x, batch.plain)
    student = read_model(first).model.eval()
    with torch.no_grad():
        p = torch.softmax(student(rebin(batch.x, 4)).output, -1).sum(0)
        q = torch.softmax(student(rebin(batch.plain, 2)).output, -1).sum(0)
        kl = F.kl_div(torch.log_softmax(p, -1), torch.softmax(q, -1), reduction="batchmean")
        trainer.model.eval()
        run_ = trainer.model(batch.x)
        loss = trainer.rule.objective(run_, batch)
    torch.testing.assert_close(loss, F.cross_entropy(p, batch.y) + 0.5 * kl)
    unaugmented = trainer.rule.objective(run_, Batch(batch.x, batch.y))
    assert not torch.allclose(loss, unaugmented)


def test_the_work_of_the_teacher_is_counted(whole):
    costs = [files.read_json(stage / "result.json")["cost"]["synaptic_operations"] for stage in stages(whole[0])]
    steps = [8, 4, 2]
    for n in (1, 2):  # a stage pays for its own steps and for those of its teacher
        assert costs[n] / costs[0] == pytest.approx((steps[n] + steps[n - 1]) / steps[0])


def test_best_keeps_the_first_epoch_that_was_best_on_validation_data(tmp_path):
    result = run(replace(TINY, epochs=6), tmp_path / "r", indexed=False)
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()][1:]
    scores = [line["validation_accuracy"] for line in lines]
    assert result["kept_epoch"] == 1 + scores.index(max(scores)) < 6
    assert result["validation"]["accuracy"] == max(scores)
    assert result["steps"] == lines[-1]["step"] == 18
    last = run(replace(TINY, epochs=6, keep="last"), tmp_path / "l", indexed=False)
    assert last["validation"]["accuracy"] == scores[-1]


def test_sequences_of_different_length_are_summed_with_their_lengths(tmp_path):
    task = series(lengths=True)
    model = NetworkConfig(model=Choice("spikescr", {"size": "tiny"}), rate=None)
    plan = Curriculum(replace(TINY, task=task, encoder=Choice("as_recorded"), network=model), [1, 3])
    found = run_curriculum(plan, tmp_path / "c")
    assert [row["steps"] for row in found["stages"]] == [12, 4]
    assert run_curriculum(load_curriculum(tmp_path / "c"), tmp_path / "c") == found  # its arrays are in the folder


def test_a_causal_network_of_layers_hears_of_lengths_from_the_objective_alone(tmp_path):
    plan = Curriculum(replace(TINY, task=series(lengths=True), encoder=Choice("as_recorded")), [2, 4])
    assert [row["steps"] for row in run_curriculum(plan, tmp_path / "c")["stages"]] == [6, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Curriculum(TINY, []), "stages=[]: give for each stage the number of steps"),
        (lambda: Curriculum(TINY, [0, 1]), "stages=[0, 1]: give for each stage"),
        (
            lambda: Curriculum(TINY, [1, 4, 2]),
            "stages=[1, 4, 2]: stage 3 has bins of 2 steps after bins of 4, so that its steps become more; a curriculum "
            "goes from many steps to few",
        ),
        (lambda: Curriculum(replace(TINY, parent=Parent("x"))), "have parents of their own; leave it out"),
        (
            lambda: Curriculum(replace(TINY, network=NetworkConfig(rebin=2))),
            "experiment.network.rebin=2: stages=[1, 2, 4] say how many steps",
        ),
        (
            lambda: Curriculum(replace(TINY, rule=RuleConfig())),
            "the parent is to teach, and rule 'bptt' names no objective: give one with a teacher",
        ),
        (
            lambda: Curriculum(replace(TINY, rule=RuleConfig(objective=Choice("tet")))),
            "has the objective 'tet', which takes none",
        ),
    ],
)
def test_curricula_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "stages=[1, 3], stage 2: 8 steps cannot be summed by 3: give a whole number that divides them"),
        ({"encoder": Choice("still")}, "encoder 'still' makes no time steps"),
    ],
)
def test_steps_that_cannot_be_summed_are_found_before_the_first_stage(tmp_path, changed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run_curriculum(Curriculum(replace(TINY, **changed), [1, 3]), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_lengths_that_a_summing_network_cannot_serve_are_found_before_the_first_stage(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(BOTH_WAYS)
    model = NetworkConfig(model=Choice(f"{tmp_path / 'net.py'}:both_ways"), rate=None)
    plan = Curriculum(replace(TINY, task=series(lengths=True), encoder=Choice("as_recorded"), network=model), [1, 2])
    with pytest.raises(ValueError, match="BothWays sees all bins of a sequence at once and takes no lengths"):
        run_curriculum(plan, tmp_path / "c")
    assert not (tmp_path / "c").exists()


BOTH_WAYS = """
from torch import nn

class BothWays(nn.Sequential):
    offers = frozenset({"gradient"})
    lacks = {"carry": "it sees a sequence from both ends"}

def both_ways(shape, classes, *, seed):
    return BothWays(nn.Linear(shape[0], classes))
"""


def test_the_command(tmp_path, capsys):
    """Settings of a file and of the command line; the table, resuming, verifying, and a stage that was edited."""
    file = tmp_path / "plan.yaml"
    file.write_text(
        "stages: [1, 2]\nexperiment:\n  task: {name: yinyang, options: {train: 60, validation: 30, test: 30}}\n"
        "  encoder: {name: poisson, options: {steps: 8}}\n  network: {hidden: [8]}\n  epochs: 1\n"
    )
    words = ["curriculum", str(file), "--out", str(tmp_path / "runs"), "--seed", "3"]
    assert main([*words, "--stages", "[1, 4]", "--rule.options.lr", "0.02"]) == 0
    printed = capsys.readouterr().out
    assert "yinyang, seed 3: accuracy of each stage" in printed
    assert "the last stage has 75.0 % fewer steps than the first" in printed
    (folder,) = (tmp_path / "runs").glob("curriculum-yinyang-s3-*")
    plan = load_curriculum(folder)
    assert (plan.stages, plan.experiment.rule.options, plan.experiment.keep) == ([1, 4], {"lr": 0.02}, "best")
    assert main(["resume", str(folder)]) == 0
    capsys.readouterr()
    assert main(["table", str(folder)]) == 0
    assert capsys.readouterr().out == printed[: printed.index("folder: ")]
    assert main(["verify", str(folder)]) == 0
    assert "curriculum.json follows from its stages" in (said := capsys.readouterr().out)
    assert "parent: 1-yinyang-bptt-s3-" in said
    assert main(["report", str(folder)]) == 2
    assert "holds a curriculum, whose table is in curriculum.json" in capsys.readouterr().err
    _, last = stages(folder)
    assert main(["report", str(last)]) == 0
    assert "known by its weights as" in (last / "report.html").read_text()
    result = files.read_json(last / "result.json")
    files.write_json(last / "result.json", {**result, "test": {**result["test"], "accuracy": 1.0}})
    assert main(["verify", str(folder)]) == 1
    assert "curriculum.json has other numbers for 2-yinyang" in capsys.readouterr().out
    assert main(["table", str(folder)]) == 2
    assert "is damaged: curriculum.json has other numbers for 2-yinyang" in capsys.readouterr().err
    (folder / "curriculum.json").unlink()
    assert main(["table", str(folder)]) == 2
    assert "is not finished, so it has no table: `sandbox resume" in capsys.readouterr().err


def test_a_curriculum_without_a_file(tmp_path, capsys):
    assert main(["curriculum", "--seed", "1", "--out", str(tmp_path)]) == 2
    assert "required: file" in capsys.readouterr().err
    assert main(["curriculum", str(tmp_path / "none.yaml"), "--out", str(tmp_path)]) == 2
    assert "none.yaml" in capsys.readouterr().err
