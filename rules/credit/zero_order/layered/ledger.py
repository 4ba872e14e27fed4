"""Counts of how often each weight matrix was used, in units of one pass of the batch."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from types import TracebackType

from torch import nn

from rules.contract import Cost
from rules.metering import Meter
from rules.synapses import weighted


class Ledger:
    """A context that counts layer evaluations: K probes of a batch are K, a probe of half the steps is 1/2.

    `settle` is called after the pass that sets the unit.
    """

    def __init__(self, model: nn.Module) -> None:
        self._meter = Meter(model)  # for the whole model
        self._each = [Meter(module, functional=False) for module in weighted(model).values()]
        self._unit: list[int] = []
        self._stack = ExitStack()

    def __enter__(self) -> Ledger:
        for meter in (self._meter, *self._each):
            self._stack.enter_context(meter)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def settle(self) -> None:
        """Take what was counted so far as the unit, one pass of the batch."""
        self._unit = [meter.operations for meter in self._each]

    @property
    def evaluations(self) -> Fraction:
        """Layer evaluations so far, without layers that the first pass did not use."""
        pairs = zip(self._each, self._unit, strict=True)
        return sum((Fraction(meter.operations, unit) for meter, unit in pairs if unit), Fraction(0))

    def cost(self, forwards: int) -> Cost:
        """Return the cost of `forwards` whole passes and all measurements; fractions of evaluations are rounded up."""
        return replace(self._meter.cost(forwards, backwards=0), layer_evaluations=math.ceil(self.evaluations))
