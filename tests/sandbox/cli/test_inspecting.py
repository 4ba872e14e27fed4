"""`sandbox inspect` on models by name and on a run: tables, JSON, figures, and what it refuses."""

from __future__ import annotations

import json

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK


def call(capsys, *words):
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_model_by_name(capsys, tmp_path):
    code, out, _ = call(capsys, "inspect", "spikingformer", "--figure", tmp_path / "a.png")
    assert code == OK
    assert "41,926 parameters" in out
    assert "integer to" in out  # what meets queries
    assert "silent" not in out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_size_a_shape_and_options(capsys):
    words = ("--shape", "[2, 16, 16]", "--classes", 3, "--steps", 2, "--options", "{neuron: ilif}", "--samples", 2)
    code, out, _ = call(capsys, "inspect", "spikingformer", *words, "--json")
    found = json.loads(out)
    assert code == OK
    assert found["layers"][0]["shape"][1] == 2
    assert found["layers"][-1]["shape"][0] == 3
    assert found["papers_picojoules"] == pytest.approx(sum(each["papers_picojoules"] for each in found["layers"]))


def test_a_model_of_several_inputs(capsys):
    code, out, _ = call(capsys, "inspect", "s2m_former", "--samples", 2)
    assert code == OK
    assert "2 samples of uniform noise of ((64, 128), (5, 32, 32)), the same at each of 4 steps" in out
    assert "14,170 parameters" in out


def test_models_without_sizes(capsys):
    code, out, _ = call(capsys, "inspect", "convolutional", "--shape", "[1, 8, 8]", "--options", "{channels: [4, 8]}")
    assert code == OK
    assert "4 x 1 x 3 x 3" in out


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    tiny = ["--task.options={train: 100, validation: 50, test: 50}", "--encoder.options={steps: 4}", "--epochs=1"]
    assert main(["run", *tiny, "--network.hidden=[8]", "--out", str(root)]) == OK
    return next(path for path in root.iterdir() if path.is_dir())


def test_a_run(run, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    code, out, _ = call(capsys, "inspect", run, "--samples", 5)
    assert code == OK
    assert "5 samples of the validation set of yinyang" in out
    assert "layers.0.synapse" in out
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/none"], "folder runs/none was not found; name the folder of a run, or a model of `list models`"),
        (["spikinformer"], "unknown model 'spikinformer'; nearest: 'spikingformer'"),
        (["spikingformer", "--figure", "a.gif"], "--figure a.gif: give a file that ends with .png, .svg, .pdf"),
        (["spikingformer", "--samples", "0"], "--samples 0: give at least 1"),
        (["convolutional"], "--shape: say what convolutional is to see, such as --shape '[3, 32, 32]'"),
        (["convolutional", "--size", "tiny"], "--size: convolutional has no sizes by name"),
    ],
)
def test_bad_input(words, message, capsys):
    code, _, err = call(capsys, "inspect", *words)
    assert code == BAD_INPUT
    assert message in err


def test_a_run_says_itself_what_its_model_is(run, capsys):
    code, _, err = call(capsys, "inspect", run, "--steps", 3)
    assert code == BAD_INPUT
    assert "--steps is for a model by name" in err
