"""The equations of other libraries' cells: every check passes under them, and settings without one are refused."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from sandbox import validate
from sandbox.reference.conformance.stepping import respond
from sandbox.reference.conformance.stimuli import step_currents
from sandbox.reference.peers import KNOWN, as_step, equation_of, known, name_of
from sandbox.reference.peers.examples import EXAMPLES, HOMES, Example
from sandbox.reference.peers.mapping import number, tau_of
from tests.conftest import ROOT
from tests.peers.zoo import present

SHORT = {"dt": 1.0, "duration": 80.0, "cells": 5}


def made(library, name, options=None, parts=None):
    if not present(library):
        pytest.skip(f"{library} is not installed: make peers")
    return Example(library, name, options or {}, parts or {}).make()


def has_equation(example):
    if example.name == "ALIF":
        return "reset_fn" in example.parts
    return not (example.name == "Alpha" and example.options["reset_mechanism"] != "none")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.library}.{example.code}")
def test_every_check_passes_under_the_exact_mapping(example):
    cell = made(example.library, example.name, example.options, example.parts)
    if not has_equation(example):
        with pytest.raises(ValueError, match="no equation of the sandbox does this"):
            validate(cell, **SHORT)
        return
    report = validate(cell, **SHORT)
    assert report.cell == name_of(cell)
    if fires_at_twice_the_threshold(example):
        assert failing(report) == {"both signs"}, str(report)
        return
    assert report.passed, str(report)
    assert report.spikes_differing == 0


def fires_at_twice_the_threshold(example):
    """Whether a cell of snnTorch takes back a reset that was not enough, and decides on a spike before it does."""
    options = example.options
    return options.get("reset_delay") is False and options.get("reset_mechanism", "subtract") == "subtract"


def failing(report):
    return {each.name for each in report.checks if each.passed is False}


def test_snntorch_fires_at_twice_the_threshold_behind_a_reset_that_is_not_enough():
    """The cell is this step under every stimulus, and the equation wherever a reset takes the membrane below."""
    cell = made("snntorch", "Leaky", {"beta": 0.9, "reset_delay": False})
    beta = float(cell.beta)

    def leaky(current, state):
        v = torch.zeros_like(current) if state is None else state
        above, v = (v > 1).double(), beta * v + current
        spikes = (v - above > 1).double()
        return spikes, v - spikes, v - spikes

    equation = equation_of(cell)
    currents = step_currents(equation, 5, 400, 1.0)
    ours, theirs = respond(leaky, currents), respond(as_step(cell), currents)
    assert torch.equal(ours.spikes, theirs.spikes)
    assert float((ours.v - theirs.v).abs().max()) < 1e-12  # roundings of membranes of up to 1e2
    assert failing(validate(equation, step=leaky, **SHORT)) == {"both signs"}


def test_every_known_class_is_an_example():
    named = {(example.library, example.name) for example in EXAMPLES}
    assert named == {(library, name) for library, classes in KNOWN.items() for name in classes}


@pytest.mark.parametrize(
    ("library", "name", "options", "fails"),
    [
        ("snntorch", "Leaky", {"beta": 0.9}, {"reset", "threshold at equality", "spikes at another step"}),
        ("snntorch", "Leaky", {"beta": 0.9, "reset_delay": False}, {"threshold at equality"}),
        ("spikingjelly", "LIFNode", {"tau": 2.0}, {"input", "decay", "spikes at another step"}),
        ("norse", "LIFBoxCell", {}, {"input", "decay", "threshold at equality", "spikes at another step"}),
        ("sinabs", "LIF", {"tau_mem": 20.0}, {"spikes per step", "spikes at another step"}),
    ],
)
def test_the_naive_mapping_fails_where_it_differs(library, name, options, fails):
    cell = made(library, name, options)
    naive = known(cell).naive(cell, 1.0)
    report = validate(naive, step=as_step(cell), **SHORT)
    found = failing(report)
    assert fails <= found
    assert not found - fails - {"v, after the reset", "v, before the reset", "both signs"}


@pytest.mark.parametrize(
    ("library", "name", "options", "parts", "message"),
    [
        (
            "snntorch",
            "Leaky",
            {"beta": 0.9, "inhibition": True},
            {},
            "inhibition=True: no equation .* leave inhibition",
        ),
        ("snntorch", "Leaky", {"beta": 0.9, "graded_spikes_factor": 2.0}, {}, "graded_spikes_factor: no equation"),
        ("snntorch", "Leaky", {"beta": 0.0}, {}, "beta: a step keeps 0 of the membrane"),
        ("snntorch", "Leaky", {"beta": torch.tensor([0.5, 0.9])}, {}, "beta has 2 values, and an equation has one"),
        ("snntorch", "Alpha", {"alpha": 0.9, "beta": 0.8}, {}, "reset_mechanism='zero' of Alpha changes its currents"),
        ("snntorch", "Leaky", {"beta": 0.9, "state_quant": round}, {}, "state_quant=<built-in .*: no equation"),
        ("spikingjelly", "CUBALIFNode", {"v_reset": -0.5}, {}, "v_reset=-0.5 of CUBALIFNode, whose leak is to 0"),
        ("spikingjelly", "QIFNode", {}, {}, "unknown cell of spikingjelly 'QIFNode'; nearest: 'IFNode'"),
        ("sinabs", "LIF", {"tau_mem": 20.0, "min_v_mem": -1.0}, {}, "min_v_mem=-1: no equation .* leave min_v_mem out"),
        ("sinabs", "LIF", {"tau_mem": 20.0}, {"reset_fn": "MembraneReset()"}, "spike_fn=MultiSpike with reset_fn=Memb"),
        ("sinabs", "LIF", {"tau_mem": 20.0, "tau_syn": 5.0}, {}, "tau_syn with several spikes in a step: no equation"),
        ("sinabs", "IAF", {"tau_syn": 5.0}, {}, "tau_syn of IAF: no equation"),
        ("sinabs", "ExpLeak", {"tau_mem": 5.0, "min_v_mem": 0.0}, {}, "min_v_mem: no equation"),
        ("sinabs", "ALIF", {"tau_mem": 5.0, "tau_adapt": 9.0}, {}, "ALIF subtracts the threshold with its adaptation"),
        (
            "sinabs",
            "ALIF",
            {"tau_mem": 5.0, "tau_adapt": 9.0, "norm_input": False},
            {"reset_fn": "MembraneReset()"},
            "tau_syn or norm_input=False of ALIF: no equation",
        ),
        (
            "sinabs",
            "ALIF",
            {"tau_mem": 5.0, "tau_adapt": 9.0},
            {"reset_fn": "MembraneReset()", "spike_fn": "MaxSpike()"},
            "spike_fn=MaxSpike with reset_fn=Memb",
        ),
    ],
)
def test_settings_without_an_equation_are_refused(library, name, options, parts, message):
    cell = made(library, name, options, parts)
    with pytest.raises(ValueError, match=message):
        equation_of(cell)


def test_other_settings_have_an_equation():
    cells = [
        made("snntorch", "Leaky", {"beta": 0.8, "threshold": 0.5}),
        made("snntorch", "Leaky", {"beta": 0.8, "init_hidden": True, "output": True}),
        made("snntorch", "Synaptic", {"alpha": 0.8, "beta": 0.9, "reset_delay": False, "reset_mechanism": "zero"}),
        made("snntorch", "Synaptic", {"alpha": 0.8, "beta": 0.9, "reset_mechanism": "none"}),
        made("spikingjelly", "LIFNode", {"tau": 3.0, "v_reset": -0.3, "v_threshold": 0.8, "step_mode": "m"}),
        made("spikingjelly", "IFNode", {"v_reset": -0.3}),
        made("sinabs", "LIF", {"tau_mem": 9.0, "norm_input": False, "train_alphas": True}),
        made("sinabs", "LIF", {"tau_mem": 20.0, "tau_syn": 5.0, "norm_input": False}, {"spike_fn": "SingleSpike"}),
        made("sinabs", "LIF", {"tau_mem": 9.0, "spike_threshold": torch.tensor(0.5)}),
        made("sinabs", "IAF", {}, {"spike_fn": "SingleSpike"}),
        made(
            "sinabs", "ALIF", {"tau_mem": 9.0, "tau_adapt": 30.0, "train_alphas": True}, {"reset_fn": "MembraneReset()"}
        ),
    ]
    for cell in cells:
        report = validate(cell, **SHORT)
        assert report.passed, str(report)


def test_a_cell_is_looked_at_on_a_copy():
    cell = made("snntorch", "Leaky", {"beta": 0.9, "init_hidden": True})
    before = cell(torch.full((1, 3), 0.6)), cell.mem.clone()
    validate(cell, **SHORT)
    assert torch.equal(cell.mem, before[1])
    assert cell.mem.dtype == torch.float32


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(HOMES, "snntorch", "nobodys_library")
    with pytest.raises(ImportError, match="this needs snntorch, which is not installed: make peers, or pip install"):
        Example("snntorch", "Leaky", {"beta": 0.9}).make()


def test_anything_else_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match="torch.Linear is neither a neuron .* give the cell as a function, validate"):
        validate(torch.nn.Linear(1, 1))


def test_numbers_of_a_mapping():
    assert number(torch.tensor(0.5), "beta") == 0.5
    with pytest.raises(ValueError, match="keeps 1.5"):
        tau_of(1.5, 1.0, "beta")


@pytest.mark.slow(minutes=2)
def test_the_page_is_what_is_measured():
    for library in KNOWN:
        if not present(library):
            pytest.skip(f"{library} is not installed: make peers")
    spec = importlib.util.spec_from_file_location("docs_conformance", ROOT / "docs/conformance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == (ROOT / "docs/conformance.md").read_text(), "run python docs/conformance.py"


def test_the_page_has_the_versions_that_are_pinned():
    page = (ROOT / "docs/conformance.md").read_text()
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line.count("==") == 1
    )
    assert all(f"\n## {library} {pinned[library]}\n" in page for library in KNOWN)
