"""A run folder is evidence: what belongs together is bound together, and what is not is refused and named."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.gather import gather
from sandbox.comparisons.table import format_table
from sandbox.config.experiment import Experiment
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.kernels import Effective
from sandbox.machine import files
from sandbox.runs import attempts, index
from sandbox.runs import folder as folders
from sandbox.runs.book import RunFailed
from sandbox.runs.run import run
from sandbox.runs.seal import EVIDENCE, NAME, broken, write_seal
from sandbox.runs.signs import REFUSED
from sandbox.runs.status import unfinished
from tests.sandbox.runs.test_run import TINY, Stop, same_files
from tests.sandbox.runs.test_sources import RULE, TASK

ONE = replace(TINY, epochs=1)


def stop_after(steps):
    def stop(done, total):
        if done == steps:
            raise Stop

    return stop


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Finished runs of two rules with two seeds, and a stopped run, all named by us."""
    place = tmp_path_factory.mktemp("made")
    for rule in ("bptt", "readout_only"):
        for seed in (0, 1):
            one = replace(ONE, rule=RuleConfig(rule), seed=seed)
            run(one, place / "done" / one.identity)
    with pytest.raises(Stop):
        run(TINY, place / "stopped", progress=stop_after(7))
    return place


@pytest.fixture
def done(made, tmp_path):
    shutil.copytree(made / "done", tmp_path / "done")
    return tmp_path / "done"


@pytest.fixture
def stopped(made, tmp_path):
    shutil.copytree(made / "stopped", tmp_path / "stopped")
    return tmp_path / "stopped"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_seal_names_every_file_and_is_there_when_the_result_is(done):
    folder = done / ONE.identity
    seal = files.read_json(folder / NAME)
    assert seal["identity"] == ONE.identity
    assert set(seal["files"]) == set(EVIDENCE) - {"microscope.jsonl"}
    assert broken(folder) == []


@pytest.mark.parametrize("name", sorted(set(EVIDENCE) - {"microscope.jsonl"}))
def test_a_file_that_is_edited_or_gone_is_found(done, name):
    folder = done / ONE.identity
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content.replace(b"\n", b" \n") if name == "metrics.jsonl" else content + b" ")
    assert broken(folder) == [f"{name} is not the file that the run left at its end: it was edited or exchanged"]
    (folder / name).unlink()
    assert broken(folder) == ([f"{name} is missing"] if name != "result.json" else [])


def test_a_file_that_was_added_or_a_seal_that_is_damaged_is_found(done):
    folder = done / ONE.identity
    (folder / "microscope.jsonl").write_text("")
    assert broken(folder) == [
        "microscope.jsonl is not the file that the run left at its end: it was edited or exchanged"
    ]
    for text in ("[]", '{"files": {}}', '{"files": 3, "identity": "x"}'):
        (folder / NAME).write_text(text)
        assert broken(folder) == ["seal.json is not a seal: it holds no `files` and `identity`"]
    (folder / NAME).write_text('{"files": {"../x": "0"}, "identity": "x"}')
    assert "seal.json names '../x', which is not a file that it seals" in broken(folder)


def test_a_run_killed_before_its_result_has_no_seal_that_counts(tmp_path, monkeypatch):
    """The seal is written first; a run without a result is continued, and sealed again."""
    whole = run(ONE, tmp_path / "whole")
    write = files.write_atomically

    def killed(path, content):
        if path.name == "result.json":
            raise Stop
        write(path, content)

    monkeypatch.setattr(files, "write_atomically", killed)
    with pytest.raises(Stop):
        run(ONE, tmp_path / "r")
    monkeypatch.undo()
    assert run(ONE, tmp_path / "r") == whole
    assert broken(tmp_path / "r") == []


