"""A model as a table: what arrives at every weight, what it costs, and how often its cells fire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, steps_of
from rules.diagnostics.health import firing_rates
from rules.forward import leaves, looking, run_model, samples, shapes
from rules.metering import Meter
from rules.optional import plain
from sandbox.inspection.arithmetic import Arithmetic, arithmetic
from sandbox.inspection.operands import Operand, operands
from sandbox.inspection.papers import of_papers
from sandbox.ledger.energy import CMOS_45NM, Constants, inference


@dataclass(frozen=True)
class Inspection:
    """What a model computes with in one batch; operations and energies are those of one sample.

    Two estimates of the energy of inference stand side by side, both of arithmetic alone. `papers` is that of the
    papers on spiking transformers: a layer whose input is 0 and 1 accumulates at its firing rate, every other one
    multiplies at all pairs, zeros included; a product of two activities accumulates at the smaller rate of its binary
    factors; a bias is one operation. `ours` counts pairs in which neither is zero, as NeuroBench does, and for cells
    that count each spike as an accumulation.

    Args:
        operands: weights and products, in the order of first calls.
        rates: spikes per cell and step of all modules that put out zeros and ones, by name.
        outside: multiply-accumulates of products outside of modules, which no row has: of attention in `nn.Transformer`
            and of functions such as `F.linear`.
        parameters: of the whole model.
        buffers: numbers that are kept beside parameters, such as running means.
        constants: energy of an operation.
        title: what was inspected, on which input.
        attention: arithmetic of attention modules, outside of neurons and synapses.
        steps: of the input.
    """

    operands: tuple[Operand, ...]
    rates: dict[str, float]
    outside: float
    parameters: int
    buffers: int
    constants: Constants = CMOS_45NM
    title: str = ""
    attention: tuple[Arithmetic, ...] = ()
    steps: int = 1

    @property
    def papers(self) -> float:
        """Energy [pJ] by the papers' formula."""
        return sum(of_papers(each, self.constants) for each in self.operands)

    @property
    def ours(self) -> float:
        """Energy [pJ] of pairs in which neither is zero."""
        return inference((each.work for each in self.operands), self.constants)

    def facts(self) -> dict[str, Any]:
        """Return everything as dicts, lists and numbers."""
        return {
            "title": self.title,
            "parameters": self.parameters,
            "buffers": self.buffers,
            "layers": [
                {
                    "layer": each.layer,
                    "shape": None if each.shape is None else list(each.shape),
                    "parameters": each.parameters,
                    "input": [str(alphabet) for alphabet in each.alphabets],
                    "rates": list(each.rates),
                    "pairs": each.pairs,
                    "accumulated": each.work.accumulated,
                    "multiplied": each.work.multiplied,
                    "papers_picojoules": of_papers(each, self.constants),
                    "ours_picojoules": inference([each.work], self.constants),
                    "note": each.work.note,
                }
                for each in self.operands
            ],
            "rates": self.rates,
            "attention": [{"module": each.module, **each.found} for each in self.attention],
            "pairs_outside": self.outside,
            "papers_picojoules": self.papers,
            "ours_picojoules": self.ours,
            "steps": self.steps,
            "papers_picojoules_of_a_step": self.papers / self.steps,
            "ours_picojoules_of_a_step": self.ours / self.steps,
            "constants": {"mac": self.constants.mac, "ac": self.constants.ac, "source": self.constants.source},
        }

    def __str__(self) -> str:
        rows = [["layer", "weight", "input", "rate", "pairs", "E papers", "E ours"]]
        for each in self.operands:
            energies = (of_papers(each, self.constants), inference([each.work], self.constants))
            rows.append(
                [
                    each.layer,
                    "product" if each.shape is None else " x ".join(map(str, each.shape)),
                    each.alphabet,
                    ", ".join(f"{rate:.3f}" for rate in each.rates),
                    f"{each.pairs:,.0f}",
                    *(f"{energy * 1e-6:.4g}" for energy in energies),
                ]
            )
        rows.append(["all", "", "", "", f"{sum(each.pairs for each in self.operands):,.0f}", *self._totals()])
        lines = [self.title] if self.title else []
        lines += [f"{self.parameters:,} parameters, {self.buffers:,} numbers in buffers", ""]
        lines += _aligned(rows)
        means = [f"{energy * 1e-6 / self.steps:.4g}" for energy in (self.papers, self.ours)]
        lines += [
            "",
            f"E: estimated arithmetic of one sample [uJ], not measured; {self.constants.source}",
            f"mean of its {self.steps} steps, or tokens: {means[0]} uJ by the papers' formula, {means[1]} uJ by ours",
        ]
        if self.outside:
            lines += [
                f"not in the table, nor in any sum: {self.outside:,.0f} pairs of products outside of modules, such as "
                "attention of nn.Transformer; write products of activities as rules.Product"
            ]
        if self.rates:
            lines += ["", "spikes per cell and step"]
            width = max(map(len, self.rates))
            lines += [f"  {name:<{width}}  {rate:.3f}" for name, rate in self.rates.items()]
        if self.attention:
            lines += ["", "arithmetic of attention, outside of neurons and synapses"]
            lines += [f"  {each}" for each in self.attention]
        lines += [f"{each.layer}: {each.work.note}" for each in self.operands if each.work.note]
        return "\n".join(lines)

    def _totals(self) -> list[str]:
        return [f"{energy * 1e-6:.4g}" for energy in (self.papers, self.ours)]

    def figure(self) -> Any:
        """Draw the rate and the alphabet at every weight beside its energy; return a matplotlib figure."""
        from sandbox.inspection.drawing import drawn

        return drawn(self.operands, self.constants, self.title)


