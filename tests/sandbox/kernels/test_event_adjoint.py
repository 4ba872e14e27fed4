"""The compiled adjoint of EventProp against the loop in torch."""

from __future__ import annotations

import pytest
import torch

from rules.credit.eventprop.linear import linear
from rules.credit.eventprop.stepped import Given, currents_adjoint, steep
from rules.sites.site import sites
from sandbox import build
from sandbox.kernels.event_adjoint import event_adjoint
from sandbox.neurons import LIF, AlphaLIF, CubaLIF
from sandbox.synapses import EventLinear, using

STEPS, SAMPLES, CELLS, OUTPUTS = 30, 3, 300, 7


def close(a, b):
    """Return whether two sums of 30 steps and 3 samples in another order are alike."""
    return float((a - b).abs().max()) < 1e-11 * float(b.abs().max())


@pytest.mark.parametrize("neuron", [LIF(), CubaLIF(), CubaLIF(reset="subtract"), AlphaLIF()])
@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("way", ["events", "dense"])
@pytest.mark.parametrize("down", [False, True])
def test_the_loop_is_that_in_torch(neuron, above, way, down):
    """With and without the weights of the layer above, which the loop applies at spikes alone, and a layer below."""
    cells = linear(sites(build((4,), 3, (CELLS,), neuron).double())[0])
    rng = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    spikes = (draw(STEPS, SAMPLES, CELLS) < 0.1).double()
    u = torch.where(spikes > 0, draw(*spikes.shape), -draw(*spikes.shape))
    worth, weight = draw(STEPS, SAMPLES, OUTPUTS if above else CELLS), draw(OUTPUTS, CELLS) if above else None
    start = draw(SAMPLES, CELLS) / 2
    seen = steep(cells, u, start, spikes)
    wanted = currents_adjoint(cells, seen, worth if weight is None else worth @ weight, None)
    synapse = EventLinear(4, CELLS).double()
    x = (draw(STEPS, SAMPLES, 4) < 0.3).double()
    with using(way):
        currents = synapse(x.flatten(0, 1)).reshape(STEPS, SAMPLES, CELLS)
    given = Given(u, start, spikes, worth, weight, None, x, currents, down)
    found = event_adjoint(cells, given, 2.0)
    assert (found.errors is None) == (way == "events" and not down)
    if found.errors is not None:
        assert close(found.errors, wanted)
    assert (found.weight is None) == (way == "dense")
    if found.weight is not None:
        assert close(found.weight, torch.einsum("tbn,tbm->nm", wanted, x))
    assert close(found.bias, wanted.sum((0, 1)))
    assert torch.equal(found.fired, spikes.sum((0, 1)).long())
    assert found.flat == int((seen.slopes < 2.0).sum())


def test_other_numbers_are_left_to_the_loop_in_torch():
    cells = linear(sites(build((4,), 3, (5,), CubaLIF()))[0])
    half, x = torch.zeros(2, 1, 5, dtype=torch.float16), torch.zeros(2, 1, 5)
    assert event_adjoint(cells, Given(half, half[0], half, half, None, None, x, None, True), 0.0) is None
    assert event_adjoint(cells, Given(x, x[0], x, x.double(), None, None, x, None, True), 0.0) is None
