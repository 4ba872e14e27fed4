"""Directions that travel beside the signals of a pass: how spikes pass them on, and what that costs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from rules.contract import Cost
from rules.credit.zero_order.flat.asking import Spike
from rules.metering import Meter
from rules.spikes.surrogate import Surrogate, heaviside
from rules.synapses import weighted


def tangent(signal: Tensor) -> Tensor | None:
    """The direction beside a signal, where it has one."""
    found: Tensor | None = forward_ad.unpack_dual(signal).tangent
    return found


def spiking(dice: torch.Generator) -> Spike:
    """Spikes `H(u)` whose direction is `g(u) du`, with dice for stochastic surrogates.

    >>> with forward_ad.dual_level():
    ...     u = forward_ad.make_dual(torch.tensor([0.5]), torch.tensor([10.0]))
    ...     spike = spiking(torch.Generator())(Surrogate("triangle"), u, False, None)
    ...     spike.item(), tangent(spike).item()
    (1.0, 5.0)
    """

    def spike(surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        primal, du = forward_ad.unpack_dual(u)
        spikes = heaviside(primal, strict, noise)
        if du is None:
            return spikes
        dual: Tensor = forward_ad.make_dual(spikes, surrogate.grad(primal, dice) * du)
        return dual

    return spike


class Tangents:
    """Counts, inside its `with` block, what directions cost beside the signals.

    For `y = W x` the direction is `W dx + dW x`: an evaluation like that of y for each term that there is.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [*weighted(model).values()]
        self._terms: dict[int, int] = {}  # of each module, the most that a call had
        self._bill = torch.zeros(3, dtype=torch.int64)  # operations, conversions to analogue and to digital
        self._stack = ExitStack()

    def __enter__(self) -> Tangents:
        if any(isinstance(module, nn.RNNBase) for module in self._modules):  # whose mkldnn kernels pass no direction on
            self._stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        for module in self._modules:
            meter = self._stack.enter_context(Meter(module))
            self._stack.callback(module.register_forward_hook(partial(self._count, meter)).remove)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _count(self, meter: Meter, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        terms = sum([tangent(inputs[0]) is not None, any(tangent(p) is not None for p in carried(module))])
        self._bill += terms * torch.tensor([meter.operations, *meter.conversions])
        meter.operations, meter.conversions = 0, [0, 0]
        self._terms[id(module)] = max(terms, self._terms.get(id(module), 0))

    def cost(self) -> Cost:
        """The bill for one pass, beside that of its signals."""
        operations, to_analogue, to_digital = self._bill.tolist()
        return Cost(
            layer_evaluations=sum(self._terms.values()),
            synaptic_operations=operations,
            neuron_steps=to_digital,
            multiplications=operations,
            dac_conversions=to_analogue,
            adc_conversions=to_digital,
        )


def carried(module: nn.Module) -> list[Tensor]:
    """What stands in the places of a module's own weights, replaced or not; biases multiply nothing."""
    return [p for p in module._parameters.values() if p is not None and p.ndim > 1]
