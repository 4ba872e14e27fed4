"""`sandbox ledger` on a tiny run: tables, JSON, and what it says of runs that lack what it needs."""

from __future__ import annotations

import json
import shutil

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FAILED, OK
from sandbox.hardware import HARDWARE, OPTIMIZERS
from sandbox.machine import files
from sandbox.runs.checkpoint import read_checkpoint, write_checkpoint

TINY = [
    "--task.options={train: 100, validation: 50, test: 50}",
    "--encoder.options={steps: 4}",
    "--network.hidden=[8]",
    "--epochs=1",
]


def call(capsys, *words):
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    assert main(["run", *TINY, "--rule", "spsa", "--rule.options={draws: 2}", "--out", str(root)]) == OK
    return next(path for path in root.iterdir() if path.is_dir())


def test_a_table_for_each_set_of_constants(run, capsys):
    code, out, _ = call(capsys, "ledger", run, "--hardware", "neuromc, sata")
    assert code == OK
    first, second = out.strip().split("\n\n")
    assert first.startswith("neuromc, spsa: energy of one batch with one update, estimated, not measured [uJ]")
    assert second.startswith("sata, spsa: energy of one batch with one update, estimated, not measured [unit of SATA")
    assert "included: backward no, memory yes, dram no, optimizer momentum" in first
    assert "measured in one pass forward and one back" in second


def test_facts_for_machines(run, capsys):
    code, out, _ = call(capsys, "ledger", run, "--hardware", ",".join(HARDWARE), "--rule", "bptt", "--json")
    assert code == OK
    found = json.loads(out)
    assert [each["hardware"] for each in found] == list(HARDWARE)
    assert {each["rule"] for each in found} == {"bptt"}
    assert all(each["total"] == pytest.approx(sum(e["energy"] for e in each["entries"])) for each in found)
    assert found[0]["layers"]["layers.0.synapse"]["macs"] == 50 * 4 * 4 * 8  # a batch of 50, 4 steps, 4 inputs, 8 cells


def test_three_passes_more_for_two_draws(run, capsys):
    """Of central differences; the settings are those of the run."""
    spent = {}
    for rule in ([], ["--rule", "forward"]):
        _, out, _ = call(capsys, "ledger", run, "--optimizer", "none", "--json", *rule)
        (found,) = json.loads(out)
        spent[found["rule"]] = sum(e["energy"] for e in found["entries"] if e["kind"] == "compute")
    weights = 4 * 8 + 8 * 3
    assert spent["spsa"] == pytest.approx(4 * spent["forward"] + 3 * weights * 0.548)


def test_adam_is_left_out_where_it_has_no_price(run, capsys):
    words = ["ledger", run, "--hardware", "sata"]
    code, _, err = call(capsys, *words, "--optimizer", "adam")
    assert code == BAD_INPUT
    assert "sata has no price of a square root, which Adam needs" in err


