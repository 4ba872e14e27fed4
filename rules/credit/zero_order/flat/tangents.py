"""Forward-mode directions beside the signals of a pass: how spikes propagate them, and their cost."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from rules.contract import Cost
from rules.credit.zero_order.flat.asking import Spike
from rules.metering import Meter
from rules.spikes.surrogate import Surrogate, heaviside
from rules.synapses import Patterned, weighted


def tangent(signal: Tensor) -> Tensor | None:
    """Return the direction of a signal, or None."""
    found: Tensor | None = forward_ad.unpack_dual(signal).tangent
    return found


def spiking(rng: torch.Generator) -> Spike:
    """Return a function for spikes `H(u)` with the direction `g(u) du`; `rng` is for stochastic surrogates.

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
        dual: Tensor = forward_ad.make_dual(spikes, surrogate.grad(primal, rng) * du)
        return dual

    return spike


class Tangents:
    """A context that counts the cost of directions, in addition to that of the signals.

    For `y = W x` the direction is `W dx + dW x`: each nonzero term costs as much as y itself.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [*weighted(model).values()]
        self._terms: dict[int, int] = {}  # of each module, the largest number of terms in a call
        self._counts = torch.zeros(3, dtype=torch.int64)  # operations, conversions to analogue and to digital
        self._stack = ExitStack()

    def __enter__(self) -> Tangents:
        if any(isinstance(module, nn.RNNBase) for module in self._modules):  # mkldnn kernels drop the direction
            self._stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        for module in self._modules:
            meter = self._stack.enter_context(Meter(module, functional=False))
            self._stack.callback(module.register_forward_hook(partial(self._count, meter)).remove)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _count(self, meter: Meter, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        terms = sum([tangent(inputs[0]) is not None, any(tangent(p) is not None for p in carried(module))])
        self._counts += terms * torch.tensor([meter.operations, *meter.conversions])
        meter.operations, meter.conversions = 0, [0, 0]
        self._terms[id(module)] = max(terms, self._terms.get(id(module), 0))

    def cost(self) -> Cost:
        """Return the cost of the directions of one pass, without that of its signals."""
        operations, to_analogue, to_digital = self._counts.tolist()
        return Cost(
            layer_evaluations=sum(self._terms.values()),
            synaptic_operations=operations,
            neuron_steps=to_digital,
            multiplications=operations,
            dac_conversions=to_analogue,
            adc_conversions=to_digital,
        )


def carried(module: nn.Module) -> list[Tensor]:
    """Return a module's own weights, replaced or not; biases are left out, because they multiply nothing."""
    named = module._parameters.items()
    patterned = isinstance(module, Patterned)
    return [p for name, p in named if p is not None and (p.ndim > 1 or (patterned and name == "weight"))]


def with_direction(module: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """Return the product `z = W x + b` of an nn.Linear with its direction `dW x + db`, for an x that has none."""
    assert isinstance(module, nn.Linear)
    weight, bias = tangent(module.weight), None if module.bias is None else tangent(module.bias)
    if weight is None and bias is None:
        return z
    along = F.linear(x, torch.zeros_like(module.weight) if weight is None else weight, bias)
    dual: Tensor = forward_ad.make_dual(z, along)
    return dual
