"""Natural pruning: shortcuts behind spiking gates that never fire are removed, and every prediction stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.batches import as_batch
from rules.forward import as_run, looking
from rules.metering import pairs
from rules.synapses import is_synapse
from sandbox.networks.gates import Gate
from sandbox.networks.parts import Joined
from sandbox.networks.population import Population

RATE = 1e-6  # spikes per neuron and step below which a shortcut counts as silent
GATES = (
    "a gate is a neuron on a shortcut that may shut it for good; models that have some are orrc_resnet with shortcut= "
    "'time', 'channel' or 'space'"
)


class Shortcut(NamedTuple):
    """A gated shortcut, as a pass over a data set has shown it."""

    name: str
    spikes: int
    rate: float  # per neuron and step
    parameters: int
    operations: float  # pairs of an input and a weight, zeros included, of one sample


class Pruned(NamedTuple):
    """What pruning has found and removed."""

    model: nn.Module  # a copy without the silent shortcuts
    shortcuts: tuple[Shortcut, ...]  # all gated ones
    removed: tuple[str, ...]
    samples: int  # whose outputs are the same bit for bit
    parameters: int  # of the model before
    operations: float  # of one sample before, pairs of an input and a weight

    @property
    def parameters_saved(self) -> int:
        """Parameters that were removed."""
        return sum(each.parameters for each in self.shortcuts if each.name in self.removed)

    @property
    def operations_saved(self) -> float:
        """Operations of one sample that were removed."""
        return sum(each.operations for each in self.shortcuts if each.name in self.removed)

    def facts(self) -> dict[str, Any]:
        """Return all but the model, as JSON has it."""
        kept = {name: value for name, value in self._asdict().items() if name not in ("model", "shortcuts", "removed")}
        return {
            **kept,
            "removed": list(self.removed),
            "parameters_saved": self.parameters_saved,
            "operations_saved": self.operations_saved,
            "shortcuts": [each._asdict() for each in self.shortcuts],
        }

    def __str__(self) -> str:
        lines = [self._line(each) for each in self.shortcuts]
        return "\n".join(
            [
                *lines,
                f"{len(self.removed)} of {len(self.shortcuts)} gated shortcuts removed; outputs of {self.samples:,} "
                "samples are the same bit for bit",
                f"parameters {self.parameters:,}, {self.parameters_saved:,} saved; operations of a sample "
                f"{self.operations:,.0f}, {self.operations_saved:,.0f} saved",
            ]
        )

    def _line(self, each: Shortcut) -> str:
        """Return what became of a shortcut, and why."""
        fired = (
            "never fired" if not each.spikes else f"fired {each.spikes:,} times, {each.rate:.2g} per neuron and step"
        )
        return f"{each.name}: {'removed' if each.name in self.removed else 'kept'}, {fired}"


def gated(model: nn.Module) -> dict[str, Joined]:
    """Return the blocks whose shortcut has a spiking gate, by name; raise ValueError for a model without any."""
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Joined) and module.shortcut is not None and _gates(module.shortcut)
    }
    if not found:
        raise ValueError(f"{type(model).__name__} has no gated shortcut, so nothing can fall silent by itself: {GATES}")
    return found


def _gates(module: nn.Module) -> bool:
    return any(isinstance(inner, Gate) and inner.fires is not None for inner in module.modules())


def prune_silent(model: nn.Module, loader: Iterable[Any], rate: float = RATE) -> Pruned:
    """Remove shortcuts whose output is silent on a data set: convolution, normalisation, spiking gate and neurons.

    Args:
        model: stays as it is; it is run in evaluation mode.
        loader: the training samples in batches, `rules.Batch`, `(x, y)` or x alone, in the same order with the same
            noise whenever it is read.
        rate: spikes per neuron and step below which a shortcut counts as silent, 1e-6 by default; 0 for those alone
            that never fired. `Pruned` says which of them did fire.

    Returns: The pruned copy and what it saves.

    Raises:
        ValueError: for a model without gated shortcuts, one that does not end in neurons, a rate below 0, no samples, a
            join that is not its branch alone where the shortcut is silent, and a shortcut that fired and without which
            an output is another.

    >>> from rules import Batch
    >>> from sandbox.networks.models import orrc_resnet
    >>> net = orrc_resnet((1, 8, 8), 3, shortcut="channel")
    >>> _ = nn.init.zeros_(net.parts[5].shortcut[1].weigh[2].weight)  # the gate stays shut
    >>> print(prune_silent(net, [Batch(torch.rand(4, 2, 1, 8, 8))]))
    parts.5: removed, never fired
    1 of 1 gated shortcuts removed; outputs of 2 samples are the same bit for bit
    parameters 43,219, 1,088 saved; operations of a sample 4,494,720, 33,792 saved

    Reference: the observation is that of Shan et al. 2023 (arXiv 2311.06570); procedure and check are ours.
    """
    if not rate >= 0:
        raise ValueError(f"rate={rate}: give spikes per neuron and step, 0 for shortcuts that never fired")
    blocks = gated(model)
    outputs, counts = _watched(model, blocks, loader)
    if not outputs:
        raise ValueError("the loader yields no samples, so whether a shortcut is silent cannot be seen")
    samples = sum(output.shape[1] for output in outputs)
    shortcuts = tuple(counts[name].shortcut(name, block, samples) for name, block in blocks.items())
    silent = tuple(each.name for each in shortcuts if not each.spikes or each.rate < rate)
    pruned = copy.deepcopy(model)
    remove(pruned, silent)
    fired = [str(each.spikes) for each in shortcuts if each.name in silent and each.spikes]
    _require_same(pruned, loader, outputs, fired)
    every = sum(p.numel() for p in model.parameters())
    return Pruned(pruned, shortcuts, silent, samples, every, counts[""].operations / samples)


def remove(model: nn.Module, names: Iterable[str]) -> None:
    """Remove the shortcuts of these blocks, in place; raise ValueError where the join needs them."""
    gone = list(names)
    for name in gone:
        if any(name.startswith(f"{other}.shortcut.") for other in gone):  # went with the shortcut around it
            continue
        block: Any = model.get_submodule(name)
        spikes = torch.tensor([0.0, 1.0])
        if not torch.equal(block.join(spikes, torch.zeros(2)), spikes):
            raise ValueError(
                f"{name} joins its branches by {block.join.__name__}, which is silent where the shortcut is: only "
                "joins by or and add can be pruned"
            )
        block.shortcut = None


class _Seen:
    """What the passes have shown of one shortcut, or of the whole model."""

    def __init__(self) -> None:
        self.spikes, self.places, self.operations = 0, 0, 0

    def shortcut(self, name: str, block: Joined, samples: int) -> Shortcut:
        assert block.shortcut is not None
        own = sum(p.numel() for p in block.shortcut.parameters())
        return Shortcut(name, self.spikes, self.spikes / self.places, own, self.operations / samples)


def _watched(
    model: nn.Module, blocks: dict[str, Joined], loader: Iterable[Any]
) -> tuple[list[Tensor], dict[str, _Seen]]:
    """Return the outputs on a data set, and what each shortcut and the whole model ("") have done."""
    seen = {name: _Seen() for name in ("", *blocks)}
    hooks: dict[nn.Module, Any] = {}
    owners: dict[nn.Module, str] = {}
    for name, block in blocks.items():
        assert block.shortcut is not None
        last: Any = block.shortcut[-1]
        if not isinstance(getattr(last, "cells", None), Population):
            raise ValueError(
                f"the shortcut of {name} ends in a {type(last).__name__}, and whether it is silent shows in the spikes "
                "of neurons: put neurons at its end, as orrc_resnet does"
            )
        hooks[last.cells] = lambda module, inputs, output, of=seen[name]: _count(of, output[0])
        owners |= dict.fromkeys(block.shortcut.modules(), name)
    for module in model.modules():
        if is_synapse(module):
            own = [seen[""], *([seen[owners[module]]] if module in owners else [])]
            hooks[module] = lambda module, inputs, output, own=own: _work(own, module, inputs, output)
    return list(_outputs(model, loader, hooks)), seen


def _count(seen: _Seen, spikes: Tensor) -> None:
    seen.spikes += int(spikes.count_nonzero())
    seen.places += spikes.numel()


def _work(seen: list[_Seen], module: nn.Module, inputs: Any, output: Tensor) -> None:
    for each in seen:
        each.operations += pairs(module, inputs, output)


@torch.no_grad()
def _outputs(model: nn.Module, loader: Iterable[Any], hooks: dict[nn.Module, Any]) -> Iterator[Tensor]:
    """Yield the output of every batch, in evaluation mode."""
    for batch in loader:
        with looking(model, hooks):
            output = as_run(model(as_batch(batch).x)).output
        yield output


def _require_same(model: nn.Module, loader: Iterable[Any], before: list[Tensor], fired: list[str]) -> None:
    """Raise ValueError unless the outputs are those of before, bit for bit."""
    after = _outputs(model, loader, {})
    wrong = sum(int((a != b).flatten(2).any(2).any(0).sum()) for a, b in zip(before, after, strict=True))
    if wrong:
        why = (
            f"shortcuts that fired {' and '.join(fired)} times were taken for silent; rate=0 keeps them"
            if fired
            else "the loader did not yield the same samples twice: fix its order and its noise"
        )
        raise ValueError(f"without the silent shortcuts, outputs of {wrong} samples are others: {why}")
