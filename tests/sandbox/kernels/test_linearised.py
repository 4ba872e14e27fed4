"""Derivatives of every step from a kernel, against autograd on the neuron's own step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules.contract import Local
from rules.local import differentiated
from rules.spikes.surrogate import differentiating
from sandbox.kernels import source, using
from sandbox.kernels.trace.derived import STEADY, derived
from sandbox.networks.population import Population
from sandbox.neurons import IN_BRIAN2, LIF, EscapeLIF
from tests.rules.credit.online.nets import compiled

from .conftest import DOUBLE, driven

pytest.importorskip("numba")
EXACT = 1e-12  # float64: a derivative is some tens of operations
QUICK = ("lif", "alif")
DT = 0.1  # [ms], which resolves every neuron here


def cases():
    for name, neuron in IN_BRIAN2.items():
        if neuron().differentiable and not neuron.draws:
            yield pytest.param(neuron(), id=name, marks=[] if name in QUICK else [pytest.mark.slow])
    yield pytest.param(LIF(reset="subtract", t_refractory=1.0), id="refractory", marks=[pytest.mark.slow])
    yield pytest.param(compiled(), id="from Brian2", marks=[pytest.mark.slow])


def by_steps(cells, currents, carry):
    """Output, last state and derivatives, a step after the other, by autograd."""
    state, heard = carry
    found, outputs = [], []
    for current in currents:
        if cells.recurrent is not None:
            current = current + cells.recurrent(heard)

        def step(given, values, state=state):
            output, after = cells.advance(given, cells.packed(state, values))
            return output, cells.unpacked(after)

        found.append(differentiated(step, current, cells.unpacked(state)))
        heard, state = cells.advance(current, state)
        outputs.append(heard)
    axes = [part.ndim - currents.ndim + 1 for part in found[0]]
    local = Local(*(torch.stack(column, axis) for column, axis in zip(zip(*found, strict=True), axes, strict=True)))
    return torch.stack(outputs), state, local


def agree(found, wanted):
    scale = max(float(wanted.abs().max()), 1e-300)
    assert float((found - wanted).abs().max()) <= EXACT * scale


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("neuron", [*cases()])
def test_derivatives_are_those_of_autograd(neuron, recurrent, detach):
    synapse = nn.Linear(3, 3, bias=False, dtype=DOUBLE) if recurrent else None
    quick = type(neuron).__name__ in ("LIF", "ALIF")
    cells, currents = Population(neuron, DT, synapse), driven(neuron, steps=80 if quick else 400, strength=12.0)
    carry = cells.rest(currents)
    with torch.no_grad(), differentiating(detach_reset=detach):
        outputs, state, local = by_steps(cells, currents, carry)
        with using("numba"):
            found, (end, _), kernel = cells.linearised(currents, carry)
    if neuron.spiking:
        assert outputs.any()
    assert local.shown.any()
    agree(found, outputs)
    for one, other in zip(cells.unpacked(end), cells.unpacked(state), strict=True):
        agree(one, other)
    for one, other in zip(kernel, local, strict=True):
        agree(one, other)


def test_what_never_changes_is_held_once():
    """A leak is; what a reset has done to a state is not."""
    cells = Population(LIF(reset="subtract"), 1.0)
    currents = driven(cells.neuron)
    with using("numba"):
        _, _, local = cells.linearised(currents, cells.rest(currents))
        _, _, other = Population(LIF(), 1.0).linearised(currents, cells.rest(currents))
    assert local.kept.stride()[2:4] == local.driven.stride()[1:3] == (0, 0)
    assert other.kept.stride(2) > 0


def test_the_cells_of_a_layer_may_leak_each_at_a_rate_of_its_own():
    neuron = LIF(tau_mem=torch.tensor([5.0, 10.0, 20.0], dtype=DOUBLE))
    cells, currents = Population(neuron, 1.0), driven(LIF(), (2, 3))
    carry = cells.rest(currents)
    with torch.no_grad(), using("numba"):
        _, _, kernel = cells.linearised(currents, carry)
    agree(kernel.kept, by_steps(cells, currents, carry)[2].kept)


def test_a_cell_that_draws_has_none():
    cells, currents = Population(EscapeLIF(), 1.0), torch.ones(4, 2, 3)
    assert cells.linearised(currents, cells.rest(currents)) is None


def test_a_wrong_surrogate_is_caught(monkeypatch):
    """The comparison above sees a derivative that is off."""
    from sandbox.kernels import linearised

    def halved(structure, states):
        made = derived(structure, states)
        row = tuple(None if number is not None and number != STEADY else number for number in made.table[-1])
        return made._replace(table=(*made.table[:-1], row))

    monkeypatch.setattr(linearised, "_derived", halved)
    cells, currents = Population(LIF(), DT), driven(LIF(), steps=80)
    carry = cells.rest(currents)
    with torch.no_grad(), using("numba"):
        _, _, kernel = cells.linearised(currents, carry)
        _, _, local = by_steps(cells, currents, carry)
    with pytest.raises(AssertionError):
        agree(kernel.shown, local.shown)


@pytest.mark.parametrize("backend", ["numba", pytest.param("triton", marks=pytest.mark.slow)])
def test_the_source_shows_the_derivatives(backend):
    text = source(LIF(), backend=backend, derivatives=True)
    assert text.count("# forward") == 2
    assert "# forward with derivatives: out1 = d v / d v, " in text
    assert "d output / d current" in text