def test_an_edited_result_is_refused_by_resume_table_report_and_load(done, capsys):
    folder = done / ONE.identity
    result = files.read_json(folder / "result.json")
    result["test"]["accuracy"] = 7.0
    files.write_json(folder / "result.json", result)
    for seal in ("kept", "written again"):
        if seal == "written again":
            write_seal(folder)
        for words in (["resume", str(folder)], ["report", str(folder)]):
            assert main(words) == BAD_INPUT
            assert re.search(r"is damaged: .*'accuracy' is 7.0, not a share from 0 to 1", capsys.readouterr().err)
        with pytest.raises(ValueError, match="rules were not run with the same seeds"):
            gather(done)
    shutil.rmtree(folder)
    shutil.rmtree(done / replace(ONE, rule=RuleConfig("readout_only")).identity)
    assert main(["table", str(done)]) == OK
    assert "700" not in capsys.readouterr().out


def test_a_folder_under_the_name_of_another_run_is_found(done):
    """One that was given a name of somebody's own is not."""
    folder, other = done / ONE.identity, replace(ONE, seed=1).identity
    shutil.rmtree(done / other)
    folder.rename(done / other)
    assert broken(done / other) == [f"the folder is called {other}, and its run is {ONE.identity}"]
    (done / other).rename(done / "mine")
    assert broken(done / "mine") == []


def test_a_copy_below_one_table_is_refused_and_both_are_named(done, capsys):
    shutil.copytree(done / ONE.identity, done / "copy")
    assert main(["table", str(done)]) == BAD_INPUT
    err = capsys.readouterr().err
    assert f"{done / 'copy'} and {done / ONE.identity} are both the run of bptt with seed 0" in err
    assert "remove the copy" in err


def test_a_checkpoint_of_another_seed_is_refused_with_both_names(stopped, tmp_path):
    other = replace(TINY, seed=1)
    with pytest.raises(Stop):
        run(other, tmp_path / "other", progress=stop_after(7))
    shutil.copy(tmp_path / "other" / "checkpoint.pt", stopped / "checkpoint.pt")
    before = (stopped / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=f"is the checkpoint of another run, {other.identity}, and this is") as caught:
        run(TINY, stopped)
    assert TINY.identity in str(caught.value)
    assert (stopped / "metrics.jsonl").read_bytes() == before


def test_a_checkpoint_with_one_other_bit_is_refused(stopped):
    path = stopped / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    for place in (100, len(content) // 2, len(content) - 80, len(content) - 1):
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        path.write_bytes(spoilt)
        with pytest.raises(RunFailed, match="checkpoint.pt cannot be read .* remove it to start this run again"):
            run(TINY, stopped)
    path.write_bytes(content)
    assert run(TINY, stopped)["steps"] == 12


@pytest.mark.parametrize("cut", ["short", "gone", "edited"])
def test_metrics_that_the_checkpoint_does_not_count_are_refused_untouched(stopped, cut):
    path = stopped / "metrics.jsonl"
    whole = path.read_text()
    if cut == "gone":
        path.unlink()
    else:
        path.write_text(whole[:-5] if cut == "short" else whole.replace('"epoch": 0', '"epoch": 9'))
    before = {name: content for name, content in contents(stopped).items() if name != "error.txt"}
    with pytest.raises(ValueError, match="metrics.jsonl is damaged: .* remove the checkpoint to start this run again"):
        run(TINY, stopped)
    after = contents(stopped)
    assert all(after[name] == content for name, content in before.items())
    path.write_text(whole)
    assert run(TINY, stopped)["steps"] == 12


def test_looks_are_bound_as_metrics_are(tmp_path):
    from sandbox.config.microscope import MicroscopeConfig

    watched = replace(TINY, microscope=MicroscopeConfig(every=2))
    whole = run(watched, tmp_path / "whole")
    with pytest.raises(Stop):
        run(watched, tmp_path / "r", progress=stop_after(7))
    path = tmp_path / "r" / "microscope.jsonl"
    looks = path.read_text()
    path.write_text(looks[:10])
    with pytest.raises(ValueError, match="microscope.jsonl is damaged: it has 10 bytes, and the checkpoint"):
        run(watched, tmp_path / "r")
    path.write_text(looks)
    assert run(watched, tmp_path / "r") == whole
    assert path.read_bytes() == (tmp_path / "whole" / "microscope.jsonl").read_bytes()


def test_metrics_are_on_the_disk_before_the_checkpoint(tmp_path, monkeypatch):
    """fsync of the lines comes before the rename of the checkpoint that counts them."""
    import os

    seen = []
    sync, put = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(f"-> {b}"), put(a, b))[1])
    run(ONE, tmp_path / "r")
    lines = [n for n, name in enumerate(seen) if name.endswith("metrics.jsonl")]
    saved = [n for n, name in enumerate(seen) if name.startswith("-> ") and name.endswith("checkpoint.pt")]
    assert len(lines) == 2
    assert lines[0] < saved[0] < lines[1] < saved[-1]