def inspect(model: nn.Module, x: Tensor | Batch, constants: Constants = CMOS_45NM, title: str = "") -> Inspection:
    """Look at what a model computes with, in a few passes in evaluation mode; the model stays as it was.

    Args:
        model: any `nn.Module`. Products of two activities are seen where they are `rules.Product`.
        x: an input `[T, B, ...]`, or a batch. Every step is counted, also where all steps are equal.
        constants: energy of an operation, those of the papers by default: 4.6 and 0.9 pJ.
        title: first line of the table.

    Raises:
        ValueError: for an empty input, and for a model in which nothing is weighted.

    >>> import torch
    >>> from sandbox import build
    >>> found = inspect(build((4,), 3, (8,)), 20 * torch.rand(5, 2, 4))
    >>> [each.alphabets[0].kind for each in found.operands], found.parameters
    (['real', 'binary'], 67)

    Reference: Zhou et al. 2023 (arXiv 2304.11954), equations 19 and 20, and the rules of its released tool;
    NeuroBench (arXiv 2304.04640) for `ours`.
    """
    batch = x if isinstance(x, Batch) else Batch(x)
    if not all(leaf.numel() for leaf in leaves(batch.x)):
        raise ValueError(f"the input is empty, {shapes(batch.x)}: give at least one step of one sample")
    found = tuple(operands(model, batch))
    if not found:
        raise ValueError(
            f"{type(plain(model)).__name__} called no layer with weights on this input, so nothing can be inspected; "
            "give a model of nn.Linear, convolutions, or rules.Product"
        )
    return Inspection(
        found,
        firing_rates(model, batch),
        _outside(plain(model), batch),
        sum(p.numel() for p in model.parameters()),
        sum(b.numel() for b in model.buffers()),
        constants,
        title,
        tuple(arithmetic(model, batch)),
        steps_of(batch.x),
    )


def _outside(model: nn.Module, batch: Batch) -> float:
    """Return the multiply-accumulates of one sample that no module shows."""
    with torch.no_grad(), looking(model, {}), Meter(model) as meter:
        run_model(model, batch)
    return meter.outside.synaptic_operations / samples(batch)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align: list[Callable[[str, int], str]] = [str.ljust, str.ljust, str.ljust, *[str.rjust] * 4]
    return [
        "  ".join(put(cell, width) for put, cell, width in zip(align, row, widths, strict=True)).rstrip()
        for row in rows
    ]
