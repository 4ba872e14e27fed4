"""A pass through layers of spiking cells: what entered each weight, and when its cell fired."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch
from rules.diagnostics.health import HealthWarning
from rules.forward import fold, leaves
from rules.models.admission import UnfitModel
from rules.optional import plain, time_step
from rules.sites.site import Site, placed, sites
from rules.spikes.surrogate import differentiating
from rules.steps import counted


class Carried(NamedTuple):
    """The carry of a rule of spike times: the model's, and the traces of each layer. It belongs to the samples."""

    model: Any
    traces: tuple[tuple[Tensor, ...], ...] = ()
    of: str = ""  # the rule, in words


class Passed(NamedTuple):
    """A layer in some consecutive steps."""

    site: Site
    pre: Tensor  # what entered each weight, [T, B, L, K]
    post: Tensor  # spikes, [T, B, C, L]
    output: Tensor  # [T, B, *out]
    carry: Any


def begun(carry: Any, rule: Any) -> Carried:
    """Return the carry of a rule, from None, that of a model, or its own.

    Raises:
        ValueError: for the carry of another rule.
    """
    if not isinstance(carry, Carried):
        return Carried(carry, of=repr(rule))
    if carry.of != repr(rule):
        raise ValueError(
            f"the carry has traces of {carry.of}, and this rule is {rule!r}: continue a sequence with the rule that "
            "began it, or begin anew with carry=None"
        )
    return carry


def passed(places: Sequence[Site], x: Tensor, carry: Any, lengths: Tensor | None) -> list[Passed]:
    """Run layer after layer on an input `[T, B, *in]`; steps behind the end of a sample have no spikes."""
    found: list[Passed] = []
    for number, site in enumerate(places):
        currents = fold(site.layer.synapse, x)
        start: Any = site.rest(currents[0]) if carry is None else carry[number]
        run = site.layer.respond(x, currents, start, False)
        heard = [] if site.recurrent is None else [torch.cat([start[1][None], run.output[:-1]])]
        pre, post = site.columns(x, *heard), placed(run.output)
        if lengths is not None:
            counts = counted(post, lengths)[..., None, None]
            pre, post = pre * counts, post * counts
        found.append(Passed(site, pre, post, run.output, run.carry))
        x = run.output
    return found


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


def fires(site: Site) -> bool:
    """Return whether the cells of a layer fire, by a step of theirs without input."""
    nothing = silence(site)
    cells: Any = site.layer.cells
    with torch.no_grad(), differentiating(generator=torch.Generator().manual_seed(0)) as seen:
        cells.advance(nothing, site.rest(nothing)[0])
    return seen.used


def silence(site: Site) -> Tensor:
    """Return no current for a sample of one place, `[1, C, ...]`."""
    weight: Any = site.weigh.weight
    nothing: Tensor = weight.detach().new_zeros(1, weight.shape[0], *[1] * (weight.ndim - 2))
    return nothing


def weights_of(site: Site) -> dict[str, nn.Parameter]:
    """Return the weights of a layer that learn, without biases, to which no spike belongs."""
    return {name: p for name, p in site.parameters().items() if p.ndim > 1}


def stepping(site: Site) -> float:
    """Return the time step of a layer [ms]."""
    return time_step(site.layer.cells)


def warn_of_silence(name: str, layer: Passed, batch: Batch, longest: float) -> None:
    """Warn of a layer in which no pair can form, at the beginning of a sequence of at least `longest` ms."""
    if batch.carry is not None or len(layer.post) * stepping(layer.site) < longest:
        return
    at = layer.site.name
    at, entered = layer.site.name, layer.pre[..., : inputs(layer.site)]
    side, remedy = "post", f"lower the threshold of {at}, or scale its weights or its input up"
    if not bool(entered.any()):
        side, remedy = "pre", f"encode the input of {at} as spikes, or let the layer below fire"
    elif bool(layer.post.any()):
        return
    warnings.warn(
        f"{name} sees no {side}-synaptic spikes in {at} in a batch of {len(layer.post)} steps, so that no pair changes "
        f"its weights: {remedy}",
        HealthWarning,
        stacklevel=3,
    )


def inputs(site: Site) -> int:
    """Return the number of weights of a cell from the layer below."""
    weight: Any = site.weigh.weight
    return int(weight[0].numel())


def bytes_of(traces: Any) -> int:
    """Return the bytes of traces."""
    return sum(leaf.nbytes for leaf in leaves(traces))