@pytest.mark.parametrize("finished", [True, False])
def test_other_kernels_are_refused_and_named(tmp_path, monkeypatch, finished):
    whole = run(TINY, tmp_path / "whole")
    if finished:
        run(TINY, tmp_path / "r")
    else:
        with pytest.raises(Stop):
            run(TINY, tmp_path / "r", progress=stop_after(7))
    monkeypatch.setattr(attempts, "effective", lambda *a: Effective("numba", "0.1"))
    message = "was begun in the mode plain of the kernels, and this is numba 0.1, .*--accept-changes"
    with pytest.raises(ValueError, match=message):
        run(TINY, tmp_path / "r")
    assert run(TINY, tmp_path / "r", accept_changes=True) == whole
    kept = files.read_json(tmp_path / "r" / "provenance.json")
    assert kept["changed"] == ([] if finished else ["kernels"])
    assert kept["kernels"]["mode"] == "plain"
    assert broken(tmp_path / "r") == []


def test_a_refused_change_is_noted_as_a_refused_checkpoint_is(tmp_path, monkeypatch):
    folder = tmp_path / "r"
    monkeypatch.setattr(attempts, "effective", lambda *given: Effective("plain"))
    with pytest.raises(Stop):
        run(TINY, folder, progress=stop_after(7))
    assert unfinished(folder) == "stopped"
    monkeypatch.setattr(attempts, "effective", lambda *given: Effective("numba", "0.1"))
    with pytest.raises(ValueError, match="of the kernels"):
        run(TINY, folder)
    assert "of the kernels" in (folder / REFUSED).read_text()
    assert unfinished(folder) == "refused"
    assert [row["status"] for row in index.rows(tmp_path)] == ["refused"]
    run(TINY, folder, accept_changes=True)
    assert not (folder / REFUSED).exists()


def test_a_run_asks_for_its_kernels(tmp_path):
    """The environment of the tests says plain; the field of an experiment is stronger."""
    assert attempts.mode_here(TINY) == "plain"
    assert attempts.mode_here(replace(TINY, kernels="numba")).startswith("numba ")
    asked = replace(ONE, kernels="plain")
    assert asked.identity != ONE.identity
    run(asked, tmp_path / "r")
    assert files.read_json(tmp_path / "r" / "provenance.json")["kernels"] == {
        "asked": "plain",
        "mode": "plain",
        "numba": None,
        "triton": None,
    }
    with pytest.raises(ValueError, match="unknown mode of the kernels 'numbr'; nearest: 'numba'"):
        Experiment(kernels="numbr")


def test_kernels_that_cannot_run_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="kernels='triton': .*; or ask for kernels='auto' or 'plain'"):
        run(replace(ONE, kernels="triton"), tmp_path / "r")
    assert not (tmp_path / "r" / "config.yaml").exists()


