"""Ideal synapses: torch's optimizers as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from rules.fields import at_least, check_fields
from rules.plasticity import eager


@dataclass(frozen=True)
class Adam:
    """Adaptive moments, `w <- w - lr m / (sqrt(v) + eps)`, with decoupled weight decay.

    Args:
        lr: learning rate, 1e-3 by default.
        betas: decay per step of the first and second moment.
        weight_decay: decay rate of the weights, 0 by default.

    Raises:
        ValueError: for a negative rate, and for a share outside [0, 1).

    Reference: Kingma & Ba 2015 (arXiv 1412.6980); decoupled decay: Loshchilov & Hutter 2019 (arXiv 1711.05101).

    >>> Adam(lr=0.01)([nn.Parameter(torch.zeros(2))]).defaults["lr"]
    0.01
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "lr", "weight_decay")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas}: give two shares that are kept, each from 0 to below 1")

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return eager.AdamW(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, `b <- momentum b + g`, `w <- w - lr b`.

    Args:
        lr: learning rate, 1e-2 by default.
        momentum: share of b that is kept at each step, 0 by default.
        weight_decay: decay rate of the weights, added to the gradient, 0 by default.

    Raises:
        ValueError: for a negative rate, and for a momentum outside [0, 1).

    >>> SGD(lr=0.1)([nn.Parameter(torch.zeros(2))]).defaults["momentum"]
    0.0
    """

    lr: float = 1e-2
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "lr", "weight_decay")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum}: give the share that is kept, from 0 to below 1")

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return eager.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class RMSprop:
    """Gradients divided by their running rms, `v <- alpha v + (1 - alpha) g^2`, `w <- w - lr g / (sqrt(v) + eps)`.

    Args:
        lr: learning rate, 1e-3 by default.
        alpha: decay per step of the mean square, 0.99 by default.
        momentum: share of the last change that is kept at each step, 0 by default.
        weight_decay: decay rate of the weights, added to the gradient, 0 by default.

    Raises:
        ValueError: for a negative rate, and for an alpha or a momentum outside [0, 1).

    Reference: Tieleman & Hinton 2012 (lecture 6.5, recalled); the place of eps is that of torch.

    >>> RMSprop(lr=0.01)([nn.Parameter(torch.zeros(2))]).defaults["alpha"]
    0.99
    """

    lr: float = 1e-3
    alpha: float = 0.99
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "lr", "weight_decay")
        for name in ("alpha", "momentum"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value}: give the share that is kept, from 0 to below 1")

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return eager.RMSprop(
            parameters, lr=self.lr, alpha=self.alpha, momentum=self.momentum, weight_decay=self.weight_decay
        )
