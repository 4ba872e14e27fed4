"""The origin of a NaN or an infinity, found before anything is changed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, Credit
from rules.forward import leaves, run_model


class NonFinite(ArithmeticError):
    """Raised for a NaN or an infinity in input, loss or gradient; nothing has been changed."""


def finite(tensor: Tensor) -> bool:
    """Return whether every entry is finite; entries repeated by a stride of 0 are read once."""
    for axis, stride in enumerate(tensor.stride()):
        if stride == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())  # the sum of finite entries may overflow


def check_input(batch: Batch, step: int) -> None:
    """Raise NonFinite, naming the first bad entry, for an input or an answer that is not finite.

    Raises ValueError for an input without any number.
    """
    held = [tuple(leaf.shape) for leaf in leaves(batch.x)]
    if not held or not all(leaf.numel() for leaf in leaves(batch.x)):
        raise ValueError(
            f"step {step}: the batch has {'inputs of shapes ' + ' and '.join(map(str, held)) if held else 'no input'}, "
            "without any number: leave empty batches out, as in loader = [(x, y) for x, y in loader if len(y)]"
        )
    for name, part in (("the input", batch.x), ("y", batch.y), ("targets", batch.targets)):
        for leaf in leaves(part):
            if leaf.is_floating_point() and not finite(leaf):
                bad = (~leaf.isfinite()).nonzero()[0].tolist()
                raise NonFinite(
                    f"step {step}: {name} holds {leaf[tuple(bad)]} at index {bad} of {tuple(leaf.shape)}; "
                    "clean the data set or the encoder"
                )


def check_credit(model: nn.Module, batch: Batch, credit: Credit, step: int) -> None:
    """Raise NonFinite, naming the layer, for a loss or a gradient that is not finite."""
    if not math.isfinite(credit.loss):
        raise NonFinite(
            f"step {step}: the loss is {credit.loss}, first seen in {_origin(model, batch)}; lower the "
            "learning rate or the input scale"
        )
    if not math.isfinite(sum(float(g.sum()) for g in credit.grads.values())):
        for name, g in credit.grads.items():
            if not finite(g):
                raise NonFinite(
                    f"step {step}: the gradient of {name} holds a NaN or an infinity; lower the learning "
                    "rate, cut the gradient in time (window=...), or use a narrower surrogate"
                )


def _origin(model: nn.Module, batch: Batch) -> str:
    """Return the first non-finite parameter, or else the first module, in forward order, with non-finite output."""
    for name, parameter in model.named_parameters():
        if not finite(parameter.detach()):
            return f"parameter {name}"
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if not found and isinstance(first, Tensor) and first.is_floating_point() and not finite(first):
                found.append(f"the output of layer {name}")

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            run_model(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the objective"