def test_a_table_of_several_modes_is_refused_or_marked(done):
    folder = done / ONE.identity
    made = files.read_json(folder / "provenance.json")
    files.write_json(folder / "provenance.json", {**made, "kernels": {"mode": "numba", "numba": "0.1", "triton": None}})
    write_seal(folder)
    with pytest.raises(ValueError, match=rf"(?s)different modes of the kernels.*numba 0.1: {ONE.identity}"):
        gather(done)
    table = gather(done, accept_changes=True)
    assert [row["changed"] for row in table["rows"]] == [["kernels"], []]
    text = format_table(table)
    assert "bptt \u2020" in text
    assert "or were continued with others (--accept-changes): bptt (kernels)" in text


def test_another_revision_is_refused_named_and_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "revision", lambda: "abc")
    with pytest.raises(Stop):
        run(TINY, tmp_path / "r", progress=stop_after(7))
    monkeypatch.setattr(folders, "revision", lambda: "def")
    message = "was begun by revision abc of this project, and this is def; remove that folder and run again, .*--accept-changes"
    with pytest.raises(ValueError, match=message):
        run(TINY, tmp_path / "r")
    run(TINY, tmp_path / "r", accept_changes=True)
    kept = files.read_json(tmp_path / "r" / "provenance.json")
    assert [each["revision"] for each in kept["attempts"]] == ["abc", "def"]
    assert [each["continued_from_step"] for each in kept["attempts"]] == [None, 6]
    assert kept["changed"] == ["revision"]
    assert run(TINY, tmp_path / "r")["steps"] == 12  # a finished run is returned, and says who made it


def test_a_changed_work_tree_is_compared_by_content(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "revision", lambda: "abc+")
    with pytest.raises(Stop):
        run(TINY, tmp_path / "r", progress=stop_after(7))
    monkeypatch.setattr(attempts, "project_sha256", lambda: "0" * 64)
    with pytest.raises(ValueError, match=r"abc\+ of this project, and this is abc\+, with other changes"):
        run(TINY, tmp_path / "r")
    monkeypatch.undo()
    monkeypatch.setattr(folders, "revision", lambda: "def")  # the same files, now committed
    assert run(TINY, tmp_path / "r")["steps"] == 12


def test_attempts_are_added_and_the_first_stays(tmp_path):
    seen = []
    for steps in (2, 5, 8):
        with pytest.raises(Stop):
            run(TINY, tmp_path / "r", progress=stop_after(steps))
        seen.append(files.read_json(tmp_path / "r" / "provenance.json")["attempts"])
    assert [len(each) for each in seen] == [1, 2, 3]
    assert seen[0] == seen[1][:1] == seen[2][:1]
    assert seen[1] == seen[2][:2]
    run(TINY, tmp_path / "r")
    run(TINY, tmp_path / "whole")
    same_files(tmp_path / "r", tmp_path / "whole")
    kept = files.read_json(tmp_path / "r" / "provenance.json")
    assert [each["continued_from_step"] for each in kept["attempts"]] == [None, 0, 4, 8]


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_that_an_own_file_imports_is_part_of_the_code(own):
    (own / "mine.py").write_text("import mine_rate\n" + RULE.replace("{lr}", "mine_rate.LR"))
    (own / "mine_rate.py").write_text("LR = 0.1\n")
    import sys

    sys.path.insert(0, str(own))
    try:
        experiment = replace(TINY, rule=RuleConfig("mine.py:mine"))
        with pytest.raises(Stop):
            run(experiment, own / "r", progress=stop_after(7))
        (own / "mine_rate.py").write_text("LR = 0.2\n")
        with pytest.raises(ValueError, match=r"mine_rate.py \(imported by mine.py\) has changed since"):
            run(experiment, own / "r")
    finally:
        sys.path.remove(str(own))
        sys.modules.pop("mine_rate", None)


