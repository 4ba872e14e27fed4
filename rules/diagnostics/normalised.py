"""Normalisations over the batch: parameters in front of them that have no effect, and statistics that lag behind."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

LAG = 0.01  # share of the initial statistics above which evaluation is not that of the weights


def without_effect(model: nn.Module) -> frozenset[str]:
    """Return the names of biases that a normalisation by the batch, right behind them, takes away again.

    >>> sorted(without_effect(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))))
    ['0.bias']
    """
    return frozenset(
        f"{prefix}{name}.bias"
        for prefix, stages in _sequences(model)
        for (name, stage), (_, behind) in zip(stages, stages[1:], strict=False)
        if isinstance(behind, _BatchNorm) and behind.training and isinstance(getattr(stage, "bias", None), nn.Parameter)
    )


def _sequences(model: nn.Module) -> Iterator[tuple[str, list[tuple[str, nn.Module]]]]:
    """Yield every `nn.Sequential` inside, with the beginning of its children's names."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            yield f"{name}." if name else "", list(module.named_children())


def batches_until_settled(momentum: float) -> int:
    """Return after how many batches the initial statistics weigh no more than `LAG`.

    >>> batches_until_settled(0.1)
    44
    """
    return 1 if momentum >= 1 else math.ceil(math.log(LAG) / math.log(1 - momentum))


def lagging(model: nn.Module) -> dict[str, float]:
    """Return the share that initial statistics still have in those of normalisations that have followed some batches.

    Running statistics move by a share of their momentum with every batch, so that after n batches the initial ones
    weigh (1 - momentum)^n. Only those above `LAG` are returned.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> lagging(model)
    {}
    >>> import torch
    >>> _ = model(torch.rand(5, 2))
    >>> lagging(model)
    {'1': 0.9}
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.momentum and module.num_batches_tracked is not None:
            count = int(module.num_batches_tracked)
            if count and (share := (1 - module.momentum) ** count) > LAG:
                found[name] = share
    return found


def said_of_lag(model: nn.Module) -> str | None:
    """Return a sentence on statistics that have followed too few batches for evaluation; None if there are none."""
    found = lagging(model)
    if not found:
        return None
    name, share = max(found.items(), key=lambda each: each[1])
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"the running statistics of {name}{others} have followed so few batches that the initial ones weigh "
        f"{share:.0%}: in evaluation the model is another than the one that learned, and may be at chance. Train "
        "longer, or let them follow inputs: sandbox.networks.calibration.settle(model, x)"
    )
