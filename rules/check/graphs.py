"""The gradient that autograd finds on a graph in which some paths are cut, as a reference for online rules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, Objective, Run
from rules.forward import map_tensors
from rules.optional import layers_of, shape_of


def cut_gradient(model: nn.Module, objective: Objective, batch: Batch, detaches: frozenset[str]) -> dict[str, Tensor]:
    """Return the gradient of each parameter, with detached paths (keys of `rules.contract.DETACHMENTS`).

    The network runs step by step, with nothing but its layers' synapses and cells. Resets are cut by
    `differentiating(detach_reset=True)` around this call. Where the memory of the layers above is cut, each layer has a
    run of its own.

    >>> from rules.check import toy
    >>> model, batch = toy.recurrent(), toy.batch()
    >>> sorted(cut_gradient(model, toy.Quadratic(), batch, frozenset()))[0]
    'layers.0.cells.recurrent.weight'
    """
    layers: list[Any] = layers_of(model) or []
    names = {id(p): name for name, p in model.named_parameters()}
    asked = range(len(layers)) if "upper_membrane" in detaches else [None]
    found: dict[str, Tensor] = {}
    for place in asked:
        chosen = [p for layer in (layers if place is None else [layers[place]]) for p in layer.parameters()]
        loss = objective(Run(unrolled(model, layers, batch, detaches, place)), batch)
        for p, g in zip(chosen, torch.autograd.grad(loss, chosen, allow_unused=True), strict=True):
            if g is not None:
                found[names[id(p)]] = g
    return found


def unrolled(model: nn.Module, layers: list[Any], batch: Batch, detaches: frozenset[str], place: int | None) -> Tensor:
    """Return the output of a run whose cut paths are detached; `place` is the layer above which memory is cut."""
    shape = shape_of(model)
    x = batch.x if shape is None else batch.x.reshape(*batch.x.shape[:2], *shape)
    carries: list[Any] = [None] * len(layers)
    outputs = []
    for signal in x:
        for number, layer in enumerate(layers):
            current = layer.synapse(signal)
            state, heard = carries[number] or layer.cells.rest(current[None])
            if "past" in detaches or ("upper_membrane" in detaches and place is not None and number > place):
                state = map_tensors(Tensor.detach, state)
            if layer.cells.recurrent is not None:
                current = current + layer.cells.recurrent(heard.detach() if "recurrent_spikes" in detaches else heard)
            signal, state = layer.cells.advance(current, state)
            carries[number] = (state, signal)
        outputs.append(signal)
    return torch.stack(outputs)
