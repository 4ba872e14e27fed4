"""Which traces, signals and filters make a rule together; the others are refused, with the way out."""

from __future__ import annotations

from typing import Any

from rules.credit.online.traces import TRACES
from rules.errors import unknown

WHOLE = ("influence", "rank_one")  # traces of all states together
CHOICES: dict[str, tuple[Any, ...]] = {
    "trace": (*WHOLE, *TRACES),
    "signal": ("symmetric", "random", "adaptive", "local", "reward"),
    "filter": (None, "readout", "next"),
    "depth": ("spatial", "last"),
}


def require_legal(rule: Any) -> None:
    """Raise ValueError for an unknown trace, signal, filter or depth, or for a combination that means nothing."""
    for name, valid in CHOICES.items():
        if getattr(rule, name) not in valid:
            raise unknown(name, getattr(rule, name), [each for each in valid if each is not None])
    trace, signal, low, depth = rule.trace, rule.signal, rule.filter, rule.depth
    said = f"trace={trace!r} with "
    if trace in WHOLE and (signal != "symmetric" or low or depth != "spatial"):
        odd = f"signal={signal!r}" if signal != "symmetric" else f"filter={low!r}" if low else f"depth={depth!r}"
        raise ValueError(
            f"{said}{odd}: this trace reaches the output by itself, and the loss there is its signal; leave signal, "
            'filter and depth as they are by default, or use trace="synapse"'
        )
    if low == "readout" and trace != "synapse":
        raise ValueError(
            f'{said}filter="readout": a low-pass of the trace takes one for each weight: use trace="synapse"'
        )
    if low == "next" and (trace == "step" or signal != "symmetric"):
        raise ValueError(
            f'{said}filter="next" and signal={signal!r}: errors averaged over the memory of the layer above come down '
            'through its weights: use signal="symmetric" and trace="synapse", or "presynaptic" for an approximation'
        )
    if depth == "last" and signal != "symmetric":
        raise ValueError(f'depth="last" with signal={signal!r}, which reaches every layer by itself: leave depth out')
    if rule.own_recurrence and trace != "synapse":
        raise ValueError(f'{said}own_recurrence=True, which follows a cell\'s own trace: use trace="synapse"')
    if rule.rate and trace != "synapse":
        raise ValueError(f'{said}rate={rule.rate}: the penalty moves rates along the traces: use trace="synapse"')
