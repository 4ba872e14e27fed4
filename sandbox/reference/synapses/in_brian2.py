"""Compiled synapses in Brian2, which runs their text: every variable of every synapse in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sandbox.reference.brian import plain_numpy
from sandbox.reference.compiler.constants import quantity
from sandbox.reference.compiler.units import text_of
from sandbox.reference.need import brian2
from sandbox.reference.plasticity import group_of_spikes
from sandbox.reference.synapses.rule import CompiledSynapses


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
    method: str | None,
) -> dict[str, Tensor]:
    """Run synapses from all inputs to all cells; return variables at the end of each step, `[T, C, K]`, in SI."""
    b2 = brian2()
    pre, post, dt = trains
    clock = b2.Clock(dt * b2.ms)
    with plain_numpy():
        source, target = (group_of_spikes(spikes, clock) for spikes in (pre, post))
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
            synapses.state(name)[:] = start
        monitor = b2.StateMonitor(synapses, list(names), record=True, when="end", clock=clock)
        b2.Network(source, target, synapses, monitor).run(len(pre) * dt * b2.ms, namespace={})
        rows = {name: monitor.variables[name].get_value().copy() for name in names}  # inputs outermost
    shape = (len(pre), pre.shape[1], post.shape[1])
    return {name: torch.from_numpy(each).reshape(shape).transpose(1, 2) for name, each in rows.items()}
