"""The work of a network per sample: pairs of an input and a weight, counted in a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from rules.contract import Batch
from rules.forward import looking
from rules.forward import samples as samples_of
from rules.metering import pairs, shown
from rules.optional import plain, takes, tallying, unit_of
from rules.spikes.bits import is_trits
from rules.synapses import SYNAPSES, Patterned, Product, counted, transposed

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Work(NamedTuple):
    """Pairs of an input and a weight, per sample: all of them, and those with neither zero, by kind."""

    layer: str
    dense: float
    multiplied: float  # pairs with neither zero, in layers with real-valued input
    accumulated: float  # pairs with neither zero, in layers whose input is -1, 0 or 1; each spike, where inputs count
    spikes: float  # share of nonzero inputs; of inputs that count, the mean number of spikes
    note: str = ""  # why the layer could not be counted; all numbers are 0 then


def work(model: nn.Module, x: Tensor | Batch, samples: int | None = None) -> list[Work]:
    """Return the work of each weighted layer for one sample, in one forward pass.

    Biases, pooling and normalisation are left out; a layer that is called at every step counts every call. In `nn.RNN`,
    `nn.LSTM`, `nn.GRU` and transposed convolutions all pairs count as multiplied, because zeros are not seen there. Of
    `rules.Product` the pairs are those of two activities, and count as accumulated if one of them is -1, 0 or 1. A
    layer that cannot be counted says why in `note`.

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
    units: dict[int, tuple[Tensor, float]] = {}  # of signals that count, by their storage, which they keep alive
    hooks = {part: _saying(units, unit) for part in model.modules() if (unit := unit_of(part)) is not None}
    hooks |= {module: _counting(counts, name, units) for name, module in counted(model).items()}
    with looking(model, hooks):
        model(batch.x, **({"carry": batch.carry} if takes(model, "carry") else {}))
    samples = samples_of(batch) if samples is None else samples
    return [each.row(name, samples) for name, each in counts.items()]


class _Counts:
    """Counts of one layer over its calls."""

    def __init__(self) -> None:
        self.dense = self.effective = self.events = self.inputs = 0.0
        self.graded = False
        self.note = ""

    def row(self, name: str, samples: int) -> Work:
        if self.note:
            return Work(name, 0.0, 0.0, 0.0, 0.0, self.note)
        multiplied, accumulated = (self.effective, 0.0) if self.graded else (0.0, self.effective)
        return Work(name, self.dense / samples, multiplied / samples, accumulated / samples, self.events / self.inputs)


def _saying(units: dict[int, tuple[Tensor, float]], unit: float) -> Any:
    """Return a hook that notes what the output of a spike is in a signal."""

    def hook(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        signal = output[0] if isinstance(output, tuple) else output
        if isinstance(signal, Tensor):
            units[signal.untyped_storage().data_ptr()] = (signal, unit)

    return hook


def _counting(counts: dict[str, _Counts], name: str, units: Mapping[int, tuple[Tensor, float]]) -> Any:
    """Return a hook that counts a module's calls; nothing that only counts may stop a run."""

    def hook(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        found = counts.setdefault(name, _Counts())
        try:
            _count(found, module, inputs, output, units)
        except Exception as error:
            found.note = f"{type(module).__name__} could not be counted: {type(error).__name__}: {error}"

    return tallying(hook)


def _count(
    counts: _Counts, module: Any, inputs: tuple[Any, ...], output: Any, units: Mapping[int, tuple[Tensor, float]]
) -> None:
    given = [dense(shown(each).detach()) for each in inputs if isinstance(each, (Tensor, PackedSequence))]
    whole = isinstance(module, nn.RNNBase) or transposed(module) or not isinstance(module, (*SYNAPSES, Product))
    every = pairs(module, inputs, output)
    given = given if isinstance(module, Product) else given[:1]
    counts.dense += every
    if isinstance(module, Product):
        counts.effective += float(((given[0] != 0).double() @ (given[1] != 0).double()).sum())
    else:
        _, unit = units.get(given[0].untyped_storage().data_ptr(), (None, None))
        spikes = None if whole else spikes_in(given[0], unit)
        counts.effective += every if whole else _effective(module, (given[0] != 0) if spikes is None else spikes)
        counts.events += float((given[0] != 0).sum() if spikes is None else spikes.sum(dtype=torch.float64))
        counts.inputs += given[0].numel()
        counts.graded |= spikes is None
        return
    for each in given:
        counts.events += int(each.count_nonzero())
        counts.inputs += each.numel()
    counts.graded |= not any(is_trits(each) for each in given)  # one of them selects what of the other is added up


def spikes_in(x: Tensor, unit: float | None = None) -> Tensor | None:
    """Return the number of spikes behind every entry of a signal; None for a graded one.

    Args:
        x: the signal.
        unit: output of a single spike of the cells that made it, where they count; otherwise spikes are -1, 0 and 1.

    >>> spikes_in(torch.tensor([0.25, 0.0, 0.75]), unit=0.25).tolist(), spikes_in(torch.tensor([0.3, 0.5]))
    ([1.0, 0.0, 3.0], None)
    """
    if unit is not None:
        return (x.abs() / unit).round()
    return x.abs() if is_trits(x) else None


def dense(x: Tensor) -> Tensor:
    """Return a tensor with its zeros."""
    return x if x.layout is torch.strided else x.to_dense()


def _effective(module: Any, active: Tensor) -> float:
    """Return the number of pairs with neither zero; zero padding counts as zero."""
    there = (module.weight.detach() != 0).to(torch.float64)
    if isinstance(module, nn.Linear):
        each = active.flatten(0, -2).sum(0) if active.ndim > 1 else active
        return float((there @ each.to(torch.float64)).sum())
    if isinstance(module, Patterned):
        return float((there * active.reshape(-1, active.shape[-1]).sum(0)[module.pre]).sum())
    convolve, padding = CONVOLUTIONS[there.ndim - 2], module.padding
    # Time and samples in axes of their own, as layers of several steps have them, are one axis of images here.
    active = active.reshape(-1, *active.shape[-there.ndim + 1 :]).to(torch.float64)
    if module.padding_mode != "zeros":
        active, padding = F.pad(active, module._reversed_padding_repeated_twice, module.padding_mode), 0
    counted: Tensor = convolve(active, there, None, module.stride, padding, module.dilation, module.groups)
    return float(counted.sum())
