"""Models that cannot be probed, because a second pass gives another result."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

SHOWN = 4  # names in the message


def refuse_unsteady(model: nn.Module) -> None:
    """Raise ValueError for a model that a pass changes, or whose result changes from pass to pass."""
    norms = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)
    ]
    if len(norms) > 1:
        raise ValueError(
            f"{', '.join(norms[:SHOWN])}{f' and {len(norms) - SHOWN} more' if len(norms) > SHOWN else ''} are batch "
            "normalisation in training mode, whose statistics every probe would change, and which couples the samples: "
            "put them all in evaluation mode, [m.eval() for m in model.modules() if isinstance(m, "
            "torch.nn.modules.batchnorm._BatchNorm)], or use nn.GroupNorm or nn.LayerNorm"
        )
    for name, module in model.named_modules():
        if name in norms:
            raise ValueError(
                f"{name} is batch normalisation in training mode, whose statistics every probe would change, and "
                f"which couples the samples: put it in evaluation mode, model.get_submodule({name!r}).eval(), or use "
                "nn.GroupNorm or nn.LayerNorm"
            )
        drops = module.p if isinstance(module, _DropoutNd) else getattr(module, "dropout", 0.0)
        if module.training and isinstance(module, (_DropoutNd, nn.RNNBase)) and drops > 0:
            raise ValueError(
                f"{name} is dropout in training mode, which draws a new mask for every probe: put it in "
                f"evaluation mode, model.get_submodule({name!r}).eval(), take p = 0, or use a module with a fixed "
                "mask"
            )
