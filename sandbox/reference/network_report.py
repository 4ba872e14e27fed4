"""Where a network in Brian2 and in torch differ, and whether their predictions agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Difference(NamedTuple):
    """A place where the two sides differ."""

    layer: str
    step: int
    sample: int
    cell: int


@dataclass(frozen=True)
class NetworkReport:
    """Comparison of a network in Brian2 and in torch; prints as a table.

    `first` is the earliest step, and within it the lowest layer, at which spikes differ, or voltages differ by more
    than the tolerance. `differences` has the largest absolute difference of each layer, `differing` the number of
    differing (step, sample, cell). A prediction is the class with the largest output, averaged over time.
    """

    layers: tuple[str, ...]
    spikes: tuple[int | None, ...]  # in Brian2; None for a layer that never fires
    steps: int
    samples: int
    differences: tuple[float, ...]
    differing: tuple[int, ...]
    first: Difference | None
    predictions_equal: int
    tolerance: float  # [mV]

    @property
    def passed(self) -> bool:
        """True if all spikes agree, every voltage is within the tolerance, and the predictions are equal."""
        return self.first is None and self.predictions_equal == self.samples

    def __str__(self) -> str:
        rows = [f"network in Brian2, {self.samples} samples, {self.steps} steps, float64"]
        width = max(12, *map(len, self.layers))
        for name, spikes, most, count in zip(self.layers, self.spikes, self.differences, self.differing, strict=True):
            said = (
                f"{spikes} spikes, {count} differ"
                if spikes is not None
                else (f"largest difference {most:.2e} mV (tolerance {self.tolerance:g})")
            )
            rows.append(f"  {name:<{width}} {said}")
        rows.append(f"  {self.predictions_equal} of {self.samples} predictions equal")
        if self.first is not None:
            layer, step, sample, cell = self.first
            rows.append(f"  first difference in {layer} at step {step}, cell {cell} of sample {sample}")
        return "\n".join([*rows, f"  {'agrees with Brian2' if self.passed else 'DOES NOT AGREE with Brian2'}"])


def report(
    names: Sequence[str], spiking: Sequence[bool], theirs: Sequence[Tensor], ours: Sequence[Tensor], tolerance: float
) -> NetworkReport:
    """Compare the outputs `[T, B, unit]` of each layer."""
    apart = [(a - b).abs() for a, b in zip(theirs, ours, strict=True)]
    wrong = [~(gap <= (0 if fires else tolerance)) for gap, fires in zip(apart, spiking, strict=True)]  # NaN is wrong
    places = [_first(name, where) for name, where in zip(names, wrong, strict=True) if where.any()]
    answers = [outputs[-1].mean(0).argmax(-1) for outputs in (theirs, ours)]
    return NetworkReport(
        layers=tuple(names),
        spikes=tuple(int(a.sum()) if fires else None for a, fires in zip(theirs, spiking, strict=True)),
        steps=theirs[-1].shape[0],
        samples=theirs[-1].shape[1],
        differences=tuple(float(gap.max()) for gap in apart),
        differing=tuple(int(where.sum()) for where in wrong),
        first=min(places, key=lambda place: place.step, default=None),
        predictions_equal=int((answers[0] == answers[1]).sum()),
        tolerance=tolerance,
    )


def _first(name: str, where: Tensor) -> Difference:
    step, sample, cell = (int(index) for index in where.nonzero()[0])
    return Difference(name, step, sample, cell)
