"""A run with a microscope equals the run without it plus one file; the report shows what the file contains."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace

import pytest
import torch
import yaml

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.config.experiment import Experiment, MicroscopeConfig
from sandbox.config.reading import from_dict
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.microscope import Row, read_rows
from sandbox.report import write_report
from sandbox.runs.folder import load
from sandbox.runs.run import run
from sandbox.runs.seal import write_seal
from tests.sandbox.runs.test_run import TINY

LOOKED = replace(TINY, rule=RuleConfig("node_perturbation"), microscope=MicroscopeConfig(every=2, draws=3))


class Stop(BaseException):  # as an interruption is
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run with a microscope: its folder and its result."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "looked"
    return folder, run(LOOKED, folder)


def test_a_run_with_it_is_the_run_without_it(whole, tmp_path):
    folder, result = whole
    assert run(replace(LOOKED, microscope=None), tmp_path / "plain") == result
    assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "plain" / "metrics.jsonl").read_bytes()
    one, two = (torch.load(x / "checkpoint.pt", weights_only=True)["trainer"] for x in (folder, tmp_path / "plain"))
    assert torch.equal(one["rng"], two["rng"])
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert not (tmp_path / "plain" / "microscope.jsonl").exists()


def test_the_file_has_a_line_for_each_layer_of_each_look(whole):
    rows = read_rows(whole[0] / "microscope.jsonl")
    layers = ["layers.0.synapse.weight", "layers.1.synapse.weight"]
    assert [(row.step, row.layer) for row in rows] == [(step, layer) for step in range(0, 12, 2) for layer in layers]
    assert {(row.reference, row.draws) for row in rows} == {("bptt", 3)}
    assert all(-1 <= row.cosine <= 1 and row.variance > 0 for row in rows)
    assert load(Experiment, whole[0]) == LOOKED


@pytest.mark.parametrize("stop", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5, 8, 12))])
def test_a_stopped_run_writes_no_line_twice(whole, tmp_path, stop):
    def interrupt(done, total):
        if done == stop:
            raise Stop

    with pytest.raises(Stop):
        run(LOOKED, tmp_path / "cut", progress=interrupt)
    with open(tmp_path / "cut" / "microscope.jsonl", "a") as file:
        file.write('{"step": ')  # cut off while it was written
    assert run(LOOKED, tmp_path / "cut") == whole[1]
    assert (tmp_path / "cut" / "microscope.jsonl").read_bytes() == (whole[0] / "microscope.jsonl").read_bytes()


def test_a_run_without_a_checkpoint_begins_its_file_anew(whole, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "microscope.jsonl").write_text("old\n")
    run(LOOKED, tmp_path / "r")
    assert (tmp_path / "r" / "microscope.jsonl").read_bytes() == (whole[0] / "microscope.jsonl").read_bytes()


def test_names_of_runs_without_a_microscope_stay_what_they_were():
    assert Experiment().identity == "yinyang-bptt-s0-44136fa3"
    assert LOOKED.identity != replace(LOOKED, microscope=None).identity
    assert replace(LOOKED, microscope=MicroscopeConfig(every=3)).identity != LOOKED.identity


def test_folders_of_a_version_without_microscopes_are_continued(tmp_path):
    result = run(TINY, tmp_path / "r")
    path = tmp_path / "r" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    del content["microscope"]
    path.write_text(yaml.safe_dump(content))
    write_seal(tmp_path / "r")
    with pytest.raises(ValueError, match="holds another configuration"):
        run(replace(TINY, microscope=MicroscopeConfig()), tmp_path / "r")
    assert run(TINY, tmp_path / "r") == result


def test_a_configuration_survives_yaml():
    windows = MicroscopeConfig(references=["bptt", Choice("bptt", {"window": 2}), Choice("smoothed", {"sigma": 0.2})])
    experiment = replace(LOOKED, microscope=windows)
    assert from_dict(Experiment, yaml.safe_load(yaml.safe_dump(asdict(experiment)))) == experiment
    assert [reference.label for reference in windows.make().references] == ["bptt", "bptt of 2 steps", "smoothed"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"every": 0}, "every=0: give a whole number, at least 1"),
        ({"draws": 0}, "draws=0: give a whole number, at least 1"),
        ({"references": ["smoothd"]}, "unknown reference 'smoothd'; nearest: 'smoothed'"),
        ({"evry": 3}, "nearest: 'microscope.every'|evry"),
    ],
)
def test_misspelt_configurations_are_answered(content, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Experiment, {"microscope": content})


def test_the_command_line(tmp_path, capsys):
    words = [
        "run",
        "--task.options={train: 100, validation: 50, test: 50}",
        "--encoder.options={steps: 4}",
        "--network.hidden=[8]",
        "--epochs=1",
        "--out",
        str(tmp_path),
    ]
    assert main([*words, "--microscope.every", "1"]) == OK
    (path,) = tmp_path.glob("*/microscope.jsonl")
    assert {row.step for row in read_rows(path)} == {0, 1}
    assert main([*words, "--microscope.every", "0"]) == BAD_INPUT
    assert "every=0: give a whole number, at least 1" in capsys.readouterr().err
    assert main([*words, "--microscope.references=[bptt, difference]"]) == BAD_INPUT
    assert "nearest: 'differences'" in capsys.readouterr().err
    assert main(["run", "--help-all"]) == OK
    assert "looks at what the rule tells each layer" in " ".join(capsys.readouterr().out.split())


def test_too_many_weights_stop_a_run_before_its_first_step(tmp_path):
    with pytest.raises(ValueError, match="differences evaluates the loss twice for every weight"):
        run(replace(LOOKED, microscope=MicroscopeConfig(references=[Choice("differences", {"largest": 50})])), tmp_path)
    assert not (tmp_path / "microscope.jsonl").exists()


def test_the_report_of_a_run_shows_it(whole):
    report = write_report(whole[0])
    assert {"credit_bptt.png", "credit_map_bptt.png"} < {path.name for path in report.figures}
    rows = list(csv.DictReader((whole[0] / "credit_bptt.csv").open()))
    wanted = read_rows(whole[0] / "microscope.jsonl")
    assert [(int(row["step"]), row["layer"], float(row["cosine"])) for row in rows] == [
        (row.step, row.layer, row.cosine) for row in wanted
    ]
    ends = list(csv.DictReader((whole[0] / "credit_map_bptt.csv").open()))
    assert [float(row["cosine"]) for row in ends] == [row.cosine for row in wanted[-2:]]
    page = report.html.read_text()
    assert "Credit, layer by layer" in page
    assert f"layers.1.synapse.weight {wanted[-1].cosine:.2f}" in page


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "microscope.jsonl"
    path.write_text(json.dumps(Row(0, "a", "bptt", 1)._asdict()) + "\nhalf")
    with pytest.raises(ValueError, match=r"microscope.jsonl, line 2, is not a row of a microscope"):
        read_rows(path)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison that was looked at, two rules and the baseline, two seeds."""
    folder = tmp_path_factory.mktemp("compared") / "c"
    rules = [RuleConfig("bptt", label="whole"), RuleConfig("bptt", {"window": 1}, label="cut")]
    compare(Comparison(replace(LOOKED, epochs=1), rules, seeds=2), folder, jobs=1)
    return folder


@pytest.mark.slow
def test_the_report_of_a_comparison_has_layers_by_rules(compared):
    report = write_report(compared)
    ends = {
        (row["layer"], row["rule"]): row["cosine"] for row in csv.DictReader((compared / "credit_map_bptt.csv").open())
    }
    assert len(ends) == 2 * 3
    assert float(ends["layers.0.synapse.weight", "whole"]) == pytest.approx(1)
    assert float(ends["layers.0.synapse.weight", "cut"]) < 0.999
    assert ends["layers.0.synapse.weight", "readout_only"] == ""  # no opinion, no cosine
    page = report.html.read_text()
    assert "readout_only: layers.0.synapse.weight undefined" in page
    before = (compared / "credit_map_bptt.png").read_bytes()
    write_report(compared)
    assert (compared / "credit_map_bptt.png").read_bytes() == before  # equal folders, equal figures
    for path in compared.glob("*/microscope.jsonl"):  # two layers change their names
        text = path.read_text().replace("layers.0", "x").replace("layers.1", "layers.0").replace("x", "layers.1")
        path.write_text(text)
        write_seal(path.parent)
    write_report(compared)
    assert (compared / "credit_map_bptt.png").read_bytes() != before
