"""The workload of a model on a batch, measured in one pass forward and one back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.batches import as_batch
from rules.contract import Objective
from rules.diagnostics.work import dense
from rules.forward import map_tensors, run_model, samples
from rules.objectives import OBJECTIVES
from rules.optional import plain
from rules.seeds import seeded
from rules.spikes.bits import is_trits
from rules.spikes.surrogate import differentiating
from rules.synapses import Patterned, counted, is_synapse, transposed
from rules.untouched import untouched
from sandbox.hardware.workload import WORD, Layer, Workload

MEASURED = "measured in one pass forward and one back of autograd"
FORWARD = "r_s measured in one pass forward; r_g = 1, because no error came back"


def measure(model: nn.Module, batch: Any, objective: Objective | None = None, bits: int = WORD) -> Workload:
    """Return the workload of a model on a batch, and leave the model as it was.

    r_s is the share of inputs that are not zero, r_g the share of errors at the output of a synapse that are not zero
    in the gradient of the loss, whatever rule is used later. A loss of several views of a sample has all of them in the
    batch. Integers of cells that count are numbers here, for which training multiplies. A layer whose input is constant
    in time is counted at every step. Transposed convolutions, recurrent modules of torch and products of two activities
    are left out, and named in `source`. The spikes of a layer are taken from the input of the next one, if that has as
    many. Cells are counted before pooling, and of a convolution in groups the inputs of one.

    Args:
        model: any `nn.Module`; its `nn.Linear`, convolutions and sparse synapses become layers.
        batch: input and labels: `rules.Batch`, `(x, y)`, or what else `rules.batches.as_batch` takes.
        objective: the loss of the pass back; the cross-entropy of the mean output by default, and in place of one that
            teaches nothing.
        bits: of a weight, 16 by default.

    Raises:
        ValueError: for a model without synapses.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> found = measure(net, (torch.full((1, 5, 4), 0.5), torch.arange(5) % 3))
    >>> [(layer.name, layer.macs, layer.graded, layer.passes) for layer in found.layers]
    [('0', 160, True, False), ('2', 120, True, True)]
    """
    inner = plain(model)
    found: dict[str, _Seen] = {}
    taken = {name: m for name, m in counted(inner).items() if is_synapse(m) and not transposed(m)}
    handles = [module.register_forward_hook(_hook(found, name)) for name, module in taken.items()]
    batch = as_batch(batch)
    batch = batch._replace(x=map_tensors(lambda leaf: leaf.contiguous(), batch.x))  # no step shares memory with another
    loss = OBJECTIVES["ce_mean"]() if objective is None or not objective.teaches else objective
    rng = seeded(0, "workload")
    try:
        with untouched(inner, loss.module()), differentiating(generator=rng), torch.enable_grad():
            batch = loss.views(batch, rng)
            run = run_model(inner, batch, loss.needs)
            back = run.output.requires_grad
            if back:
                learned = [p for p in inner.parameters() if p.requires_grad]
                torch.autograd.grad(loss(run, batch), learned, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(
            f"{type(inner).__name__} calls no nn.Linear, convolution or sparse synapse, so no work can be counted: "
            "build the workload by hand from sandbox.hardware.Layer"
        )
    held, normed, reaches = samples(batch), _normed(inner), _reaches(inner)
    layers = [
        _reaching(seen.layer(name, taken[name], held, bits, name in normed), reaches.get(name))
        for name, seen in found.items()
    ]
    missing = [f"{name} ({type(m).__name__})" for name, m in counted(inner).items() if name not in found]
    source = (MEASURED if back else FORWARD) + (f"; not counted: {', '.join(missing)}" if missing else "")
    return Workload(tuple(_firing(layers)), run.output.shape[-1], source)


@dataclass
class _Seen:
    """What the calls of one synapse have shown."""

    graded: bool = False
    passes: bool = False
    rows: int = 0
    inputs: int = 0
    active: int = 0
    errors: int = 0
    wrong: int = 0  # errors that are not zero
    places: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()

    def layer(self, name: str, module: Any, held: int, bits: int, normed: bool) -> Layer:
        """Return the layer of a module that was called on batches of `held` samples."""
        weight = module.weight.detach()
        there = float((weight != 0).double().mean())
        inputs, outputs = _channels(module)
        if isinstance(module, Patterned):
            there *= weight.numel() / (inputs * outputs)
        batch = held if self.rows % held == 0 else 1
        return Layer(
            name,
            inputs,
            outputs,
            self.rows // batch,
            batch,
            _plane(self.places),
            _plane(tuple(weight.shape[2:])),
            _plane(self.sources),
            spikes=self.active / max(self.inputs, 1),
            errors=self.wrong / self.errors if self.errors else 1.0,
            weights=there,
            bits=bits,
            graded=self.graded,
            passes=self.passes,
            normed=normed,
        )


def _hook(found: dict[str, _Seen], name: str) -> Callable[..., None]:
    """Return a hook that notes sizes, zeros, and the errors that arrive at the output later."""

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, seen = dense(inputs[0].detach()), found.setdefault(name, _Seen())
        spatial = max(_weight(module).ndim - 2, 0)
        seen.places, seen.sources = tuple(output.shape[-spatial:])[:spatial], tuple(x.shape[-spatial:])[:spatial]
        seen.rows += output.numel() // (_channels(module)[1] * prod(seen.places))
        seen.inputs, seen.active = seen.inputs + x.numel(), seen.active + int(x.count_nonzero())
        seen.graded |= not is_trits(x)
        seen.passes |= inputs[0].requires_grad
        if output.requires_grad:
            output.register_hook(count)

    def count(error: Tensor) -> None:
        seen = found[name]
        seen.errors, seen.wrong = seen.errors + error.numel(), seen.wrong + int(error.count_nonzero())

    return note


def _weight(module: Any) -> Tensor:
    found: Tensor = module.weight
    return found


def _channels(module: Any) -> tuple[int, int]:
    """Return the channels that enter, of one group, and that leave."""
    patterned = isinstance(module, Patterned)
    outputs, inputs = (module.out_features, module.in_features) if patterned else module.weight.shape[:2]
    return int(inputs), int(outputs)


def _plane(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Return the sizes of one, two or three axes as two."""
    return (prod(sizes[:-1]), sizes[-1]) if sizes else (1, 1)


