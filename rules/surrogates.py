"""Spikes that can be differentiated: a step forward, a surrogate derivative backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from rules.errors import unknown
from rules.surrogate_table import SURROGATES, Shape

NORMALIZATIONS = ("none", "area", "peak")


class Spike(torch.autograd.Function):
    """Heaviside of `u` forward, `g(u)` times the incoming gradient backward; saves `u` alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, strict: bool, g: Callable[[Tensor], Tensor]) -> Tensor:
        return ((u > 0) if strict else (u >= 0)).to(u.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.g = inputs[2]

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (u,) = ctx.saved_tensors
        return error * ctx.g(u), None, None


@dataclass(frozen=True, init=False, repr=False)
class Surrogate:
    """A spike function with a surrogate derivative, by name.

        forward  H(u),  u = membrane - threshold;    backward  error * scale * g(u)

    `Surrogate("atan", alpha=2.0, normalize="none")`: `normalize="area"` scales g to an integral of one, `"peak"` to a
    largest value of one. Names, parameters, defaults and sources are in `rules.surrogate_table.SURROGATES`. In float16
    and bfloat16, g is computed in float32. A stochastic surrogate draws from the generator of `differentiating`.

    Raises ValueError for an unknown name or parameter, one that is not positive where it must be, a normalisation that
    does not exist, and, when used, a stochastic surrogate without a generator.

    >>> Surrogate("atan", alpha=4.0)
    Surrogate('atan', alpha=4.0)
    >>> Surrogate("fast_sigmoid").area, Surrogate("fast_sigmoid", normalize="area").peak
    (0.08, 12.5)
    >>> u = torch.tensor([-0.5, 0.0], requires_grad=True)
    >>> Surrogate("triangle").spike(u).sum().backward()
    >>> u.grad
    tensor([0.5000, 1.0000])

    Reference: Zenke & Vogels 2021 (doi 10.1162/neco_a_01367): learning is robust to the shape, sensitive to the scale.
    """

    name: str
    parameters: tuple[tuple[str, float], ...]
    normalize: Literal["none", "area", "peak"]
    _scale: float = field(compare=False)

    def __init__(self, name: str, *, normalize: Literal["none", "area", "peak"] = "none", **parameters: float) -> None:
        if name not in SURROGATES:
            raise unknown("surrogate", name, SURROGATES)
        shape = SURROGATES[name]
        for given, value in parameters.items():
            if given not in shape.defaults:
                raise unknown(f"parameter of surrogate {name!r}", given, shape.defaults)
            _check(name, given, value)
        if normalize not in NORMALIZATIONS:
            raise unknown("normalization", normalize, NORMALIZATIONS)
        settings = {**shape.defaults, **parameters}
        set_ = partial(object.__setattr__, self)
        set_("name", name)
        set_("parameters", tuple(settings.items()))
        set_("normalize", normalize)
        whole = {"none": 1.0, "area": shape.area(**settings), "peak": shape.peak(**settings)}[normalize]
        if whole is None or math.isinf(whole):
            raise ValueError(f"surrogate {name!r} has no finite {normalize} to normalize; use normalize='none'")
        set_("_scale", 1 / whole)

    @property
    def shape(self) -> Shape:
        """Its entry in the table."""
        return SURROGATES[self.name]

    @property
    def area(self) -> float | None:
        """The integral of the derivative; infinite for some, None for a periodic one."""
        area = self.shape.area(**dict(self.parameters))
        return None if area is None else area * self._scale

    @property
    def peak(self) -> float:
        """The largest value of the derivative."""
        return self.shape.peak(**dict(self.parameters)) * self._scale

    def spike(self, u: Tensor, strict: bool = False) -> Tensor:
        """Ones where `u >= 0` (`u > 0` if strict), differentiable as the context of the pass says."""
        context = _CONTEXT.get()
        if context is None:
            return Spike.apply(u, strict, self.grad)  # type: ignore[no-any-return]
        context.used = True
        chosen = context.surrogate or self
        if context.smooth:
            value = chosen.primitive(u)
            if value is None:
                raise ValueError(f"{chosen} has no primitive, so a smooth pass cannot use it; one with: 'sigmoid'")
            return value
        g = partial(chosen.grad, generator=context.generator) if chosen.shape.stochastic else chosen.grad
        return Spike.apply(u, strict, g)  # type: ignore[no-any-return]

    def grad(self, u: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The derivative g(u) as a plain function of a tensor."""
        shape, settings = self.shape, dict(self.parameters)
        if shape.stochastic:
            if generator is None:
                raise ValueError(f"{self} is stochastic: pass generator=, or use it under rules.differentiating")
            settings |= {"generator": generator}  # type: ignore[dict-item]
        wide = u.float() if u.dtype in (torch.float16, torch.bfloat16) else u
        g = shape.grad(wide, **settings)
        return (g if self._scale == 1.0 else g * self._scale).to(u.dtype)

    def primitive(self, u: Tensor) -> Tensor | None:
        """The smooth step P(u) whose derivative is g(u), where there is one."""
        primitive = self.shape.primitive
        return None if primitive is None else primitive(u, **dict(self.parameters)) * self._scale

    def __repr__(self) -> str:
        defaults = self.shape.defaults
        shown = [f"{k}={v}" for k, v in self.parameters if v != defaults[k]]
        shown += [f"normalize={self.normalize!r}"] if self.normalize != "none" else []
        return f"Surrogate({', '.join([repr(self.name), *shown])})"


def _check(surrogate: str, name: str, value: float) -> None:
    free = {"c", "h", "leak", "mean", "variance"} | ({"alpha"} if surrogate == "log_tailed_relu" else set())
    lowest = 0.0 if name in free else {"q": 1.0, "n": 1.0}.get(name, 0.0)
    if value < lowest or (name not in free and value == lowest) or not math.isfinite(value):
        bound = "at least 0" if name in free else f"above {lowest:g}"
        raise ValueError(f"surrogate {surrogate!r}: {name}={value}; give a finite number {bound}")


@dataclass
class Differentiation:
    """How a pass is to be differentiated: a rule sets it, neurons obey."""

    surrogate: Surrogate | None = None  # replaces every neuron's own
    detach_reset: bool = True  # no gradient through the reset
    smooth: bool = False  # forward uses the primitive: no spikes, exact gradients
    generator: torch.Generator | None = None  # dice of stochastic surrogates
    used: bool = False  # whether any spike has asked


_CONTEXT: ContextVar[Differentiation | None] = ContextVar("differentiation", default=None)


@contextmanager
def differentiating(
    surrogate: Surrogate | None = None,
    detach_reset: bool = True,
    smooth: bool = False,
    generator: torch.Generator | None = None,
) -> Iterator[Differentiation]:
    """Differentiate every spike inside this block in this way; `used` of what it yields says whether there was one.

    >>> u = torch.tensor([0.25], requires_grad=True)
    >>> with differentiating(smooth=True):
    ...     round(float(Surrogate("triangle").spike(u)), 4)
    0.7188
    """
    context = Differentiation(surrogate, detach_reset, smooth, generator)
    token = _CONTEXT.set(context)
    try:
        yield context
    finally:
        _CONTEXT.reset(token)


def reset_signal(spikes: Tensor) -> Tensor:
    """The spikes as the reset sees them: detached, unless the pass is to be differentiated through the reset."""
    context = _CONTEXT.get()
    return spikes.detach() if context is None or context.detach_reset else spikes
