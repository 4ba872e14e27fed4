"""The parameters of a model that a rule leaves as they are, said once, when the rule begins."""

from __future__ import annotations

import warnings

from torch import nn

from rules.contract import CreditRule
from rules.diagnostics.health import HealthWarning

SHOWN = 4  # names in the message


def warn_of_unmoved(rule: CreditRule, model: nn.Module) -> None:
    """Warn of trainable parameters that a rule of weights and biases does not move."""
    moved = rule.parameters(model)
    left = [name for name, p in model.named_parameters() if p.requires_grad and name not in moved]
    if moved and left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        warnings.warn(
            f"{type(rule).__name__} moves the weights and biases of every nn.Linear and convolution it sees, and "
            f"leaves {', '.join(left[:SHOWN])}{more} of {type(model).__name__} as they are: use a rule that moves all "
            'parameters, rules.make("spsa") or rules.make("bptt"), or freeze them, requires_grad_(False)',
            HealthWarning,
            stacklevel=4,
        )
