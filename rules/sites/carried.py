"""The carry of a local rule that keeps traces, which goes on where a window of a sequence ends."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from rules.forward import leaves


class Carried(NamedTuple):
    """The carry of a local rule with traces: the model's, and the traces of each layer. It belongs to the samples."""

    model: Any
    traces: tuple[tuple[Tensor, ...], ...] = ()
    of: str = ""  # the rule, in words


def begun(carry: Any, rule: Any) -> Carried:
    """Return the carry of a rule, from None, that of a model, or its own.

    Raises:
        ValueError: for the carry of another rule.
    """
    if not isinstance(carry, Carried):
        return Carried(carry, of=repr(rule))
    if carry.of != repr(rule):
        raise ValueError(
            f"the carry has traces of {carry.of}, and this rule is {rule!r}: continue a sequence with the rule that "
            "began it, or begin anew with carry=None"
        )
    return carry


def bytes_of(traces: Any) -> int:
    """Return the bytes of traces."""
    return sum(leaf.nbytes for leaf in leaves(traces))
