"""The figure of an inspection, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox.inspection.operands import Operand
from sandbox.inspection.papers import of_papers
from sandbox.ledger.energy import Constants, inference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "silent": "0.8",
    "binary": "#0072B2",
    "ternary": "#56B4E9",
    "integer": "#E69F00",
    "real": "#D55E00",
    "not finite": "black",
}
WIDTH, ROW, EDGE = 9.0, 0.24, 1.3  # [inch]


def drawn(operands: Sequence[Operand], constants: Constants, title: str) -> Figure:
    """Draw the rate of every input in the colour of its alphabet, and beside it both energies."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = [each.layer for each in operands]
    places = range(len(names))
    figure = Figure(figsize=(WIDTH, EDGE + ROW * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    kinds = []
    for place, each in zip(places, operands, strict=True):
        high = 0.8 / len(each.rates)
        for number, (rate, alphabet) in enumerate(zip(each.rates, each.alphabets, strict=True)):
            at = place + (number - (len(each.rates) - 1) / 2) * high
            left.barh(at, rate, high, color=COLOURS[alphabet.kind])
            kinds.append(alphabet.kind)
    left.set_yticks(list(places), names, fontsize=7)
    left.invert_yaxis()
    left.set_xlim(0, 1)
    left.set_xlabel("share of inputs that are not 0")
    left.legend(handles=[Patch(color=c, label=k) for k, c in COLOURS.items() if k in kinds], fontsize=7)
    papers = [of_papers(each, constants) * 1e-6 for each in operands]
    ours = [inference([each.work], constants) * 1e-6 for each in operands]
    right.barh([p - 0.2 for p in places], papers, 0.4, color="0.25", label="papers' formula")
    right.barh([p + 0.2 for p in places], ours, 0.4, color="0.65", label="pairs without a zero")
    right.set_xlabel("energy of one sample, estimated [µJ]")
    right.legend(fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure
