"""Whether a model is what a local rule takes it for: layers one after the other, and weights times inputs."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from rules.contract import Batch
from rules.forward import fold, run_model
from rules.models.admission import UnfitModel
from rules.optional import plain
from rules.seeds import seeded
from rules.sites.site import Site, biased, placed
from rules.spikes.surrogate import differentiating

SAMPLES = 2
FACTORS = (1.0, 1.0, 1.0, 10.0, 10.0, 10.0)  # of the largest input, a step each: the cells fire at one of them


def require_plain(model: nn.Module, places: list[Site], x: Tensor) -> None:
    """Raise UnfitModel if a model does more than run its layers, or a layer more than weigh its inputs.

    Args:
        model: the model.
        places: its layers.
        x: an input `[T, B, *in]`, which says how large inputs are.
    """
    rows = probe(x)
    with torch.no_grad():
        with differentiating(generator=torch.Generator().manual_seed(0)):
            wanted = run_model(model, Batch(rows)).output
        with differentiating(generator=torch.Generator().manual_seed(0)):
            found = rows
            for site in places:
                found = ran(site, found)
    if found.shape != wanted.shape or apart(found, wanted):
        raise UnfitModel(
            f"the output of {type(plain(model)).__name__} is not that of its layers one after the other, as with a "
            "skip connection, a scaled output or dropout, and online rules learn its layers alone: build the model "
            "with sandbox.build, or use rules.make('bptt')"
        )


def probe(x: Tensor) -> Tensor:
    """Return random inputs of a few steps, about as large as those of `x` and larger."""
    shape = (len(FACTORS), min(SAMPLES, x.shape[1]), *x.shape[2:])
    drawn = torch.randn(shape, generator=seeded(0, "probe"), dtype=torch.float64)
    sizes = torch.tensor(FACTORS, dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    largest = float(x.abs().amax()) if x.numel() else 0.0
    return (drawn * sizes * (largest or 1.0)).to(x)


def ran(site: Site, x: Tensor) -> Tensor:
    """Run a layer from rest; raise UnfitModel if it does more than weigh its inputs."""
    currents = fold(site.layer.synapse, x)
    carry: Any = site.rest(currents[0])
    output, _, _ = site.run(currents, carry)
    total, heard = currents, []
    if site.recurrent is not None:
        heard = [carry[1][None], output[:-1]]
        total = currents + fold(site.recurrent, torch.cat(heard))
    try:
        made = torch.einsum("tblk,ck->tbcl", site.columns(x, *heard), matrix(site))
        different = made.shape != placed(total).shape or apart(made, placed(total))
    except RuntimeError:  # shapes that are not those of a weight and its inputs
        different = True
    if different:
        raise UnfitModel(
            f"{site.name} gives its cells something else than a weight times its inputs, and the bias, as through a "
            "mask, a hook, or a weight applied along one of several axes: use nn.Linear on [B, N] or a convolution of "
            "torch as they are, nn.Flatten in front of a weight or nn.Flatten(2) behind it, or rules.make('bptt')"
        )
    return output


def matrix(site: Site) -> Tensor:
    """Return all weights of a layer's cells, `[C, K]`, in the order of columns."""
    weight = cast("Tensor", site.weigh.weight)
    parts = [weight.flatten(1)]
    if site.ones:
        biases = [
            cast("Tensor", each.bias) for each in (site.weigh, site.recurrent) if each is not None and biased(each)
        ]
        parts.append(torch.stack(biases).sum(0)[:, None])
    if site.recurrent is not None:
        parts.append(site.recurrent.weight)
    return torch.cat(parts, 1)


def apart(found: Tensor, wanted: Tensor) -> bool:
    """Return whether two results differ by more than round-off; its bound is the root of the precision."""
    return bool((found - wanted).abs().amax() > torch.finfo(wanted.dtype).eps ** 0.5 * wanted.abs().amax())
