"""Recordings of `simulate`: spikes as pairs, in every mode, and recordings that do not fit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sandbox.simulation
from sandbox import LIF, Events, LeakyIntegrator, Trajectory, simulate
from sandbox.kernels import using
from sandbox.neurons import IN_BRIAN2
from tests.conftest import ROOT

SPIKING = [name for name, kind in IN_BRIAN2.items() if kind.spiking]


def driven(neuron, shape, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    strength = 3 * torch.rand(shape[1:], generator=rng, dtype=torch.float64)
    return (float(neuron.rheobase) * strength).to(dtype).expand(shape)


FEW = ("lif", "escape_lif", "adex")  # are compiled in the fast tier
CASES = [
    *((name, mode) for name in SPIKING for mode in ("plain", "auto")),
    *(pytest.param(name, "numba", marks=[] if name in FEW else pytest.mark.slow) for name in SPIKING),
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_events_are_the_spikes_of_a_dense_recording(name, mode, monkeypatch):
    monkeypatch.setattr(sandbox.simulation, "PART", 300)  # parts of 10 steps
    monkeypatch.setattr(sandbox.simulation, "BITS", 7 * 64)  # parts of 7 steps
    neuron = IN_BRIAN2[name]()
    dt = min(1.0, neuron.fastest / 2)
    currents = driven(neuron, (45, 5, 6))
    with using(mode):
        dense = simulate(neuron, currents, dt, generator=torch.Generator().manual_seed(1))
        found = simulate(neuron, currents, dt, ("events", "v"), generator=torch.Generator().manual_seed(1))
    assert torch.equal(found.events.dense(torch.float64), dense.spikes)
    assert torch.equal(found.v, dense.v)
    assert torch.equal(found.t, dense.t)
    assert torch.equal(found.events.step, dense.events.step)


def test_many_cells_in_a_kernel_give_the_spikes_of_the_plain_loop():
    currents = driven(LIF(), (200, 700))
    with using("plain"):
        plain = simulate(LIF(), currents, record=()).spikes
    with using("numba"):
        found = simulate(LIF(), currents, record="events")
    assert plain.sum() > 1000
    assert torch.equal(found.spikes.double(), plain)
    assert found.variables == {}


@settings(deadline=None, max_examples=60)
@given(
    cells=st.one_of(st.integers(0, 400), st.sampled_from([512, 1023, 1024, 1025, 1100, 4097])),
    steps=st.integers(1, 20),
    part=st.integers(1, 20),
    double=st.booleans(),
    constant=st.booleans(),
    threads=st.integers(1, 2),
)
def test_bits_of_a_kernel_are_the_spikes_of_an_array(cells, steps, part, double, constant, threads):
    rng = torch.Generator().manual_seed(cells + 7 * steps)
    currents = 20 * torch.rand(1 if constant else steps, cells, generator=rng).to(
        [torch.float32, torch.float64][double]
    )
    currents, before = currents.expand(steps, cells), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, using("numba"):
        patch.setattr(sandbox.simulation, "BITS", part * 64 * -(-cells // 64))
        torch.set_num_threads(threads)
        try:
            found = simulate(LIF(), currents, record="events").events
        finally:
            torch.set_num_threads(before)
        dense = simulate(LIF(), currents, record=()).spikes
    assert torch.equal(found.dense(currents.dtype), dense)
    assert len(found) == int(dense.sum())


def test_spikes_alone_are_computed_in_few_parts():
    currents = torch.ones(3000, 1000)
    for mode, record, parts in (("numba", "events", 1), ("numba", ("events", "v"), 3), ("plain", "events", 3)):
        with using(mode):
            assert len(simulate(LIF(), currents, record=record).raster.parts) == parts


def test_float32_and_varying_currents():
    currents = torch.rand(100, 50, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(simulate(LIF(), currents, record="events").spikes, simulate(LIF(), currents).spikes)


def test_a_simulation_continues_from_a_state():
    currents = driven(LIF(), (60, 4))
    whole = simulate(LIF(), currents, record=("events", "v"))
    first = simulate(LIF(), currents[:25], record=("events", "v"))
    start = LIF().initial_state((4,), currents[0])._replace(v=first.v[-1])
    second = simulate(LIF(), currents[25:], record="events", state=start)
    assert torch.equal(torch.cat([first.spikes, second.spikes]), whole.spikes)


def test_events_have_no_gradient():
    currents = driven(LIF(), (20, 3)).clone().requires_grad_()
    assert not simulate(LIF(), currents, record=("events", "v")).v.requires_grad


def test_a_name_alone_is_one_variable():
    assert set(simulate(LIF(), driven(LIF(), (5, 2)), record="v").variables) == {"v"}


def test_graded_outputs_are_refused():
    with pytest.raises(ValueError, match=r"LeakyIntegrator has graded outputs, .* record=\('v',\)"):
        simulate(LeakyIntegrator(), torch.ones(5, 2), record="events")


def test_a_variable_that_is_not_there_names_the_others():
    with pytest.raises(ValueError, match="LIF has no variable 'w'; it has: v; or pass record='events'"):
        simulate(LIF(), torch.ones(5, 2), record=("w",))


def test_a_recording_that_does_not_fit_says_how_much_it_takes(monkeypatch):
    monkeypatch.setattr(sandbox.simulation, "available", lambda: 2 * 10**9)
    many = torch.ones(100_000, dtype=torch.float64).expand(10_000, -1)
    message = r"spikes and v of 100,000 cells for 10,000 steps take 16\.0 GB, and 2\.0 GB are free; .*record=\('events', 'v'\)"
    with pytest.raises(MemoryError, match=message):
        simulate(LIF(), many)
    with pytest.raises(MemoryError, match=r"v of 100,000 cells .* 8\.0 GB, .* fewer variables, steps or cells"):
        simulate(LIF(), many, record=("events", "v"))


@pytest.mark.parametrize(
    ("neuron", "currents", "message"),
    [
        (LIF(), np.ones((5, 2)), r"currents are a ndarray; wanted a tensor \[T, ...\]: torch.as_tensor\(currents\)"),
        (LIF(), [[1.0]], "currents are a list; wanted a tensor"),
        (LIF, torch.ones(5, 2), r"the neuron is <class .*; wanted a neuron, such as sandbox.LIF\(\)"),
        ("lif", torch.ones(5, 2), "the neuron is 'lif'; wanted a neuron"),
        (
            LIF(tau_mem=torch.ones(7)),
            torch.ones(5, 2),
            r"LIF.tau_mem has shape \(7,\), and the cells have \(2,\); wanted",
        ),
    ],
)
def test_what_cannot_be_simulated_is_named(neuron, currents, message):
    with pytest.raises(ValueError, match=message):
        simulate(neuron, currents)


def test_what_was_not_recorded_is_named_with_what_was():
    found = simulate(LIF(), torch.full((40, 2), 2.0), record="events")
    with pytest.raises(AttributeError, match=r"'v' was not recorded \(recorded: events\); .* record=\('events', 'v'\)"):
        found.v  # noqa: B018


def test_spikes_can_be_named_too():
    found = simulate(LIF(), torch.full((40, 2), 2.0), record=("events", "spikes", "v"))
    assert found.spikes.sum() == len(found.events) > 0


def test_events_come_from_dense_spikes_too():
    found = Trajectory(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), {}, 1.0)
    assert isinstance(found.events, Events)
    assert found.events.cell.tolist() == [1, 0]


LONG = """
import re, torch
from pathlib import Path
from sandbox import LIF, simulate

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