FEW = {"name": "levels", "options": {"bits": 4, "lr": 0.01}}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A run with weights of four bits between its ends, and an update after every second batch."""
    root = tmp_path_factory.mktemp("few")
    words = ["--rule", "bptt", f"--rule.plasticity={json.dumps(FEW)}", "--accumulate=2", "--network.hidden=[8, 8]"]
    assert main(["run", *TINY[:2], "--epochs=1", *words, "--out", str(root)]) == OK
    return next(path for path in root.iterdir() if path.is_dir())


def facts(capsys, run, *words):
    return json.loads(call(capsys, "ledger", run, "--json", *words)[1])[0]


def test_weights_of_few_bits_are_charged_as_such(few, capsys):
    """Additions in the forward engine are b / 16 of those of 16 bits; the other engines work as before."""
    ours, wide = facts(capsys, few), facts(capsys, few, "--bits", "16")
    assert [layer["bits"] for layer in ours["layers"].values()] == [16, 4, 16]
    energy = {
        (each["layer"], each["engine"], each["kind"]): each["energy"] for found in (ours,) for each in found["entries"]
    }
    for each in wide["entries"]:
        key = each["layer"], each["engine"], each["kind"]
        narrow = key[0] == "layers.1.synapse" and (key[1] == "forward" or key[1:] == ("backward", "memory"))
        assert (energy[key] < each["energy"]) if narrow else energy[key] == each["energy"]
    assert (
        "bits of weights: layers.0.synapse 16, layers.1.synapse 4, layers.2.synapse 16"
        in (call(capsys, "ledger", few)[1])
    )
    assert "bits of weights: 2 each" in call(capsys, "ledger", few, "--bits", "2")[1]


def test_the_inner_optimizer_is_priced_for_the_share_of_an_update(few, capsys):
    """Of latent weights, by Adam: half of an update a batch, as accumulate=2 asks."""
    ours = facts(capsys, few)
    assert (ours["includes"]["optimizer"], ours["updates"]) == ("adam", 0.5)
    spent = sum(e["energy"] for e in ours["entries"] if (e["engine"], e["kind"]) == ("optimizer", "compute"))
    weights = 4 * 8 + 8 * 8 + 8 * 3
    assert spent == pytest.approx(weights * 0.5 * OPTIMIZERS["adam"].operations(HARDWARE["neuromc"]))
    assert "energy of one batch with a share of 0.5 of an update, estimated" in call(capsys, "ledger", few)[1]


def test_updates_inside_of_a_sequence_are_all_counted(tmp_path, capsys):
    root = tmp_path / "runs"
    words = ["--rule", "ottt", "--rule.options={every: 3}"]
    assert main(["run", *TINY, *words, "--out", str(root)]) == OK
    (run,) = (path for path in root.iterdir() if path.is_dir())
    capsys.readouterr()
    assert facts(capsys, run)["updates"] == 2  # of 4 steps, 3 and 1
    assert facts(capsys, run, "--rule", "bptt")["updates"] == 1


def test_nothing_is_written(run, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    call(capsys, "ledger", run, "--buffer", "100", "--dram", "true", "--bits", "4")
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hardware", "neurmoc"], "unknown hardware 'neurmoc'; nearest: 'neuromc'; valid: neuromc, neuromc_sparse"),
        (["--hardware", "neuromc,"], "unknown hardware ''"),
        (["--optimizer", "adan"], "unknown optimizer 'adan'; nearest: 'adam'; valid: sgd, momentum, adam, none"),
        (["--rule", "hzo"], "no estimate for 'hzo': how often a layer runs again depends on its place"),
        (["--rule", "bpt"], "unknown rule or family 'bpt'; nearest: 'bptt'"),
        (["--buffer", "-1"], "--buffer -1: give bytes, 0 or more"),
        (["--bits", "0"], "bits=0: give whole numbers, at least 1"),
    ],
)
def test_mistakes_are_named(run, capsys, words, message):
    code, _, err = call(capsys, "ledger", run, *words)
    assert code == BAD_INPUT
    assert message in err


def test_a_run_without_a_checkpoint_says_so(run, tmp_path, capsys):
    bare = tmp_path / run.name
    shutil.copytree(run, bare)
    (bare / "checkpoint.pt").unlink()
    code, _, err = call(capsys, "ledger", bare)
    assert code == BAD_INPUT
    assert "has no checkpoint.pt, so its weights are not known" in err
    assert err.endswith("; remove it and run the experiment again\n")
    (bare / "result.json").unlink()
    _, _, err = call(capsys, "ledger", bare)
    assert err.endswith(f"; `sandbox resume {bare}` writes one\n")


def test_the_weights_are_those_of_the_checkpoint(run, tmp_path, capsys):
    """Of a checkpoint without any weight nothing is left to do but the input."""
    silent = tmp_path / run.name
    shutil.copytree(run, silent)
    state = read_checkpoint(silent / "checkpoint.pt")
    for value in state["trainer"]["model"].values():
        value.zero_()
    write_checkpoint(silent / "checkpoint.pt", {name: part for name, part in state.items() if name != "format"})
    _, out, _ = call(capsys, "ledger", silent, "--json")
    layers = json.loads(out)[0]["layers"]
    assert [layer["d_w"] for layer in layers.values()] == [0.0, 0.0]
    assert layers["layers.1.synapse"]["r_s"] == 0.0 < layers["layers.0.synapse"]["r_s"]


def test_code_of_a_folder_from_elsewhere_needs_trust(run, tmp_path, capsys):
    other = tmp_path / run.name
    shutil.copytree(run, other)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("name: yinyang", "name: ./mine.py:Task"))
    code, _, err = call(capsys, "ledger", other)
    assert code == BAD_INPUT
    assert "--trust" in err


def test_a_damaged_checkpoint_and_a_folder_that_is_no_run(run, tmp_path, capsys):
    broken = tmp_path / run.name
    shutil.copytree(run, broken)
    (broken / "checkpoint.pt").write_bytes(b"cut off")
    code, _, err = call(capsys, "ledger", broken)
    assert code == FAILED
    assert "cannot be read" in err
    code, _, err = call(capsys, "ledger", tmp_path)
    assert code == BAD_INPUT
    assert "is not a run folder: it has no config.yaml" in err
    files.write_atomically(broken / "config.yaml", "format: 4\nkind: comparison\n")
    code, _, err = call(capsys, "ledger", broken)
    assert code == BAD_INPUT
    assert "holds a comparison, not a run" in err
