"""The plans of this process, stored by everything on which they depend."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import current_pass
from sandbox.kernels.trace import reads
from sandbox.kernels.trace.plan import Plan, plan
from sandbox.kernels.trace.reads import beside, fingerprint, generator_in, reads_of
from sandbox.kernels.trace.record import DRAW
from sandbox.kernels.trace.step import Body
from sandbox.kernels.unsupported import Unsupported

PLANS = 512
RESTLESS = "the step changes what it reads outside of its state"

_PLANS: dict[Any, Plan | Unsupported] = {}
_RESTLESS: set[type] = set()


def forget() -> None:
    """Forget all plans, and what the code of classes reads."""
    _PLANS.clear()
    _RESTLESS.clear()
    reads.forget()


def known(key: tuple[Any, ...]) -> Plan | Unsupported | None:
    """Return the plan of a key, or why there is none; None if that is not known yet."""
    return _PLANS.get(key)


def key_of(neuron: Any, label: Any, dtype: torch.dtype, state: Any, dt: float) -> tuple[Any, ...]:
    """Return what the plan of a neuron under the present pass is stored by; raise Unsupported if there is none."""
    context = current_pass()
    how = None
    if context is not None:
        how = (context.surrogate, context.detach_reset, context.smooth, context.detach_adaptation)
    present = tuple(name for name, value in state._asdict().items() if value is not None)
    kind = type(neuron)
    if kind in _RESTLESS:
        raise Unsupported(RESTLESS)
    key = (
        identity(neuron),
        kind,
        label,
        dtype,
        present,
        type(state),
        dt if type(dt) is float else fingerprint(dt),
        how,
    )
    try:
        hash(key)
    except TypeError:
        raise Unsupported(f"what a step of {kind.__name__} reads cannot be hashed") from None
    return key


def planned(neuron: Any, body: Body, label: Any, dtype: torch.dtype, state: Any, dt: float) -> Plan:
    """Return the plan for a neuron under the present pass; it is traced at the first use."""
    key = key_of(neuron, label, dtype, state, dt)
    known = _PLANS.get(key)
    if known is None:
        names = tuple(name for name, value in state._asdict().items() if value is not None and name != "key")
        try:
            if (drawing := generator_in(reads_of(type(neuron)), neuron)) is not None:
                raise Unsupported(f"the step has a generator of random numbers, {drawing}; {DRAW}")
            known = plan(neuron, body, names, state, dt, dtype)
        except Unsupported as reason:
            known = reason
        if identity(neuron) != key[0]:
            _RESTLESS.add(type(neuron))  # every call would have another key
            known = Unsupported(RESTLESS)
        if len(_PLANS) >= PLANS:
            _PLANS.clear()
        _PLANS[key] = known
    if isinstance(known, Unsupported):
        raise Unsupported(str(known), known.expected, known.cause)
    return known


def identity(neuron: Any) -> tuple[Any, ...]:
    """Return what a plan of a neuron depends on, as a key: its fields, and what its code reads beside them.

    A learned parameter counts by kind, not by value.
    """
    code = reads_of(type(neuron))
    return (code.version, *beside(code, neuron), *[_identity(getattr(neuron, name)) for name in code.fields])


def _identity(value: Any) -> Any:
    if type(value) is float:
        return repr(value)
    if isinstance(value, Tensor):
        return "learned", value.dtype, value.ndim > 0
    return fingerprint(value)
