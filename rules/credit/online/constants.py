"""The constants of cells that integrate linearly, as filters of their input need them."""

from __future__ import annotations

import torch
from torch import Tensor

from rules.credit.online.traces import Linear
from rules.models.admission import UnfitModel
from rules.sites.site import Site


def constants_of(site: Site, currents: Tensor) -> Linear:
    """Return the constants of cells that integrate linearly.

    Derivatives are compared between cells, and between no current and given ones, step by step from rest. Cells that
    fired are left out, whose reset is not part of the leak: those that put out one of two numbers, and not zero.

    Raises:
        UnfitModel: if cells integrate in another way.
    """
    rows = torch.cat([torch.zeros_like(currents[:2]), currents])
    output, _, local = site.run(rows, (site.rest(currents[0])[0], None), heard=False)
    quiet = (output == 0).flatten()
    if len(output.unique()) > 2 or not bool(quiet.any()):
        quiet = torch.ones_like(quiet)
    kept, driven = local.kept.flatten(2)[..., quiet], local.driven.flatten(1)[:, quiet]
    first = Linear(kept[..., 0], driven[:, 0])
    near = torch.finfo(kept.dtype).eps ** 0.5
    for part, wanted in ((kept, first.kept), (driven, first.driven)):
        if not torch.allclose(part, wanted[..., None], rtol=near, atol=near * float(wanted.abs().amax())):
            raise UnfitModel(
                f"the cells of {site.name} do not leak at one constant rate, so that no filter of their input is their "
                'past: use rules.make("ostl") or rules.make("eprop", filter=None), whose traces follow any cell'
            )
    return first


def pole(constants: Linear, name: str) -> Tensor:
    """Return the leak of cells with a single pole; raise UnfitModel for cells that filter their input twice.

    >>> pole(Linear(torch.tensor([[0.9]]), torch.tensor([0.1])), "layers.1")
    tensor(0.9000)
    """
    driven = constants.driven.nonzero().flatten()
    at = int(driven[0]) if len(driven) else 0
    column = constants.kept[:, at].clone()
    column[at] = 0
    if len(driven) != 1 or bool(column.any()):
        raise UnfitModel(
            f"the cells of {name} filter their input by more than one time constant, and a trace is filtered by one: "
            "use a read-out such as sandbox.neurons.LeakyIntegrator, or filter=None"
        )
    return constants.kept[at, at]
