"""The facts that can be seen of a cell from outside."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Facts:
    """What a cell does, seen from outside; None where it cannot be seen, and then `unseen` says why.

    Attributes:
        latency: steps between an input and the first membrane, or spike, that it moves; 0 for the same step.
        gain: what an input of 1 nA adds to the membrane in that step [mV].
        kept: share of a deviation of the membrane that is left a step later.
        threshold: the largest membrane that was silent [mV].
        fires_at: ">=" or ">" the threshold.
        reset: "to_value", "subtract" or "none".
        amount: the value after a reset, or what it subtracts, as if it acted at once [mV].
        later: the same as seen in the next step, where the membrane is shown before the reset [mV].
        shown: "after" or "before" the reset of a spike in the same step.
        delay: steps behind a spike in which the cell still fires as if it had not been reset; 0 for a reset at once.
        spikes_per_step: the most spikes in a step, of up to ten.
        refractory: steps behind a spike without another, under strong input.
        unseen: reasons, by the name of a fact.
    """

    latency: int | None = None
    gain: float | None = None
    kept: float | None = None
    threshold: float | None = None
    fires_at: str | None = None
    reset: str | None = None
    amount: float | None = None
    later: float | None = None
    shown: str | None = None
    delay: int | None = None
    spikes_per_step: int | None = None
    refractory: int | None = None
    unseen: dict[str, str] = field(default_factory=dict)

    def why(self, name: str) -> str:
        """Return why a fact was not seen."""
        return self.unseen.get(name, "it could not be seen")
