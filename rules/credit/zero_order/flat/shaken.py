"""Passes in which noise is added to nodes, and the loss of each sample in them.

A product whose input no noise has reached is not computed again: the unperturbed pass has made it. Where a pass is so
small that its operations take longer to begin than to run, many passes are made as one, on a stack of copies of the
batch. The first copy gets no noise, and has to give what the unperturbed pass gave; otherwise, and in models whose
passes draw random numbers, continue from a carry or are changed by somebody's hooks, each pass is made on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Cost, Run, Trace
from rules.credit.zero_order.draws import WORKING_SET
from rules.credit.zero_order.flat.alone import losses_alone, sample_axis
from rules.credit.zero_order.flat.nodes import Nodes
from rules.credit.zero_order.layered.blocks import intercepted, stacked
from rules.credit.zero_order.products import unhooked
from rules.forward import leaves

LIGHT = 2**20  # multiply-accumulates of a pass that take about as long as its operations take to begin
FEWEST = 3  # copies in a stack, below which it is not faster


class Shake(NamedTuple):
    """The noise of a pass: that of a seed, times a sign."""

    seed: int
    sign: float


class Shaken:
    """Passes of a model with noise at its nodes."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes, self.asking = nodes, nodes.asking
        self.stacking = stackable(nodes)
        self.layers = self.asking.spent.layer_evaluations  # of the unperturbed pass

    def losses(self, shakes: Sequence[Shake]) -> Tensor:
        """Return the losses of each sample in the unperturbed pass and in these, `[1 + shakes, B]`.

        Raises ValueError if a single sample has no loss. Passes are kept by their outputs until all are made; where
        they have traces, losses are computed one after the other.
        """
        runs = self.runs(shakes)
        if self.nodes.clean.traces or self.nodes.clean.internals:
            found = torch.cat([self.judged([run]) for run in (self.nodes.clean, *runs)])
        else:
            found = self.judged([self.nodes.clean, *runs])
        self.asking.spare(self.nodes.products)
        return found

    def judged(self, runs: Sequence[Run]) -> Tensor:
        """Return the losses of each sample in these runs, `[passes, B]`."""
        objective, samples = self.asking.objective, self.nodes.samples
        joined = runs[0] if len(runs) == 1 else Run(torch.cat([run.output for run in runs], 1))
        try:
            return losses_alone(objective, joined, self.asking.views, joined.output.shape[1] // samples)
        except ValueError as error:
            raise ValueError(
                f"{objective} fails on a single sample: {error}; NodePerturbation needs a loss of each: "
                "use SPSA, or an objective that does not compare samples"
            ) from error

    def runs(self, shakes: Sequence[Shake]) -> Iterator[Run]:
        """Yield the passes in their order, several of them stacked along the batch or each on its own."""
        size = max(1, WORKING_SET // (2 * self.nodes.bytes) - 1)  # a signal and its noise
        for first in range(0, len(shakes), size):
            some = shakes[first : first + size]
            run = self.together(some) if self.stacking and len(some) >= FEWEST else None
            yield from (self.alone(shake) for shake in some) if run is None else [run]

    def alone(self, shake: Shake) -> Run:
        """Make one pass."""
        noise = self.nodes.noise(shake.seed)

        def shaken(number: int, module: nn.Module, pre: Tensor, z: Tensor) -> Tensor | None:
            return torch.add(z, noise[number], alpha=shake.sign) if number in noise else None

        with torch.no_grad(), self.nodes.products.recalling(), intercepted(self.asking.model, shaken):
            return self.asking.run()

    def together(self, shakes: Sequence[Shake]) -> Run | None:
        """Make these passes as one, on copies of the batch; None where the copy without noise differs."""
        nodes, copies = self.nodes, len(shakes) + 1
        signs = torch.tensor([0.0, *(shake.sign for shake in shakes)])
        rows = [nodes.noise(shake.seed) for shake in (shakes[0], *shakes)]

        def shaken(number: int, module: nn.Module, pre: Tensor, z: Tensor) -> Tensor | None:
            if number not in nodes.calls:
                return None
            every = torch.stack([nodes.unstacked(number, row[number]) for row in rows], 1)  # [T, copies, B, ...]
            every *= signs.to(every).view(-1, *[1] * (every.ndim - 2))
            return z + stacked(every.flatten(1, 2), nodes.forms[number]).reshape(z.shape)

        self.asking.spent += Cost(layer_evaluations_done=copies * self.layers)
        try:
            with torch.no_grad(), intercepted(self.asking.model, shaken):
                run, cost = self.asking.stacked(copies, lambda leaf: sample_axis(leaf, nodes.samples))
        except Exception:  # a model that takes no other batch than its own; if it is a fault, a pass alone shows it
            self.stacking = False
            return None
        signals = [part.unflatten(1, (copies, -1)) for trace in run.traces for part in trace[1:]]
        output = run.output.unflatten(1, (copies, -1))
        if not alike(output[:, 0], nodes.clean.output):
            self.stacking = False
            return None
        share = {name: len(shakes) * number // copies for name, number in vars(cost).items()}
        self.asking.spent += Cost(**{**share, "layer_evaluations_done": 0})
        shown = iter([signal[:, 1:].flatten(1, 2) for signal in signals])
        traces = tuple(Trace(trace.weight, next(shown), next(shown), next(shown)) for trace in run.traces)
        told = {
            name: part.unflatten(1, (copies, -1))[:, 1:].flatten(1, 2) if isinstance(part, Tensor) else part
            for name, part in run.internals.items()
        }
        return Run(output[:, 1:].flatten(1, 2), None, traces, told)


def alike(one: Tensor, other: Tensor) -> bool:
    """Return whether outputs are equal but for the rounding of sums in another order."""
    if one.shape != other.shape:
        return False
    return bool((one - other).norm() <= torch.finfo(other.dtype).eps ** 0.5 * other.norm())


def stackable(nodes: Nodes) -> bool:
    """Return whether a model can be run on copies of its batch, and whether that pays."""
    asking = nodes.asking
    light = asking.spent.synaptic_operations <= LIGHT
    axes = [(leaf, sample_axis(leaf, nodes.samples)) for leaf in leaves(asking.views.x)]
    fits = all(leaf.ndim > axis and leaf.shape[axis] == nodes.samples for leaf, axis in axes)
    started = asking.views.carry is not None and asking.views.carry != ()
    if not (light and fits) or started or asking.read is not None or asking.drew():
        return False
    return all(map(unhooked, asking.model.modules()))
