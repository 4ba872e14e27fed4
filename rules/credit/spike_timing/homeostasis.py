"""Homeostasis: thresholds that rise with each spike of their cell, so that no cell answers to everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from rules.credit.spike_timing.passing import Passed, silence, stepping
from rules.fields import at_least, check_fields
from rules.models.admission import UnfitModel
from rules.optional import threshold_of
from rules.sites.site import Site


@dataclass(frozen=True)
class Homeostasis:
    """Thresholds that move until every cell fires at a target rate.

        dp = gain (spikes - target duration),   a mean over the batch and the places of a cell

    p is the parameter through which a cell learns its threshold. Cells of this project that are made with
    `learnable(v_threshold, (cells,))` have the logarithm of the distance from reset to threshold; p moves by `gain` for
    a spike, so that the distance grows by `gain` of itself.

    Args:
        gain: change for each spike, at a learning rate of 1.
        target: rate at which nothing changes [Hz], 0 by default: thresholds only rise.

    Raises:
        ValueError: for a gain or a target below 0.
        UnfitModel: when used, for layers none of which learns a threshold for each of its cells.

    >>> import torch
    >>> Homeostasis(gain=0.01, target=5.0).change(torch.tensor([[4.0], [0.0]]), 200.0)  # a mean of 2 spikes, not 1
    tensor([0.0100])

    Reference: the adaptive threshold of Diehl & Cook 2015 (doi 10.3389/fncom.2015.00099), whose slow decay is the
    target here; recalled.
    """

    gain: float = 0.01
    target: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "gain", "target")

    def change(self, spikes: Tensor, duration: float) -> Tensor:
        """Return the change of the threshold of each cell, `[C]`, for spikes `[B, C]` in so many ms on average."""
        return self.gain * (spikes.mean(0) - self.target * duration / 1000)

    def gradient(self, layer: Passed, threshold: nn.Parameter, lengths: Tensor | None = None) -> Tensor:
        """Return minus the change of the thresholds of a layer, in their shape; `lengths` are the steps that count."""
        spikes = layer.post.sum(0).mean(2)  # [B, C]
        steps = len(layer.post) if lengths is None else float(lengths.clamp(max=len(layer.post)).double().mean())
        return -self.change(spikes, steps * stepping(layer.site)).reshape(threshold.shape)


def thresholds(places: Iterable[Site]) -> dict[str, tuple[str, nn.Parameter]]:
    """Return the learned thresholds of layers, one for each cell: the layer -> the name and the parameter.

    Raises:
        UnfitModel: if no layer has one.
    """
    seen = list(places)
    found = {}
    for site in seen:
        p = threshold_of(site.layer.cells)
        if p is not None and p.requires_grad and p.numel() == silence(site).shape[1]:
            found[site.name] = (site.names[id(p)], p)
    if not found:
        raise UnfitModel(
            f"homeostasis moves thresholds, and {', '.join(site.name for site in seen)} learn none for each cell: "
            "build the model with neuron=sandbox.LIF(v_threshold=sandbox.learnable(1.0, (100,))), 100 the number of "
            "cells, or give your cells `threshold`, an nn.Parameter with an entry for each"
        )
    return found
