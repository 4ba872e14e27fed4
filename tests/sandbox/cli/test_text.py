"""Runs on text from the command line: training, resume, report, and `sandbox sample`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml

from rules.seeds import seeded
from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.linear import linear_baseline
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.runs.run import run as run_experiment
from sandbox.runs.sampled import sample_run
from sandbox.runs.trained import read_model
from sandbox.tasks.text.text_file import TextFile
from sandbox.tasks.text.tokenizers import Characters
from tests.conftest import ROOT

MODEL = ROOT / "experiments" / "language" / "gru.py"
LINES = "the cat sat on the mat, and the dog sat on the log.\n" * 40


def call(capsys, *words):
    capsys.readouterr()
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


def settings(path, **more):
    network = {"model": {"name": f"{MODEL}:letters", "options": {"width": 24}}, "rate": None}
    return {
        "task": {"name": "text_file", "options": {"path": str(path), "context": 16}},
        "encoder": {"name": "as_recorded"},
        "network": network,
        "rule": {"name": "bptt", "options": {"lr": 0.02}},
        "epochs": 3,
        "batch_size": 20,
        **more,
    }


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "cats.txt"
    path.write_text(LINES)
    return path


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "cats"
    run_experiment(from_dict(Experiment, settings(text)), folder)
    return folder


def test_a_run_on_text_reports_perplexity_and_bits_with_intervals(run):
    result = json.loads((run / "result.json").read_text())
    for part in ("train", "validation", "test"):
        found = result[part]
        assert found["perplexity"] == pytest.approx(math.exp(found["loss"]), rel=1e-5)
        assert found["bits_per_character"] == pytest.approx(found["loss"] / math.log(2), rel=1e-5)
        assert ("perplexity_low" in found) == (part == "test")
    test = result["test"]
    assert test["perplexity_low"] < test["perplexity"] < test["perplexity_high"] < 10
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["validation_perplexity"] > 10 > lines[-1]["validation_perplexity"]
    assert lines[-1]["validation_bits_per_character"] == result["validation"]["bits_per_character"]


def test_the_command_prints_them_and_the_report_shows_them(run, text, tmp_path, capsys):
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(settings(text, epochs=1)))
    code, out, _ = call(capsys, "run", "--config", tmp_path / "e.yaml", "--out", tmp_path)
    assert code == OK
    assert "test perplexity: " in out
    assert "test bits per character: " in out
    assert call(capsys, "report", run)[0] == OK
    page = (run / "report.html").read_text()
    assert "test perplexity" in page
    assert "a bootstrap of at most 100 pieces of consecutive blocks" in page
    assert call(capsys, "verify", run)[0] == OK


def test_a_run_that_accumulates_resumes_between_two_blocks_of_one_update(text, tmp_path):
    """Stopped in mid-update, before a batch of four blocks at the end of an epoch, which counts for what it holds."""
    experiment = from_dict(Experiment, settings(text, accumulate=3, checkpoint_steps=1))
    whole = run_experiment(experiment, tmp_path / "whole")

    def stopping(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment, tmp_path / "parts", progress=stopping)
    again = run_experiment(experiment, tmp_path / "parts")
    assert again == whole
    one, other = (read_model(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_model_goes_on_with_a_prompt(run, capsys):
    code, out, err = call(capsys, "sample", run, "--prompt", "the ", "--length", "60", "--seed", "3")
    assert code == OK
    assert out.startswith("the ")
    assert len(out) == len("the ") + 60 + 1  # print ends the line
    assert set(out) <= set(LINES)
    assert err == ""
    again = call(capsys, "sample", run, "--prompt=the ", "--length=60", "--seed=3", "--json")[1]
    facts = json.loads(again)
    assert facts["prompt"] + facts["text"] + "\n" == out
    assert (facts["streamed"], facts["length"], facts["temperature"], facts["top_k"]) == (True, 60, 0.8, None)
    assert call(capsys, "sample", run, "--prompt=the ", "--length=60", "--seed=4")[1] != out


def test_one_candidate_writes_what_the_model_thinks_likeliest(run):
    found = sample_run(run, "the c", length=30, top_k=1)
    model, letters = read_model(run), Characters.of(LINES)
    tokens = letters.encode("the c")
    with torch.no_grad():
        for _ in range(30):
            tokens = torch.cat([tokens, model(tokens[:, None]).output[-1, 0].argmax()[None]])
    assert found.text == letters.decode(tokens[5:])
    assert found.step == 18


def test_places_behind_the_end_of_a_block_have_learned_nothing(tmp_path):
    """A model with places for more tokens than a block has reads its last ones anew, as one with a short context."""
    (tmp_path / "cats.txt").write_text(LINES)
    network = {"model": {"name": "transformer", "options": {"size": "tiny"}}, "rate": None}  # 128 places, blocks of 16
    experiment = from_dict(Experiment, {**settings(tmp_path / "cats.txt"), "network": network, "epochs": 1})
    run_experiment(experiment, tmp_path / "run", indexed=False)
    assert sample_run(tmp_path / "run", "the c", length=11).streamed
    longer = sample_run(tmp_path / "run", "the c", length=40, top_k=1)
    assert not longer.streamed
    model, letters = read_model(tmp_path / "run"), Characters.of(LINES)
    tokens = letters.encode("the c")
    with torch.no_grad():
        for _ in range(40):
            tokens = torch.cat([tokens, model(tokens[-16:, None]).output[-1, 0].argmax()[None]])
    assert longer.text == letters.decode(tokens[5:])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt", "the Cat"], "character 'C' (U+0043) at position 4 is not one of the"),
        (["--prompt", ""], "prompt='': give at least one character"),
        (["--temperature", "0"], "temperature=0.0: give a number above 0; top_k=1 always takes the likeliest token"),
        (["--length", "0"], "length=0: give the number of tokens to draw, at least 1"),
        (["--top-k", "0"], "top_k=0: give the number of tokens that may be drawn"),
        (["--top-p", "1"], "nearest: --top-k"),
    ],
)
def test_what_cannot_be_sampled_is_refused(words, message, run, capsys):
    code, out, err = call(capsys, "sample", run, *words)
    assert code == BAD_INPUT
    assert message in err
    assert out == ""


def test_tokens_want_a_model_that_takes_them(tmp_path, capsys):
    code, _, err = call(capsys, "run", "--task=copying", "--encoder.name=as_recorded", "--out", tmp_path)
    assert code == BAD_INPUT
    assert "task 'copying' has tokens, and layers of neurons take features: name a model that embeds them" in err


def test_a_run_of_a_task_without_a_tokenizer_is_refused_by_name(tmp_path, capsys):
    words = ["run", "--task=yinyang", "--network.hidden=[3]", "--epochs=1", "--batch_size=2500", "--out", tmp_path]
    assert call(capsys, *words)[0] == OK
    code, _, err = call(capsys, "sample", next(tmp_path.glob("yinyang*")))
    assert code == BAD_INPUT
    assert "task 'yinyang' has no tokenizer, so that its models write no text: name a run of tiny_shakespeare" in err


def test_a_text_that_has_changed_since_is_refused(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(LINES)
    run_experiment(from_dict(Experiment, settings(tmp_path / "a.txt", epochs=1)), tmp_path / "run")
    (tmp_path / "a.txt").write_text(LINES.replace("cat", "cow"))
    code, _, err = call(capsys, "sample", tmp_path / "run")
    assert code == BAD_INPUT
    assert "learned from other data than are here now, whose tokens may stand for other characters" in err


def test_blocks_that_are_longer_than_the_context_of_a_model_are_refused(text, tmp_path):
    """A model says how much it takes in its attribute `context`."""
    (tmp_path / "short.py").write_text(
        "from torch import nn\n\n\nclass Short(nn.Sequential):\n    context = 8\n\n\n"
        "def short(shape, classes, *, seed):\n    return Short(nn.Embedding(classes, 4), nn.Linear(4, classes))\n"
    )
    network = {"model": {"name": f"{tmp_path / 'short.py'}:short"}, "rate": None}
    message = (
        "task 'text_file' has sequences of 16 steps, and the model takes at most 8: give the task context=8, or the"
    )
    for noise in (0.0, 0.1):  # also inside a wrapper
        with pytest.raises(ValueError, match=message):
            run_experiment(
                from_dict(Experiment, settings(text, network={**network, "readout_noise": noise})), tmp_path / "run"
            )
    fits = settings(text, network=network)
    fits["task"]["options"]["context"] = 8
    assert run_experiment(from_dict(Experiment, fits), tmp_path / "fits")["steps"] == 33
    assert not sample_run(tmp_path / "fits", length=12).streamed


def test_the_linear_model_of_tokens_is_the_most_frequent_follower(text):
    data = TextFile(str(text), context=16).load()
    follower = {}
    learned = data.train.take(torch.arange(len(data.train)), seeded(0, "linear"))
    for x, y in zip(learned[0].flatten().tolist(), learned[1].flatten().tolist(), strict=True):
        follower.setdefault(x, []).append(y)
    best = {x: max(sorted(set(ys)), key=ys.count) for x, ys in follower.items()}
    tested = data.test.take(torch.arange(len(data.test)), torch.Generator())
    pairs = [(x, y) for x, y in zip(tested[0].flatten().tolist(), tested[1].flatten().tolist(), strict=True) if y >= 0]
    right = 100 * sum(best[x] == y for x, y in pairs) / len(pairs)
    assert linear_baseline(data) == pytest.approx(right, rel=1e-12)


def test_the_example_configuration_is_that_of_a_model_by_its_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    experiment = from_dict(Experiment, yaml.safe_load(Path("experiments/language/shakespeare.yaml").read_text()))
    experiment.check()
    model = experiment.network.make((), 65, seed=0)
    x = torch.zeros(3, 2, dtype=torch.int64)
    whole = model(x)
    first = model(x[:2])
    assert whole.output.shape == (3, 2, 65)
    assert torch.allclose(model(x[2:], first.carry).output, whole.output[2:], atol=1e-6)  # float32 in another order
