"""Losses that count the spikes of an output: they do not depend on the times of spikes, by which EventProp learns."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rules.contract import Batch, Objective, Run
from rules.diagnostics.health import Finding

ROUNDING = 64  # of a loss, in units of the last place: its sums over steps are added in another order


def untimed(name: str, output: Tensor, objective: Objective, batch: Batch, loss: Tensor) -> Iterator[Finding]:
    """Yield the finding that a loss stays the same when the steps of the output come in reverse.

    That keeps what fires together, and every count; a step later would keep the order of first spikes, too. Not asked
    of objectives that keep a state, which a second look would change, nor of answers by step or sequences of several
    lengths, which would meet other steps.

    Args:
        name: of the last layer, which fires.
        output: its spikes, `[T, B, classes]`.
        objective: gives the loss.
        batch: with the labels.
        loss: of the output as it is.

    >>> from rules.objectives import OBJECTIVES
    >>> spikes = torch.eye(4)[:, None, :3]  # a spike of each of three cells, one after the other
    >>> batch = Batch(spikes, torch.tensor([0]))
    >>> count, first = OBJECTIVES["ce_mean"](), OBJECTIVES["ce_ttfs"]()
    >>> [each.kind for each in untimed("top", spikes, count, batch, count(Run(spikes), batch))]
    ['without times']
    >>> list(untimed("top", spikes, first, batch, first(Run(spikes), batch)))
    []
    """
    alone = objective.module() is None and not objective.helpers()
    if not alone or batch.targets is not None or batch.lengths is not None or len(output) < 2:
        return
    if bool((output == output[..., :1]).all()):  # as in silence: outputs that are alike show nothing by their order
        return
    with torch.no_grad():
        reverse = objective(Run(output.detach().flip(0)), batch)
    size = torch.finfo(loss.dtype).eps * ROUNDING
    if abs(float(reverse) - float(loss)) <= size * (1 + abs(float(loss))):
        yield Finding(
            "without times",
            name,
            0.0,
            f"{type(objective).__name__} counts its spikes, and stays the same when they come in reverse, so that the "
            "times of spikes, by which EventProp learns, have no gradient",
            "end the network with cells that do not fire, readout=sandbox.LeakyIntegrator(), on the command line "
            '--network.readout leaky_integrator; or take a loss of spike times, objective="ce_ttfs", '
            "--rule.options '{objective: ce_ttfs}'",
        )