warm = simulate(LIF(), torch.full((1, 100_000), 1.1).expand(300, -1), 0.1, "events")
before = peak()  # not that of getrusage, which starts with the size of the parent process
found = simulate(LIF(), torch.linspace(0.9, 1.5, 100_000).expand(10_000, -1), 0.1, record="events").events
print(peak() - before, len(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone says what a process has held at most")
@pytest.mark.parametrize("mode", ["plain", "numba"])
def test_a_hundred_thousand_cells_for_ten_thousand_steps_take_at_most_200_mb(mode):
    """The dense array of the same spikes takes 4 GB."""
    env = {**os.environ, "SANDBOX_KERNELS": mode}
    words = [sys.executable, "-W", "ignore", "-c", LONG]
    growth, spikes = map(
        int, subprocess.run(words, cwd=ROOT, capture_output=True, check=True, text=True, env=env).stdout.split()
    )
    assert spikes > 10**6
    assert 1e6 < growth * 1024 < 200e6


def test_results_are_printed_in_a_line():
    found = simulate(LIF(), torch.full((40, 2), 2.0), record=("events", "v"))
    assert repr(found) == "Trajectory(40 steps of 1 ms, cells (2,), recorded: events, v)"
    assert repr(found.events) == f"Events({len(found.events)} spikes, 40 steps of 1 ms, cells (2,))"
    assert "recorded: spikes, v" in repr(simulate(LIF(), torch.full((40, 2), 2.0)))
