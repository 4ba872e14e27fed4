"""Devices as a forward pass sees them: with read noise, and after drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rules.plasticity.memristor.device import normal
from rules.synapses import synapses


class Glance(NamedTuple):
    """How a forward pass sees one parameter; noise in units of the parameter."""

    weights: Tensor | None  # temporary values; None to keep the parameter's own
    output_noise: float


@contextmanager
def seen(model: nn.Module, glances: Mapping[nn.Parameter, Glance], rng: torch.Generator) -> Iterator[None]:
    """Replace parameters and add output noise inside this context; afterwards everything is restored."""
    with ExitStack() as after:
        for parameter, glance in glances.items():
            if glance.weights is not None:
                kept = parameter.data
                after.callback(setattr, parameter, "data", kept)
                parameter.data = glance.weights
        for module in synapses(model).values():
            if isinstance(module.weight, nn.Parameter):
                noise = glances[module.weight].output_noise if module.weight in glances else 0.0
                if noise:
                    after.callback(module.register_forward_hook(_noisy(noise, rng)).remove)
        yield


def _noisy(size: float, rng: torch.Generator) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return output + size * normal(output, rng)

    return hook