def test_old_results_are_not_returned_for_changed_data(own):
    """A task that reads a file beside it: its code is as it was, and its data are not."""
    text = TASK.format(seed=0).replace("manual_seed(0)", "manual_seed(int(open('seed.txt').read()))")
    (own / "first.py").write_text(text)
    (own / "seed.txt").write_text("0")
    experiment = replace(ONE, task=Choice("first.py:Drawn"))
    result = run(experiment, own / "r")
    assert run(experiment, own / "r") == result
    (own / "seed.txt").write_text("1")
    with pytest.raises(ValueError, match="the data have changed since .* was begun"):
        run(experiment, own / "r")
    assert run(experiment, own / "r", accept_changes=True) == result
    (own / "seed.txt").unlink()
    assert run(experiment, own / "r") == result  # data that are not here cannot be compared


def test_a_changed_rule_may_be_accepted_and_is_marked(own):
    (own / "mine.py").write_text(RULE.format(lr=0.1))
    experiment = replace(ONE, rule=RuleConfig("mine.py:mine"))
    plan = Comparison(experiment, [experiment.rule], seeds=1)
    compare(plan, own / "c", jobs=1)
    (own / "mine.py").write_text(RULE.format(lr=0.2))
    with pytest.raises(ValueError, match="mine.py is not the file .*--accept-changes"):
        compare(plan, own / "c", jobs=1)
    table = compare(plan, own / "c", jobs=1, accept_changes=True)
    assert {row["rule"]: row["changed"] for row in table["rows"]} == {"mine.py:mine": ["mine.py"], "readout_only": []}
    assert "mine.py:mine \u2020" in format_table(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, 1]\nb: *a\n", "is damaged: it does not say which kind"),
        ("a: [", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        ("!!python/object/apply:os.system [id]", "is not valid YAML"),
        ("[" * 5000, "is nested more than 100 deep"),
        ("kind: [run]", "is damaged: it does not say which kind"),
    ],
)
def test_a_damaged_configuration_is_named_by_resume(tmp_path, capsys, text, message):
    (tmp_path / "config.yaml").write_text(text)
    assert main(["resume", str(tmp_path)]) == BAD_INPUT
    assert f"config.yaml {message}" in capsys.readouterr().err


def test_a_checkpoint_says_which_run_it_belongs_to(stopped):
    state = torch.load(stopped / "checkpoint.pt", weights_only=True)
    assert state["bound"]["identity"] == TINY.identity
    assert state["bound"]["config_sha256"] == TINY.digest
    assert TINY.identity.endswith(TINY.digest[:8])
    assert state["bound"]["data_sha256"] == json.loads((stopped / "provenance.json").read_text())["data_sha256"]


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_checkpoint_without_its_provenance_is_refused(stopped, content):
    path = stopped / "provenance.json"
    whole = path.read_text()
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=r"provenance.json does not record the attempt .* remove checkpoint.pt to"):
        run(TINY, stopped)
    assert path.exists() is (content is not None)
    path.write_text(whole)
    assert run(TINY, stopped)["steps"] == 12


def test_what_another_attempt_continued_is_not_called_begun(stopped, monkeypatch):
    monkeypatch.setattr(attempts, "effective", lambda *a: Effective("numba", "0.1"))
    with pytest.raises(Stop):
        run(TINY, stopped, progress=stop_after(11), accept_changes=True)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="was last continued in the mode numba 0.1 of the kernels, and this is plain"):
        run(TINY, stopped)


def test_an_edited_configuration_is_not_called_another_checkpoint(stopped):
    named = stopped.parent / TINY.identity
    stopped.rename(named)
    path = named / "config.yaml"
    path.write_text(path.read_text().replace(f"epochs: {TINY.epochs}", f"epochs: {TINY.epochs + 1}"))
    with pytest.raises(ValueError, match="config.yaml has changed since the run was begun"):
        run(replace(TINY, epochs=TINY.epochs + 1), named)


def test_a_table_names_damaged_runs_before_the_seeds(done):
    folder = done / ONE.identity
    files.write_json(folder / "result.json", {})
    with pytest.raises(ValueError, match="holds 1 damaged run folder") as caught:
        gather(done)
    lines = str(caught.value).splitlines()
    assert lines[1].startswith(f"  {ONE.identity}: ")
    assert "  bptt: 1 (missing: 0)" in lines
