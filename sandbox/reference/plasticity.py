"""Synapses with spike-timing-dependent plasticity in Brian2, as `on_pre` and `on_post` of its `Synapses`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.credit.spike_timing.window import Window
from sandbox.reference.brian import plain_numpy
from sandbox.reference.compiler.constants import quantity
from sandbox.reference.compiler.units import text_of
from sandbox.reference.need import brian2
from sandbox.reference.synapses.rule import CompiledSynapses

FAST, READ, SLOW = -1, 0, 1  # order of code within a step: before weights are read, their change, after


def weights_in_brian2(window: Window, pre: Tensor, post: Tensor, dt: float) -> Tensor:
    """Return the changes of all weights from given inputs to given cells, at the end of each step, `[T, C, K]`.

    Brian2 runs from lines that say what a spike does to the traces and the weight; nothing here is written by steps.

    Args:
        window: what pairs and triplets change.
        pre: spikes of the inputs, `[T, K]`, zeros and ones.
        post: spikes of the cells, `[T, C]`.
        dt: time step [ms].

    >>> spikes = torch.zeros(6, 1, dtype=torch.float64)
    >>> pre, post = spikes.clone(), spikes.clone()
    >>> pre[0], post[5] = 1, 1
    >>> weights_in_brian2(Window(), pre, post, 1.0).flatten()[[4, 5]].tolist()  # exp(-5 / 20)
    [0.0, 0.7788007830714049]
    """
    code = lines(window)
    texts = {side: {f"{side}_{when}": text for when, text in parts.items()} for side, parts in code.items()}
    found = _recorded(
        """w : 1
           dx/dt = -x / tau_plus : 1 (event-driven)
           dy/dt = -y / tau_minus : 1 (event-driven)
           dx2/dt = -x2 / tau_x : 1 (event-driven)
           dy2/dt = -y2 / tau_y : 1 (event-driven)""",
        texts,
        {f"{side}_{when}": ORDERS[when] for side, parts in code.items() for when in parts},
        {name: getattr(window, name) * brian2().ms for name in ("tau_plus", "tau_minus", "tau_x", "tau_y")}
        | {name: getattr(window, name) for name in ("a_plus", "a_minus", "triplet_plus", "triplet_minus")},
        (pre, post, dt),
        {},
        ["w"],
    )
    return found["w"]


def synapses_in_brian2(
    rule: CompiledSynapses,
    weight: Tensor,
    pre: Tensor,
    post: Tensor,
    dt: float,
    record: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Run the text of compiled synapses in Brian2; return variables of all synapses at the end of each step.

    Values are in house units, `[T, C, K]`. An event-driven variable has the value of the last spike at its synapse.
    Brian2's NumPy code takes `y = w` for a second name of one array, so that `w += 1` after it changes y too (2.9.0).

    Args:
        rule: the synapses.
        weight: at the beginning, `[C, K]`.
        pre: spikes of the inputs, `[T, K]`, zeros and ones.
        post: spikes of the cells, `[T, C]`.
        dt: time step [ms].
        record: names of variables; None for all.

    >>> from sandbox.reference import from_brian2_synapses
    >>> rule = from_brian2_synapses("w : 1", on_pre="v_post += w; w *= 0.5")
    >>> pre, post = torch.tensor([[0.0], [1.0], [1.0]]), torch.zeros(3, 1)
    >>> synapses_in_brian2(rule, torch.ones(1, 1), pre, post, 1.0)["w"].flatten().tolist()
    [1.0, 0.5, 0.25]
    """
    found = rule.prepared
    texts: dict[str, dict[str, str]] = {"pre": {}, "post": {}}
    for pathway in found.text.pathways:
        texts[pathway.side][pathway.name] = "\n".join(each.text for each in pathway.statements)
    names = [rule.weight, *found.starts]
    units = {name: text_of(found.dimensions[name]) for name in names}
    starts: dict[str, Any] = {rule.weight: weight.double().T.flatten().numpy(), **found.starts}
    values = _recorded(
        rule.model,
        texts,
        {pathway.name: pathway.order for pathway in found.text.pathways},
        {name: quantity(name, text) for name, text in rule.namespace},
        (pre, post, dt),
        {name: starts[name] * _unit(units[name]) for name in names},
        names if record is None else record,
        rule.method,
    )
    return {name: each / float(_unit(units[name])) for name, each in values.items()}


def _unit(text: str) -> Any:
    """Return a house unit from its text; 1 where there is none."""
    return quantity("unit", f"1 * {text}")


def _recorded(
    model: str,
    texts: Mapping[str, Mapping[str, str]],
    orders: Mapping[str, int],
    namespace: Mapping[str, Any],
    trains: tuple[Tensor, Tensor, float],
    starts: Mapping[str, Any],
    names: Sequence[str],
    method: str | None = None,
) -> dict[str, Tensor]:
    """Run synapses from all inputs to all cells; return variables at the end of each step, `[T, C, K]`, in SI."""
    b2 = brian2()
    pre, post, dt = trains
    clock = b2.Clock(dt * b2.ms)
    with plain_numpy():
        source, target = (_group(spikes, clock) for spikes in (pre, post))
        chosen = {} if method is None else {"method": method}
        synapses = b2.Synapses(
            source,
            target,
            model,
            on_pre=dict(texts["pre"]),
            on_post=dict(texts["post"]),
            namespace=dict(namespace),
            clock=clock,
            **chosen,
        )
        synapses.connect()
        for name, order in orders.items():
            getattr(synapses, name).order = order
        for name, start in starts.items():
            setattr(synapses, name, start)
        monitor = b2.StateMonitor(synapses, list(names), record=True, when="end", clock=clock)
        b2.Network(source, target, synapses, monitor).run(len(pre) * dt * b2.ms, namespace={})
        rows = {name: np.asarray(getattr(monitor, name)).T.copy() for name in names}  # inputs outermost
    shape = (len(pre), pre.shape[1], post.shape[1])
    return {name: torch.from_numpy(each).reshape(shape).transpose(1, 2) for name, each in rows.items()}


ORDERS = {"fast": FAST, "read": READ, "slow": SLOW}


def lines(window: Window) -> dict[str, dict[str, str]]:
    """Return what a spike of either side does, by the moment within a step.

    >>> lines(Window(read="before", pairing="nearest"))["pre"]
    {'read': 'w -= y * (a_minus + triplet_minus * x2)', 'slow': 'x = 1; x2 = 1'}
    """
    add = "+= 1" if window.pairing == "all" else "= 1"
    sign = "-=" if window.shape == "causal" else "+="
    weigh = {
        "pre": f"w {sign} y * (a_minus + triplet_minus * x2)",
        "post": "w += x * (a_plus + triplet_plus * y2)",
    }
    found = {}
    for side, trace in (("pre", "x"), ("post", "y")):
        fast, slow = f"{trace} {add}", f"{trace}2 {add}"
        if window.read == "after":
            found[side] = {"fast": fast, "read": weigh[side], "slow": slow}
        else:
            found[side] = {"read": weigh[side], "slow": f"{fast}; {slow}"}
    return found


def _group(spikes: Tensor, clock: Any) -> Any:
    b2 = brian2()
    at, which = spikes.nonzero(as_tuple=True)
    return b2.SpikeGeneratorGroup(spikes.shape[1], which.numpy(), at.numpy() * clock.dt, clock=clock)
