"""The finding that answers hang on weights which a rule does not train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rules.diagnostics.health import Finding


def as_drawn(rule: str, layers: Sequence[str], learning: Iterable[str], judged: bool) -> Iterator[Finding]:
    """Yield the finding that layers stay as they were drawn, and answers hang on them.

    Args:
        rule: its name.
        layers: names of the layers with weights, from the first to the last.
        learning: names of those that learn.
        judged: whether the rule is told what the answers are worth, so that a last layer that stays spoils it.

    >>> [each.where for each in as_drawn("R", ["a", "b"], ["b"], judged=False)]
    ['a']
    >>> list(as_drawn("R", ["a", "b"], ["a"], judged=False))
    []
    """
    taught = set(learning)
    left = [name for name in layers if name not in taught]
    last = layers[-1] not in taught
    if not left or (last and not judged):
        return
    remedy = (
        "give the last layer spiking cells, readout=sandbox.LIF(), or on the command line --network.readout lif"
        if last
        else "leave hidden layers out, hidden=(), on the command line --network.hidden '[]', or give them a credit of "
        "their own with rules.Partition"
    )
    cause = f"{rule} leaves their weights as they were drawn, and answers hang on them"
    yield Finding("as drawn", ", ".join(left), 0.0, cause, remedy)
