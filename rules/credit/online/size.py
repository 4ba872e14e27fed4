"""How much the influence of all weights on all states takes, and a word where that is more than a small network's."""

from __future__ import annotations

import warnings
from typing import Any

from rules.models.admission import ModelWarning

SENSIBLE = 2**28  # bytes, 256 MiB: a step then takes about 10^9 multiply-accumulates, some tens of milliseconds


def warn_of_size(moments: list[Any], weights: int, traces: tuple[Any, ...]) -> None:
    """Warn, at the first step of a sequence, of an influence of more than 256 MiB.

    It holds the derivative of every state and every output by every weight, for each sample, and a step multiplies it
    with the recurrent weights.

    Args:
        moments: the layers at this step, with `output [B, *cells]` and `local.driven [k, B, *cells]`.
        weights: number of all weights and biases.
        traces: of the step before; none at the first one.
    """
    if traces:
        return
    output = moments[0].output
    samples, size = len(output), output.element_size()
    states = sum((len(moment.local.driven) + 1) * moment.output[0].numel() for moment in moments)
    held = samples * states * weights * size
    if held <= SENSIBLE:
        return
    first = moments[0]
    inputs = first.columns.shape[-1] - (0 if first.site.recurrent is None else first.output[0].numel())
    cells = largest(inputs, moments[-1].output[0].numel(), samples * size)
    warnings.warn(
        f"rtrl holds the influence of {weights:,} weights on {states:,} states and outputs for each of {samples} "
        f"samples, {held / 2**30:,.1f} GiB, and multiplies it in every step: it is for small networks. With these "
        f"inputs and samples about {cells} recurrent cells are sensible, network.hidden={cells}r; or give smaller "
        "batches, or rules that hold less: rules.make('snap1'), rules.make('uoro'), rules.make('eprop')",
        ModelWarning,
        stacklevel=2,
    )


def largest(inputs: int, outputs: int, each: int) -> int:
    """Return how many recurrent cells of one state variable are sensible, below a read-out of such cells.

    Args:
        inputs: of a cell, a bias among them.
        outputs: cells of the read-out.
        each: bytes of one number for all samples.

    >>> largest(785, 10, 50 * 4)
    24
    """
    cells = 1
    while held_by(cells + 1, inputs, outputs) * each <= SENSIBLE:
        cells += 1
    return cells


def held_by(cells: int, inputs: int, outputs: int) -> int:
    """Return how many numbers the influence has for one sample: states and outputs times weights."""
    return 2 * (cells + outputs) * (cells * (inputs + cells) + outputs * (cells + 1))
