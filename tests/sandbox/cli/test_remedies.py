"""Errors that speak of Python name the options of the command line beside it, and these do what they say."""

from __future__ import annotations

import pytest

from sandbox.cli import main

SHORT = ["--task", "yinyang", "--epochs", "1", "--task.options", "{train: 40, validation: 20, test: 20}"]
SMALL = "{name: perceptron, options: {hidden: [100]}}"
WIDE = "{name: perceptron, options: {hidden: [200, 200], activation: relu}}"
SOMA = "{name: two_compartment, options: {reset: none}}"


def run(tmp_path, *options):
    return main(["run", *SHORT, "--out", str(tmp_path), *options])


@pytest.mark.parametrize(
    ("rule", "said", "mended"),
    [
        (
            ["--rule", "equilibrium_propagation"],
            f"as options: --encoder still --network.model '{SMALL}'",
            ["--encoder", "still", "--network.model", SMALL],
        ),
        (
            ["--rule", "forward_forward"],
            f"as options: --encoder still --network.model '{WIDE}'",
            ["--encoder", "still", "--network.model", WIDE],
        ),
        (
            ["--rule", "pepita"],
            "as options: --encoder still --network.model perceptron",
            ["--encoder", "still", "--network.model", "perceptron"],
        ),
        (
            ["--rule", "urbanczik_senn"],
            "as options: --network.hidden '[]' --network.readout '" + SOMA + "'",
            ["--network.hidden", "[]", "--network.readout", SOMA],
        ),
        (
            ["--rule", "stdp", "--rule.options", "{homeostasis: 0.1}"],
            "as options: --network.model diehl_cook, or --network.neuron own.py:Name",
            ["--network.model", "diehl_cook"],
        ),
        (
            ["--rule", "stdp", "--network.hidden", "[]"],
            "as options: --network.readout lif, or --network.neuron lif for hidden layers",
            ["--network.readout", "lif"],
        ),
        (
            ["--rule", "bptt", "--encoder", "still"],
            "as options: another --encoder than still, or --network.model perceptron",
            ["--network.model", "perceptron"],
        ),
    ],
)
def test_what_is_said_helps(tmp_path, capsys, rule, said, mended):
    assert run(tmp_path, *rule) == 2
    assert said in capsys.readouterr().err
    assert run(tmp_path, *rule, *mended) == 0


def test_a_network_that_does_not_rest_does_with_the_gain_that_is_said(tmp_path, capsys):
    deep = ["--encoder", "still", "--rule", "microcircuit"]
    hidden = "hidden: [64, 64, 64, 64, 64, 64]"
    model = f"{{name: perceptron, options: {{{hidden}, gain: 2.0}}}}"
    assert run(tmp_path, *deep, "--network.model", model) == 2
    said = capsys.readouterr().err
    assert "the state still moves after 1000 steps" in said
    assert "as options: --network.model '{name: perceptron, options: {gain: 0.5}}'" in said
    smaller = f"{{name: perceptron, options: {{{hidden}, gain: 0.5}}}}"
    assert run(tmp_path, *deep, "--network.model", smaller) == 0
