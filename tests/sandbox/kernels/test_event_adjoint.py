"""The compiled adjoint of EventProp against the loop in torch."""

from __future__ import annotations

import pytest
import torch

from rules.credit.eventprop.linear import linear
from rules.credit.eventprop.stepped import currents_adjoint, steep
from rules.sites.site import sites
from sandbox import build
from sandbox.kernels.event_adjoint import event_adjoint
from sandbox.neurons import LIF, AlphaLIF, CubaLIF

STEPS, SAMPLES, CELLS, OUTPUTS = 30, 3, 300, 7


@pytest.mark.parametrize("neuron", [LIF(), CubaLIF(), CubaLIF(reset="subtract"), AlphaLIF()])
@pytest.mark.parametrize("above", [False, True])
def test_the_loop_is_that_in_torch(neuron, above):
    """With and without the weights of the layer above, which the loop applies at spikes alone."""
    cells = linear(sites(build((4,), 3, (CELLS,), neuron).double())[0])
    rng = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    spikes = (draw(STEPS, SAMPLES, CELLS) < 0.1).double()
    u = torch.where(spikes > 0, draw(*spikes.shape), -draw(*spikes.shape))
    worth, weight = draw(STEPS, SAMPLES, OUTPUTS if above else CELLS), draw(OUTPUTS, CELLS) if above else None
    start = draw(SAMPLES, CELLS) / 2
    seen = steep(cells, u, start, spikes)
    wanted = currents_adjoint(cells, seen, worth if weight is None else worth @ weight, None)
    found, flat = event_adjoint(cells, u, start, spikes, worth, 2.0, weight)
    assert float((found - wanted).abs().max()) < 1e-11 * float(wanted.abs().max())  # sums of 30 steps in another order
    assert flat == int((seen.slopes < 2.0).sum())


def test_other_numbers_are_left_to_the_loop_in_torch():
    cells = linear(sites(build((4,), 3, (5,), CubaLIF()))[0])
    half, x = torch.zeros(2, 1, 5, dtype=torch.float16), torch.zeros(2, 1, 5)
    assert event_adjoint(cells, half, half[0], half, half, 0.0) is None
    assert event_adjoint(cells, x, x[0], x, x.double(), 0.0) is None
