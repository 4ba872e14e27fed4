"""What a layered zero-order rule refuses, before it measures anything wrong."""

from __future__ import annotations

from torch import Tensor, nn

from rules.contract import Batch, CreditRule, Objective, Run
from rules.credit.zero_order.layered.recorded import Recorded
from rules.credit.zero_order.steady import refuse_unsteady
from rules.forward import plain
from rules.optional import shape_of


def refuse(rule: CreditRule, model: nn.Module, objective: Objective, batch: Batch) -> None:
    """Raise ValueError for what would answer otherwise the next time, or lie outside of what the output tells."""
    refuse_unsteady(model)
    if "layers" in objective.needs:
        raise ValueError(
            f"{objective} looks at hidden layers, and {type(rule).__name__} knows the error at the output "
            "alone: use an objective of the output, or BPTT"
        )
    if batch.carry is not None and batch.carry != ():
        raise ValueError(f"{type(rule).__name__} runs parts of a model from rest: give it whole sequences and no carry")


def shaped(model: nn.Module, x: Tensor) -> Tensor:
    """The input as the first layer takes it: a model may say the `shape` of one sample at one time."""
    shape = shape_of(plain(model))
    return x if shape is None else x.reshape(*x.shape[:2], *shape)


def confirm(model: nn.Module, run: Run, made: Recorded) -> None:
    """Raise ValueError where the layers, one after the other, are not the model, beyond what rounding could explain."""
    true, ours = run.output, made.output
    if true.shape == ours.shape and float((true - ours).norm()) <= 1e-2 * float(true.norm()):
        return
    raise ValueError(
        f"the layers of {type(model).__name__}, one after the other, give {tuple(ours.shape)} and other numbers than "
        f"the model, {tuple(true.shape)}: let `layers` hold all it does, each called on what the one before put out"
    )
