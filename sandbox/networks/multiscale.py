"""Multiscale attention: convolutions of several widths, weighed against each other by channel and by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.forward import fold
from sandbox.networks.convolutions import convolved
from sandbox.networks.kinds import lif
from sandbox.networks.parts import Whole
from sandbox.networks.population import Population
from sandbox.networks.zoneout import ZoneOut, zoned


class Weights(nn.Module):
    """Attention over scales: `softmax over i of W_i relu(W x)`, `[..., units] -> [scales, ..., units]`."""

    def __init__(self, units: int, inside: int, scales: int) -> None:
        super().__init__()
        self.inside = nn.Linear(units, inside)
        self.scales = nn.ModuleList(nn.Linear(inside, units) for _ in range(scales))

    def forward(self, x: Tensor) -> Tensor:
        shared = torch.relu(self.inside(x))
        return torch.softmax(torch.stack([scale(shared) for scale in self.scales]), 0)


class MultiscaleAttention(Whole):
    """Spiking multiscale attention (SMA) of maps `[T, B, C, H, W]`.

        F_i = LIF(BN(conv_i(x)))                    kernels of 1, 3, 5 and 7
        f   = mean over space of sum_i F_i          [T, B, C]
        C_i = softmax over i of W_i relu(W f)       [T, B, C]
        A_i = softmax over i of V_i relu(V g)       [T, B], g the mean of f over channels
        y   = sum_i A_i C_i F_i

    In training a zoneout may replace parts of the terms `A_i C_i F_i` by those of the step before.

    Args:
        channels: C.
        steps: T, which V is built for.
        kernels: odd widths of the kernels, (1, 3, 5, 7) by default.
        reduction: of channels inside W, 4 by default.
        time_reduction: of steps inside V, 4 by default; it may be a fraction, and the quotient is rounded down.
        spiking: LIF neurons behind the convolutions; False for rectification, as in the authors' residual networks.
        zoneout: applied in training; None for none.

    Raises:
        ValueError: for an even kernel, no kernel, a reduction below 1, and in a call for another number of steps.

    >>> block = MultiscaleAttention(channels=8, steps=4)
    >>> block(torch.rand(4, 2, 8, 5, 5)).shape
    torch.Size([4, 2, 8, 5, 5])

    Reference: Shan et al. 2025 (arXiv 2405.13672), from the authors' code.
    """

    def __init__(
        self,
        channels: int,
        steps: int,
        kernels: Sequence[int] = (1, 3, 5, 7),
        *,
        reduction: int = 4,
        time_reduction: float = 4,
        spiking: bool = True,
        zoneout: ZoneOut | None = None,
    ) -> None:
        super().__init__(steps)
        if not kernels or any(kernel % 2 == 0 for kernel in kernels):
            raise ValueError(f"kernels={tuple(kernels)}: give at least one, all odd, as in (1, 3, 5, 7)")
        if not (reduction >= 1 and time_reduction >= 1):
            raise ValueError(f"reduction={reduction}, time_reduction={time_reduction}: give factors of at least 1")
        scale = 1.0 if spiking else 0.5  # of tdBN, half a threshold of 1, as in MS-ResNet
        self.scales = nn.ModuleList(convolved(channels, channels, kernel, bias=True, scale=scale) for kernel in kernels)
        self.fires = nn.ModuleList(Population(lif(), 1.0) for _ in kernels) if spiking else None
        self.channel = Weights(channels, max(1, channels // reduction), len(kernels))
        self.time = Weights(steps, max(1, int(steps // time_reduction)), len(kernels))
        self.zoneout = zoneout

    def features(self, x: Tensor) -> Tensor:
        """Return what each scale puts out, `[scales, T, B, C, H, W]`."""
        return torch.stack([trace.post for trace in self.traces(x)])

    def traces(self, x: Tensor, record: bool = False) -> tuple[Trace, ...]:
        """Return a trace of each convolution, with the membrane if `record` asks for it and it drives neurons."""
        found = []
        for number, scale in enumerate(self.scales):
            current = fold(scale, x)
            if self.fires is None:
                post, u = torch.relu(current), None
            else:
                post, _, u = self.fires[number](current, None, record)
            found.append(Trace(f"scales.{number}.0.weight", x, post if u is None else u, post))
        return tuple(found)

    def attention(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights of steps `[scales, T, B]` and of channels `[scales, T, B, C]`, which sum to 1 over scales."""
        f = features.sum(0).mean((-2, -1))
        return self.time(f.mean(2).T).transpose(1, 2), self.channel(f)

    def terms(self, features: Tensor, time: Tensor, channel: Tensor) -> list[Tensor]:
        """Return the term of each scale, `[T, B, C, H, W]`, after zoneout in training."""
        weighed = time[..., None, None, None] * channel[..., None, None] * features
        if self.zoneout is None or not self.training:
            return list(weighed)
        chosen = [self.zoneout.places(*weights) for weights in zip(time, channel, strict=True)]
        return [zoned(term, places) for term, places in zip(weighed, chosen, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a whole sequence; the traces are those of the convolutions."""
        self.require_steps(x)
        traces = self.traces(x, record)
        features = torch.stack([trace.post for trace in traces])
        output = torch.stack(self.terms(features, *self.attention(features))).sum(0)
        return Run(output, None, traces if record else ())


def regularise(model: nn.Module, zoneout: ZoneOut) -> None:
    """Let all multiscale attention of a model use a zoneout in training; raise ValueError for a model without any."""
    found = [module for module in model.modules() if isinstance(module, MultiscaleAttention)]
    if not found:
        raise ValueError(
            f"{type(zoneout).__name__} replaces terms of multiscale attention, and {type(model).__name__} has none: "
            "models with it are sma_vgg and sma_resnet"
        )
    for module in found:
        module.zoneout = zoneout
