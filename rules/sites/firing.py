"""Which layers fire: by a step without input, or, for cells with a spike function of their own, by what they give."""

from __future__ import annotations

from typing import Any

import torch

from rules.sites.site import Site
from rules.spikes.surrogate import differentiating

STEPS, ROWS = 20, 8
STRONGEST = 1e3  # current, in the unit of the model


def fires(site: Site) -> bool:
    """Return whether the cells of a layer fire.

    They do where a step calls `rules.Surrogate`, and where, for currents of either sign up to a thousand, they give
    zeros and ones alone, and both.
    """
    weight: Any = site.weigh.weight
    nothing = weight.detach().new_zeros(ROWS, weight.shape[0], *[1] * (weight.ndim - 2))
    cells: Any = site.layer.cells
    state, rng = site.rest(nothing)[0], torch.Generator().manual_seed(0)
    with torch.no_grad(), differentiating(generator=torch.Generator().manual_seed(0)) as seen:
        cells.advance(nothing, state)
        if seen.used:
            return True
        spikes = 0.0
        for _ in range(STEPS):
            strength = torch.logspace(-3, 0, ROWS).reshape(-1, *[1] * (nothing.ndim - 1)) * STRONGEST
            current = strength * torch.randn(nothing.shape, generator=rng)
            output, state = cells.advance(current.to(nothing), state)
            if not bool(((output == 0) | (output == 1)).all()):
                return False
            spikes += float(output.sum())
    return bool(0 < spikes < STEPS * output.numel())
