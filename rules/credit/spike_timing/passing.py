"""A pass through layers of spiking cells: what entered each weight, and when its cell fired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Run
from rules.credit.spike_timing.voltage import Voltage
from rules.credit.spike_timing.window import Term, Window
from rules.forward import fold
from rules.models.admission import UnfitModel
from rules.optional import plain, time_step
from rules.sites.carried import Carried as Carried
from rules.sites.carried import begun as begun
from rules.sites.carried import bytes_of as bytes_of
from rules.sites.firing import fires as fires
from rules.sites.site import Site, placed, sites
from rules.steps import counted


class Passed(NamedTuple):
    """A layer in some consecutive steps."""

    site: Site
    pre: Tensor  # what entered each weight, [T, B, L, K]
    post: Tensor  # spikes, [T, B, C, L]
    output: Tensor  # [T, B, *out]
    carry: Any
    u: Tensor | None = None  # membranes less thresholds before the reset, [T, B, C, L], if they were asked for


def passed(
    places: Sequence[Site], x: Tensor, carry: Any, lengths: Tensor | None, membranes: bool = False
) -> list[Passed]:
    """Run layer after layer on an input `[T, B, *in]`; steps behind the end of a sample have no spikes.

    Args:
        places: the layers.
        x: the input.
        carry: of each layer; None for rest.
        lengths: `[B]`, steps that count; None for all.
        membranes: whether those of the layers that fire are asked for.

    Raises:
        UnfitModel: for cells that do not show their membranes, if they are asked.
    """
    found: list[Passed] = []
    for number, site in enumerate(places):
        currents = fold(site.layer.synapse, x)
        start: Any = site.rest(currents[0]) if carry is None else carry[number]
        shows = membranes and fires(site)
        run = site.layer.respond(x, currents, start, shows)
        heard = [] if site.recurrent is None else [torch.cat([start[1][None], run.output[:-1]])]
        pre, post, u = site.columns(x, *heard), placed(run.output), membrane(site, run) if shows else None
        if lengths is not None:
            counts = counted(post, lengths)[..., None, None]
            pre, post = pre * counts, post * counts
            u = None if u is None else torch.where(counts, u, -torch.inf)  # below every threshold of plasticity
        found.append(Passed(site, pre, post, run.output, run.carry, u))
        x = run.output
    return found


def membrane(site: Site, run: Run) -> Tensor:
    """Return the membranes less thresholds of a recorded run of a layer, `[T, B, C, L]`."""
    if not run.traces:
        raise UnfitModel(
            f"the cells of {site.name} do not show their membranes, which change weights here: let `respond(..., "
            "record=True)` of the layer return rules.Run(output, carry, traces), or use a window of spikes"
        )
    return placed(run.traces[0].u)


def firing(model: nn.Module) -> list[Site]:
    """Return the layers whose cells fire.

    Raises:
        UnfitModel: if there is none.
    """
    found = [site for site in sites(model) if fires(site)]
    if not found:
        raise UnfitModel(
            f"no layer of {type(plain(model)).__name__} fires, and this rule learns from spikes: build the model with "
            "spiking cells, such as neuron=sandbox.LIF()"
        )
    return found


def silence(site: Site) -> Tensor:
    """Return no current for a sample of one place, `[1, C, ...]`."""
    weight: Any = site.weigh.weight
    nothing: Tensor = weight.detach().new_zeros(1, weight.shape[0], *[1] * (weight.ndim - 2))
    return nothing


def terms_of(
    window: Window | Voltage, layer: Passed, kept: Sequence[Tensor]
) -> tuple[tuple[Term, Term], tuple[Tensor, ...]]:
    """Return what a window makes of a layer's spikes, or its membranes, and the traces at the end."""
    dt = stepping(layer.site)
    if isinstance(window, Voltage):
        assert layer.u is not None  # such a window asked for them
        return window.terms(layer.pre, layer.post, dt, kept, layer.u)
    return window.terms(layer.pre, layer.post, dt, kept)


def weights_of(site: Site) -> dict[str, nn.Parameter]:
    """Return the weights of a layer that learn, without biases, to which no spike belongs."""
    return {name: p for name, p in site.parameters().items() if p.ndim > 1}


def stepping(site: Site) -> float:
    """Return the time step of a layer [ms]."""
    return time_step(site.layer.cells)


def inputs(site: Site) -> int:
    """Return the number of weights of a cell from the layer below."""
    weight: Any = site.weigh.weight
    return int(weight[0].numel())