def _normed(model: nn.Module) -> set[str]:
    """Return the names of synapses behind which batch normalisation stands, in one sequence."""
    found = set()
    for prefix, part in model.named_modules():
        last = None
        for name, child in part.named_children() if isinstance(part, nn.Sequential) else ():
            last = f"{prefix}.{name}".lstrip(".") if is_synapse(child) else last
            found |= {last} if last and isinstance(child, _BatchNorm) else set()
    return found


def _reaches(model: nn.Module) -> dict[str, Callable[[int], int | None]]:
    """Return, by name of a synapse, how many steps the cells behind it weigh for one output, where they say so."""
    found: dict[str, Callable[[int], int | None]] = {}
    for prefix, part in model.named_modules():
        cells, synapse = getattr(part, "cells", None), getattr(part, "synapse", None)
        if isinstance(cells, nn.Module) and isinstance(synapse, nn.Module) and callable(getattr(cells, "reach", None)):
            inside = [name for name, module in synapse.named_modules() if is_synapse(module)]
            reach: Any = cells.reach
            found |= {".".join(filter(None, (prefix, "synapse", name))): reach for name in inside}
    return found


def _reaching(layer: Layer, reach: Callable[[int], int | None] | None) -> Layer:
    return layer if reach is None else replace(layer, reach=reach(layer.steps))


def _firing(layers: list[Layer]) -> list[Layer]:
    """Return layers with the share of spikes that the next one has seen."""
    after = [*layers[1:], None]
    return [
        replace(layer, fires=later.spikes) if later and later.afferents == layer.cells and not later.graded else layer
        for layer, later in zip(layers, after, strict=True)
    ]
