"""What keeps a layer from learning by pairs of spikes: no spikes on one side, or one cell that always wins."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rules.contract import Batch
from rules.credit.spike_timing.passing import Passed, inputs, stepping
from rules.credit.spike_timing.voltage import Voltage
from rules.credit.spike_timing.window import Window
from rules.diagnostics.health import Finding

CROWD = 8  # samples, and half as many cells, from which a cell that always wins is not there by chance
MOST = 0.9  # share of the samples


def ailments(name: str, layer: Passed, batch: Batch, window: Window | Voltage) -> Iterator[Finding]:
    """Yield what keeps a layer from learning; silence at the beginning of a sequence that is long enough for a pair.

    Args:
        name: of the rule.
        layer: in the steps of the batch.
        batch: with the carry of the samples, which says whether they are at their beginning.
        window: what changes weights.
    """
    if batch.carry is None and len(layer.post) * stepping(layer.site) >= window.longest:
        yield from unpaired(name, layer, window.membranes)
    yield from monopolised(name, layer)


def unpaired(name: str, layer: Passed, membranes: bool = False) -> Iterator[Finding]:
    """Yield the finding that no pair can form, for want of spikes on either side, or of inputs to meet membranes."""
    at, entered = layer.site.name, layer.pre[..., : inputs(layer.site)]
    side, remedy = "post", f"lower the threshold of {at}, or scale its weights or its input up"
    if not some(entered):
        side, remedy = "pre", f"encode the input of {at} as spikes, or let the layer below fire"
    elif membranes or some(layer.post):
        return
    cause = f"{name} sees no {side}-synaptic spikes in {len(layer.post)} steps, so that no pair changes its weights"
    yield Finding("without pairs", at, 0.0, cause, remedy)


def some(signal: Tensor) -> bool:
    """Return whether an entry is not 0, by the sum of squares, which takes a tenth of the time of `any`."""
    flat = signal.reshape(-1)
    return float(torch.dot(flat, flat)) != 0


def monopolised(name: str, layer: Passed) -> Iterator[Finding]:
    """Yield the finding that one cell answers most in nearly all samples, so that the others learn little."""
    counts = layer.post.sum((0, 3))  # [B, C]
    samples, cells = counts.shape
    if samples < CROWD or cells < CROWD // 2:
        return
    answered = counts[counts.sum(1) > 0]
    if len(answered) < CROWD:
        return
    (most, next_), at = (found := answered.topk(2, 1)).values.T, found.indices[:, 0]
    wins = at[most > next_].bincount(minlength=cells)
    share, cell = float(wins.max()) / len(answered), int(wins.argmax())
    if share >= MOST:
        yield Finding(
            "monopolised",
            layer.site.name,
            share,
            f"cell {cell} fires most in {share:.0%} of the samples, so that {name} teaches it all of them",
            "let its cells learn a threshold each, with homeostasis=..., or keep the sums of weights, normalise=True "
            '(rules.make("stdp")); or lower the learning rate',
        )
