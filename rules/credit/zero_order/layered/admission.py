"""Models, objectives and batches that a layered zero-order rule refuses, because it would measure them wrongly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rules.contract import Batch, CreditRule, Objective, Run
from rules.credit.zero_order.layered.recorded import Recorded
from rules.credit.zero_order.steady import refuse_unsteady
from rules.forward import require_tensor
from rules.optional import plain, shape_of


def refuse(rule: CreditRule, model: nn.Module, objective: Objective, batch: Batch) -> None:
    """Raise ValueError for a model whose result changes, an objective on hidden layers, several inputs, or a carry."""
    refuse_unsteady(model)
    require_tensor(batch.x, type(rule).__name__)
    if {"layers", "features", "internals"} & objective.needs:
        raise ValueError(
            f"{objective} depends on hidden layers, but {type(rule).__name__} knows only the error at the output: "
            "use an objective of the output, or BPTT"
        )
    if batch.carry is not None and batch.carry != ():
        raise ValueError(f"{type(rule).__name__} runs parts of a model from rest: give it whole sequences and no carry")


def shaped(model: nn.Module, x: Tensor) -> Tensor:
    """Return the input in the `shape` of one sample at one step, if the model declares it; otherwise unchanged."""
    shape = shape_of(plain(model))
    return x if shape is None else x.reshape(*x.shape[:2], *shape)


def confirm_repeats(model: nn.Module, made: Recorded, x: Tensor) -> None:
    """Raise ValueError if the layers, called again, give another output: then they keep state between calls."""
    again, steps = x if made.axis == 1 else x[None], made.chain.steps
    for position, step in enumerate(steps):
        again = made.run(position, position + 1, again)
        before = made.timed(position + 1) if position + 1 in made.values else None
        if before is not None and not torch.allclose(again, before, rtol=0, atol=1e-2 * float(before.abs().max())):
            raise ValueError(
                f"layer {step.name!r} of {type(model).__name__} ({type(step.module).__name__}) gave another output "
                "when it was called again: it keeps state, which the model resets and a layer alone does not. "
                "model = rules.adapt(model) resets each layer"
            )


def confirm(model: nn.Module, run: Run, made: Recorded) -> None:
    """Raise ValueError if the layers in sequence differ from the model by more than rounding could explain."""
    true, ours = run.output, made.output
    if true.shape == ours.shape and float((true - ours).norm()) <= 1e-2 * float(true.norm()):
        return
    raise ValueError(
        f"the layers of {type(model).__name__}, one after the other, give {tuple(ours.shape)} and other numbers than "
        f"the model, {tuple(true.shape)}: `layers` must contain every operation, each called on the output before it"
    )
