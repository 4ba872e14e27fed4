"""Counts of how often each weight matrix was used, in units of one pass of the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from types import TracebackType

from torch import nn

from rules.contract import Cost
from rules.credit.zero_order.layered.lab import Lab
from rules.metering import Meter
from rules.synapses import weighted


class Ledger:
    """A context that counts layer evaluations: K probes of a batch are K, a probe of half the steps is 1/2.

    `settle` is called after the pass that sets the unit, and layers that it did not use are left out.
    """

    def __init__(self, model: nn.Module) -> None:
        self._meter = Meter(model)  # for the whole model
        self._each = {module: Meter(module, functional=False) for module in weighted(model).values()}
        self._unit: dict[nn.Module, int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Ledger:
        for meter in (self._meter, *self._each.values()):
            self._stack.enter_context(meter)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def settle(self) -> None:
        """Take what was counted so far as the unit, one pass of the batch."""
        self._unit = {module: meter.operations for module, meter in self._each.items()}

    def evaluations(self, further: Mapping[nn.Module, int]) -> Fraction:
        """Return the layer evaluations so far, with further operations of layers; layers without a unit left out."""
        found = Fraction(0)
        for module, meter in self._each.items():
            if self._unit[module]:
                found += Fraction(meter.operations + further.get(module, 0), self._unit[module])
        return found

    def cost(self, forwards: int, lab: Lab) -> Cost:
        """Return the cost of `forwards` whole passes and all measurements; fractions of evaluations are rounded up."""
        defined, done = math.ceil(self.evaluations(lab.asked)), math.ceil(self.evaluations(lab.used))
        cost = self._meter.cost(forwards, backwards=0) + lab.unmade
        return replace(cost, layer_evaluations=defined, layer_evaluations_done=done)
