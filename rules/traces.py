"""Traces of the parts of a model, put together: neurons that are a part of their own follow the weight before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from rules.contract import Trace
from rules.synapses import is_synapse, weights_of


def alone(trace: Trace) -> bool:
    """Return whether a trace is that of a weight without neurons, whose `u` is its `post`."""
    return trace.u is trace.post


def gathered(traces: Iterable[Trace], told: Iterable[Trace], place: str) -> list[Trace]:
    """Return traces with what the next part tells of its weights and neurons, under names that begin with its place.

    A trace without a name is that of neurons in front of any weight of that part. It becomes that of the weight before
    them, if that has no neurons of its own, and several such traces make as many of the weight. Without a weight before
    it stays without a name, for whoever asked.

    >>> import torch
    >>> current, spikes = torch.zeros(2, 1, 3), torch.ones(2, 1, 3)
    >>> weight, neurons = Trace("weight", current, current, current), Trace("", current, current, spikes)
    >>> (found,) = gathered(gathered([], [weight], "0"), [neurons], "1")
    >>> found.weight, found.post is spikes
    ('0.weight', True)
    """
    found = list(traces)
    before = found[-1] if found else None
    for trace in told:
        if trace.weight or before is None:
            found.append(trace._replace(weight=f"{place}.{trace.weight}" if trace.weight else ""))
        elif alone(before):
            found = [each for each in found if each is not before]
            found.append(before._replace(u=trace.u, post=trace.post))
    return found


@contextmanager
def entering(module: nn.Module) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Collect the synapses inside a module that are called in this context, each with what enters it."""
    entered: list[tuple[nn.Module, Tensor]] = []

    def note(synapse: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.append((synapse, next(each for each in (*args, *kwargs.values()) if isinstance(each, Tensor))))

    handles = [part.register_forward_pre_hook(note, with_kwargs=True) for part in module.modules() if is_synapse(part)]
    try:
        yield entered
    finally:
        for handle in handles:
            handle.remove()


def presynaptic(signal: Tensor, x: Tensor) -> Tensor | None:
    """Return what entered a synapse that was applied at every step of `x [T, B, ...]`, as `[T, B, ...]`.

    None for a synapse that saw other rows than steps and samples, such as tokens.

    Args:
        signal: that entered, `[T * B, ...]`; `[B, ...]` for an input that is constant in time (`rules.forward.fold`).
        x: the input.
    """
    steps, samples = x.shape[:2]
    once = steps > 1 and x.stride(0) == 0
    if len(signal) != (samples if once else steps * samples):
        return None
    pre = signal.reshape(1 if once else steps, samples, *signal.shape[1:])
    return pre.expand(steps, *pre.shape[1:])


def name_of(synapse: nn.Module, module: nn.Module) -> str:
    """Return the name of a synapse's weight among the parameters of a module; "" for a weight that is not one."""
    owned = {id(p) for part in synapse.modules() for p in weights_of(part)}
    return next((name for name, p in module.named_parameters() if id(p) in owned), "")
