"""Differentiable spikes: a step forward, a surrogate derivative backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from types import FunctionType
from typing import Any, Literal

import torch
from torch import Tensor

from rules.errors import unknown
from rules.spikes.blocks import Blocks, told
from rules.spikes.table import SURROGATES, Shape

__all__ = [
    "SURROGATES",
    "Differentiation",
    "Surrogate",
    "adaptation_signal",
    "current_pass",
    "differentiating",
    "generator_of_pass",
    "heaviside",
    "reset_signal",
]

NORMALIZATIONS = ("none", "area", "peak")
HALF = (torch.float16, torch.bfloat16)
LARGE = 2**20  # numbers from which a surrogate is evaluated in pieces
PIECE = 2**16


class Spike(torch.autograd.Function):
    """Heaviside of `u - noise` forward, `g(u)` times the incoming gradient backward; saves only `u`."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, strict: bool, g: Callable[[Tensor], Tensor], noise: Tensor | None) -> Tensor:
        ctx.save_for_backward(u)
        ctx.g = g
        return heaviside(u, strict, noise)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None, None]:
        (u,) = ctx.saved_tensors
        return _passed(error, ctx.g, u), None, None, None


class TransformableSpike(torch.autograd.Function):
    """`Spike` in the form that vmap and torch.compile need; torch binds its signature at every call, in 15 us."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, strict: bool, g: Callable[[Tensor], Tensor], noise: Tensor | None) -> Tensor:
        return heaviside(u, strict, noise)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.g = inputs[2]

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None, None]:
        (u,) = ctx.saved_tensors
        return error * ctx.g(u), None, None, None


def _passed(error: Tensor, g: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """Return `error * g(u)`; of many numbers in pieces that stay in the cache, which is five times as fast."""
    small = u.numel() < LARGE or not u.is_contiguous() or u.device.type != "cpu"
    if small or torch.is_grad_enabled() or not isinstance(g, FunctionType):  # with gradients of gradients
        return error * g(u)  # a stochastic g, which is not a plain function, draws for all at once
    passed = torch.empty_like(u)
    for into, each, x in zip(*(x.view(-1).split(PIECE) for x in (passed, error.contiguous(), u)), strict=True):
        torch.mul(each, g(x), out=into)
    return passed


def heaviside(u: Tensor, strict: bool = False, noise: Tensor | None = None) -> Tensor:
    """Return ones where `u >= noise`, or `u > noise` if strict, in the dtype of `u`; without noise compare with 0."""
    above = u if noise is None else u - noise
    return ((above > 0) if strict else (above >= 0)).to(u.dtype)


def _filled(formula: Callable[..., Tensor], settings: dict[str, float], scale: float) -> Callable[..., Tensor]:
    """Return the formula with its settings, times `scale`; computed in float32 if `u` is in half precision."""

    def evaluate(u: Tensor, **rng: torch.Generator) -> Tensor:  # generator=... for stochastic surrogates
        if u.dtype in HALF:
            return evaluate(u.float(), **rng).to(u.dtype)
        value = formula(u, **settings, **rng)
        return value if scale == 1.0 else value * scale

    return evaluate


@dataclass(frozen=True, init=False, repr=False)
class Surrogate:
    """A spike function with a surrogate derivative, by name.

        forward  H(u),  u = membrane - threshold;    backward  error * scale * g(u)

    In float16 and bfloat16, g is computed in float32. A stochastic surrogate draws from the generator of
    `differentiating`.

    Args:
        name: a name in `rules.spikes.table.SURROGATES`, which has parameters, defaults and sources.
        normalize: "area" scales g to an integral of 1, "peak" to a largest value of 1; "none" by default.
        parameters: of the surrogate, such as `alpha`.

    Raises:
        ValueError: for an unknown name, parameter or normalisation, or a parameter outside its domain; when used, for
            a stochastic surrogate without a generator.

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
    _g: Callable[..., Tensor] = field(compare=False)
    _smooth_step: Callable[..., Tensor] | None = field(compare=False)

    def __init__(self, name: str, *, normalize: Literal["none", "area", "peak"] = "none", **parameters: float) -> None:
        if name not in SURROGATES:
            raise unknown("surrogate", name, SURROGATES)
        shape = SURROGATES[name]
        for given, value in parameters.items():
            if given not in shape.defaults:
                raise unknown(f"parameter of surrogate {name!r}", given, shape.defaults)
            check_domain(name, given, value)
        if normalize not in NORMALIZATIONS:
            raise unknown("normalization", normalize, NORMALIZATIONS)
        settings = {**shape.defaults, **{given: float(value) for given, value in parameters.items()}}
        set_ = partial(object.__setattr__, self)
        set_("name", name)
        set_("parameters", tuple(settings.items()))
        set_("normalize", normalize)
        whole = {"none": 1.0, "area": shape.area(**settings), "peak": shape.peak(**settings)}[normalize]
        if whole is None or math.isinf(whole):
            raise ValueError(f"surrogate {name!r} has no finite {normalize} to normalize; use normalize='none'")
        scale = 1 / whole
        set_("_scale", scale)
        set_("_g", _filled(shape.grad, settings, scale))
        set_("_smooth_step", shape.primitive and _filled(shape.primitive, settings, scale))

    @classmethod
    def from_name(cls, name: str) -> Surrogate:
        """Return the surrogate of a name with its default parameters, as a configuration file gives it."""
        return cls(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Surrogate, self.name, normalize=self.normalize, **dict(self.parameters)), ()

    @property
    def shape(self) -> Shape:
        """The entry in the table."""
        return SURROGATES[self.name]

    @property
    def area(self) -> float | None:
        """The integral of the derivative; infinite for some surrogates, None for a periodic one."""
        area = self.shape.area(**dict(self.parameters))
        return None if area is None else area * self._scale

    @property
    def peak(self) -> float:
        """The largest value of the derivative."""
        return self.shape.peak(**dict(self.parameters)) * self._scale

    def spike(self, u: Tensor, strict: bool = False, noise: Tensor | None = None) -> Tensor:
        """Return ones where `u >= 0` (`u > 0` if strict), differentiable as set by `differentiating`.

        Args:
            u: membrane minus threshold, any shape.
            strict: compare with `>` instead of `>=`.
            noise: in the shape of `u`, for ones where `u >= noise`. The derivative is still g(u), and a smooth pass
                ignores the noise.

        Raises:
            ValueError: in a smooth pass if there is no primitive, and in the backward pass of a stochastic surrogate
                without a generator.
        """
        compiling = torch.compiler.is_compiling()
        context = told(_GUARDED, _CONTEXT) if compiling else _CONTEXT.get()
        chosen: Surrogate = self
        generator = None
        if context is not None:
            context.used = True
            chosen = context.surrogate or self
            generator = context.generator
            if context.smooth:
                return chosen._smooth(u)
            if context.spike is not None:
                return context.spike(chosen, u, strict, noise)
        g = partial(chosen.grad, generator=generator) if chosen.shape.stochastic else chosen._g
        transformed = compiling or torch._C._are_functorch_transforms_active()
        spikes: Tensor = (TransformableSpike if transformed else Spike).apply(u, strict, g, noise)  # type: ignore[no-untyped-call]
        return spikes

    def _smooth(self, u: Tensor) -> Tensor:
        value = self.primitive(u)
        if value is None:
            usable = ", ".join(name for name, shape in SURROGATES.items() if shape.primitive)
            raise ValueError(f"{self} has no primitive, so a smooth pass cannot use it; these have one: {usable}")
        return value

    def grad(self, u: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the derivative g(u), as a plain function of a tensor; a stochastic one needs a generator."""
        if not self.shape.stochastic:
            return self._g(u)
        if generator is None:
            raise ValueError(f"{self} is stochastic: pass generator=, or use it under differentiating(generator=...)")
        return self._g(u, generator=generator)

    def primitive(self, u: Tensor) -> Tensor | None:
        """Return the smooth step P(u) whose derivative is g(u); None if there is none."""
        return None if self._smooth_step is None else self._smooth_step(u)

    def __repr__(self) -> str:
        defaults = self.shape.defaults
        shown = [f"{k}={v}" for k, v in self.parameters if v != defaults[k]]
        shown += [f"normalize={self.normalize!r}"] if self.normalize != "none" else []
        return f"Surrogate({', '.join([repr(self.name), *shown])})"


def check_domain(surrogate: str, name: str, value: float) -> None:
    """Raise ValueError if a parameter of a surrogate is not a finite number in its domain."""
    wanted, valid = DOMAINS.get((surrogate, name)) or DOMAINS.get(("", name), ("above 0", lambda v: v > 0))
    if not isinstance(value, Real) or not math.isfinite(value) or not valid(float(value)):
        raise ValueError(f"surrogate {surrogate!r}: {name}={value!r}; give a finite number {wanted}")


# of parameters whose domain is not simply all positive numbers
DOMAINS: dict[tuple[str, str], tuple[str, Callable[[float], bool]]] = {
    ("", "q"): ("above 1", lambda v: v > 1),
    ("", "n"): ("that is whole and at least 2", lambda v: v >= 2 and v == round(v)),
    ("", "h"): ("from 0 to below 1", lambda v: 0 <= v < 1),
    ("", "c"): ("of at least 0", lambda v: v >= 0),
    ("", "leak"): ("of at least 0", lambda v: v >= 0),
    ("", "variance"): ("of at least 0", lambda v: v >= 0),
    ("", "mean"): ("of any sign", lambda v: True),
    ("log_tailed_relu", "alpha"): ("of at least 0", lambda v: v >= 0),
}


@dataclass
class Differentiation:
    """How a pass is differentiated: set by a rule, used by every spike."""

    surrogate: Surrogate | None = None  # replaces every neuron's own
    detach_reset: bool = True  # no gradient through the reset
    smooth: bool = False  # forward uses the primitive: no spikes, exact gradients
    generator: torch.Generator | None = None  # for stochastic surrogates and noisy units
    spike: Callable[[Surrogate, Tensor, bool, Tensor | None], Tensor] | None = None  # replaces `Surrogate.spike`
    evaluating: bool = False  # the result is looked at, and nothing is learned from it
    detach_adaptation: bool = True  # no gradient through what a spike adds to its own cell's adaptation
    used: bool = False  # whether there was any spike


_CONTEXT: ContextVar[Differentiation | None] = ContextVar("differentiation", default=None)
_BLOCKS = Blocks()
_GUARDED: list[Differentiation | None] = _BLOCKS.top  # for compiled code


@contextmanager
def differentiating(
    surrogate: Surrogate | None = None,
    detach_reset: bool = True,
    smooth: bool = False,
    generator: torch.Generator | None = None,
    spike: Callable[[Surrogate, Tensor, bool, Tensor | None], Tensor] | None = None,
    evaluating: bool = False,
    detach_adaptation: bool | None = None,
) -> Iterator[Differentiation]:
    """Set how every spike inside this context is differentiated; yields settings whose `used` is True after a spike.

    Args:
        surrogate: replaces every neuron's own; None keeps those.
        detach_reset: no gradient through the reset, True by default.
        smooth: replace spikes by the surrogate's primitive.
        generator: for stochastic surrogates and noisy units; None keeps that of an enclosing context.
        spike: `spike(surrogate, u, strict, noise)`, called in place of `Surrogate.spike`.
        evaluating: the result is looked at, and nothing is learned from it; also true inside such a context.
        detach_adaptation: no gradient through what a spike adds to its own cell's adaptation; None for the same choice
            as for the reset.

    >>> u = torch.tensor([0.25], requires_grad=True)
    >>> with differentiating(smooth=True):
    ...     round(Surrogate("triangle").spike(u).item(), 4)
    0.7188
    """
    around = _CONTEXT.get()
    if around is not None:
        generator, evaluating = generator or around.generator, evaluating or around.evaluating
    adaptation = detach_reset if detach_adaptation is None else detach_adaptation
    context = Differentiation(surrogate, detach_reset, smooth, generator, spike, evaluating, adaptation)
    token, entry = _CONTEXT.set(context), _BLOCKS.enter(context)
    try:
        yield context
    finally:
        _CONTEXT.reset(token)
        _BLOCKS.leave(entry)


def current_pass() -> Differentiation | None:
    """Return the settings of the enclosing `differentiating`, or None."""
    return told(_GUARDED, _CONTEXT) if torch.compiler.is_compiling() else _CONTEXT.get()


def reset_signal(spikes: Tensor) -> Tensor:
    """Return the spikes for use in a reset: detached, unless gradients are to pass through the reset."""
    context = current_pass()
    return spikes.detach() if context is None or context.detach_reset else spikes


def adaptation_signal(spikes: Tensor) -> Tensor:
    """Return the spikes for what they add to their own cell's adaptation: as in a reset, unless a rule asks for it."""
    context = current_pass()
    return spikes.detach() if context is None or context.detach_adaptation else spikes


def generator_of_pass() -> torch.Generator | None:
    """Return the generator of the enclosing `differentiating`, or None."""
    context = current_pass()
    return None if context is None else context.generator
