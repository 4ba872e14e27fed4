"""What a call of a circuit's loop depends on, and which of its results autograd would follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.circuit_parts import Spec, Wiring
from sandbox.kernels.write.emit import Variant, saved

# current, states and weights, `[T, B n]`, `[B n]` and as given, to spikes and recorded variables, `[T, B n]`
Again = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], list[Tensor]]


class Cable(NamedTuple):
    """The synapses of a connection as the loop reads them, apart from their weights."""

    target: int  # number of the state that its spikes add to
    delay: int | None  # in steps; None for one for each synapse
    longest: int
    start: Tensor | None = None  # [n + 1] int64
    post: Tensor | None = None  # [synapses] int32; None if dense. With several delays, delay n + post
    places: tuple[range, range] = (range(0), range(0))  # dense: postsynaptic and presynaptic cells

    @property
    def several(self) -> bool:
        """Whether each synapse has a delay of its own."""
        return self.delay is None


class Step(NamedTuple):
    """A part of the step with its numbers: key of the structure, constants, parameters `[B n]` or `()`."""

    key: str
    constants: Tensor
    params: list[Tensor]

    @property
    def structure(self) -> Structure:
        """What the part computes."""
        return STRUCTURES[self.key]

    @property
    def each(self) -> tuple[bool, ...]:
        """Which parameters have a value for each cell."""
        return tuple(p.ndim > 0 for p in self.params)

    def kept(self) -> list[str]:
        """Return the states that the adjoint reads."""
        return saved(self.structure, Variant(self.each, True))


class Call(NamedTuple):
    """All of a call that is not differentiated."""

    first: Step
    second: Step | None  # the reset, if it is apart
    draws: list[Tensor]  # [T, B n]
    cables: list[Cable]
    record: tuple[int, ...]
    cells: int
    events: list[tuple[Tensor, Tensor]]  # of each sample, once it has run: where each step begins, and the cells
    again: Again  # the plain loop

    def spec(self, learned: Sequence[bool] = (), **more: Any) -> Spec:
        """Return what the source depends on."""
        learned = learned or [False] * len(self.cables)
        wires = (Wiring(c.target, c.post is None, c.several, w) for c, w in zip(self.cables, learned, strict=True))
        second = (None, ()) if self.second is None else (self.second.structure, self.second.each)
        return Spec(self.first.structure, second[0], (self.first.each, second[1]), tuple(wires), self.record, **more)


def followed(call: Call, free: Sequence[bool], steps: int) -> list[bool]:
    """Return for spikes and each recorded variable whether torch's autograd would follow it to an input.

    Args:
        call: the circuit.
        free: which of current, states and weights require a gradient.
        steps: of the sequence.
    """
    count = call.first.structure.states
    fed, learned = {"x"} if free[0] else set(), free[1 + count :]
    live = {f"s{i}" for i in range(count) if free[1 + i]}
    shown, past = [False] * (1 + len(call.record)), list[bool]()
    for t in range(min(steps, 2 + count + max((c.longest for c in call.cables), default=0))):
        fires, *rest = call.first.structure.followed(frozenset(live | fed), 1)
        past.append(fires)
        live = {f"s{i}" for i, alive in enumerate(rest) if alive}
        for cable, free_weight in zip(call.cables, learned, strict=True):
            if cable.post is not None:
                arrives = free_weight or any(past[-1 - cable.longest :])
            else:
                arrives = t >= cable.longest and (free_weight or past[t - cable.longest])
            live |= {f"s{cable.target}"} if arrives else set()
        if call.second is not None:
            after = call.second.structure.followed(frozenset(live | ({"x"} if fires else set())), 1)
            live = {f"s{i}" for i, alive in enumerate(after) if alive}
        now = (fires, *(f"s{i}" in live for i in call.record))
        shown = [was or alive for was, alive in zip(shown, now, strict=True)]
    return shown
