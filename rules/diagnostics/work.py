"""The work of a network per sample: pairs of an input and a weight, counted in a forward pass."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rules.contract import Batch
from rules.forward import looking, plain, takes
from rules.forward import samples as samples_of
from rules.metering import pairs
from rules.optional import tallying
from rules.spikes.bits import is_trits
from rules.synapses import transposed, weighted

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Work(NamedTuple):
    """Pairs of an input and a weight, per sample: all of them, and those with neither zero, by kind."""

    layer: str
    dense: float
    multiplied: float  # pairs with neither zero, in layers with real-valued input
    accumulated: float  # pairs with neither zero, in layers whose input is -1, 0 or 1
    spikes: float  # share of nonzero inputs


def work(model: nn.Module, x: Tensor | Batch, samples: int | None = None) -> list[Work]:
    """Return the work of each weighted layer for one sample, in one forward pass.

    Biases, pooling and normalisation are left out; a layer that is called at every step counts every call. In `nn.RNN`,
    `nn.LSTM`, `nn.GRU` and transposed convolutions all pairs count as multiplied, because zeros are not seen there.

    Args:
        model: the network.
        x: an input `[T, B, ...]`, or a batch.
        samples: number of samples in x; by default the number of labels, or B without labels.

    >>> class Once(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weigh = nn.Linear(3, 3, bias=False)
    ...         self.weigh.weight.data = torch.tensor([[1.3, 0.0, -3.2], [0.0, 1.2, -5.1], [-1.1, 2.7, 0.0]])
    ...     def forward(self, x):
    ...         return self.weigh(x)
    >>> found = work(Once(), torch.tensor([[[0.0, 1.3, -1.0]]]))[0]
    >>> found.dense, found.multiplied
    (9.0, 4.0)

    Reference: NeuroBench (arXiv 2304.04640), synaptic operations; the example is from its documentation.
    """
    batch = x if isinstance(x, Batch) else Batch(x)
    counts: dict[str, _Counts] = {}
    model = plain(model)
    with looking(model, {module: _counting(counts, name) for name, module in weighted(model).items()}):
        model(batch.x, **({"carry": batch.carry} if takes(model, "carry") else {}))
    samples = samples_of(batch) if samples is None else samples
    return [each.row(name, samples) for name, each in counts.items()]


class _Counts:
    """Counts of one layer over its calls."""

    def __init__(self) -> None:
        self.dense = self.effective = self.events = self.inputs = 0.0
        self.graded = False

    def row(self, name: str, samples: int) -> Work:
        multiplied, accumulated = (self.effective, 0.0) if self.graded else (0.0, self.effective)
        return Work(name, self.dense / samples, multiplied / samples, accumulated / samples, self.events / self.inputs)


def _counting(counts: dict[str, _Counts], name: str) -> Any:
    return tallying(partial(_count, counts, name))


def _count(found: dict[str, _Counts], name: str, module: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    counts, given = found.setdefault(name, _Counts()), inputs[0].detach()
    active = given != 0
    dense = pairs(module, output)
    whole = isinstance(module, nn.RNNBase) or transposed(module)
    counts.dense += dense
    counts.effective += dense if whole else _effective(module, active)
    counts.events += int(active.count_nonzero())
    counts.inputs += active.numel()
    counts.graded |= whole or not is_trits(given)


def _effective(module: Any, active: Tensor) -> float:
    """Return the number of pairs with neither zero; zero padding counts as zero."""
    there = (module.weight.detach() != 0).to(torch.float64)
    if isinstance(module, nn.Linear):
        each = active.flatten(0, -2).sum(0) if active.ndim > 1 else active
        return float((there @ each.to(torch.float64)).sum())
    convolve, padding, active = CONVOLUTIONS[there.ndim - 2], module.padding, active.to(torch.float64)
    if module.padding_mode != "zeros":
        active, padding = F.pad(active, module._reversed_padding_repeated_twice, module.padding_mode), 0
    counted: Tensor = convolve(active, there, None, module.stride, padding, module.dilation, module.groups)
    return float(counted.sum())
