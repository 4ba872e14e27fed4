"""Accesses of an array of multipliers that holds weights, or outputs, while the other operands pass by.

Our reconstruction: the abstract of arXiv 2412.05302 says that a core has several dataflows, and not which.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import NamedTuple

from sandbox.hardware.workload import Layer


class Product(NamedTuple):
    """The loops of one engine for one layer: out[place, made] = sum over summed and kernel of input x weight."""

    summed: int
    made: int
    kernel: int
    places: int

    @property
    def macs(self) -> int:
        """Products of two numbers."""
        return self.summed * self.made * self.kernel * self.places


class Accesses(NamedTuple):
    """Numbers that are read and written between an array and its buffer."""

    weights: int
    inputs: int
    sums_read: int
    outputs: int  # written, partial sums included


def loops(layer: Layer) -> dict[str, Product]:
    """Return the loops of the engines that a layer needs, forward first.

    All of them make the same number of products, B T C K OY OX FY FX. Backward, output channels are summed and input
    channels put out; a layer whose input is data has no such loop. For weight gradients, places are summed, errors play
    the part of weights, and each pair of an input channel and a place of the kernel that of a place.

    >>> loops(Layer("hidden", 700, 128, 100))["backward"]
    Product(summed=128, made=700, kernel=1, places=100)
    """
    kernel, places = prod(layer.kernel), layer.batch * layer.steps * prod(layer.places)
    ahead = Product(layer.inputs, layer.outputs, kernel, places)
    back = {"backward": Product(layer.outputs, layer.inputs, kernel, places)} if layer.passes else {}
    return {"forward": ahead, **back, "weight": Product(places, layer.outputs, 1, layer.inputs * kernel)}


def weight_stationary(product: Product, rows: int, columns: int) -> Accesses:
    """Return the accesses of an array that holds a tile of weights until all places have passed.

    Each weight is read once. An input is read once for every tile of `columns` outputs and every place of the kernel; a
    sum is written for every tile of `rows` inputs and every place of the kernel, and read again for all but the first.

    >>> weight_stationary(Product(summed=32, made=16, kernel=9, places=10), rows=16, columns=16)
    Accesses(weights=4608, inputs=2880, sums_read=2720, outputs=2880)
    """
    summed, made, kernel, places = product
    outputs = ceil(summed / rows) * kernel * made * places
    return Accesses(
        summed * made * kernel,
        ceil(made / columns) * kernel * summed * places,
        outputs - made * places,
        outputs,
    )


def output_stationary(product: Product, rows: int, columns: int) -> Accesses:
    """Return the accesses of an array that holds sums of `rows` places and `columns` outputs until they are complete.

    Each output is written once. A weight is read once for every tile of places, an input once for every tile of
    outputs and every place of the kernel.

    >>> output_stationary(Product(summed=32, made=16, kernel=9, places=10), rows=16, columns=16)
    Accesses(weights=4608, inputs=2880, sums_read=0, outputs=160)
    """
    summed, made, kernel, places = product
    return Accesses(
        ceil(places / rows) * summed * made * kernel,
        ceil(made / columns) * kernel * summed * places,
        0,
        made * places,
    )


class Dataflow(NamedTuple):
    """What an array holds, as three counts.

    `tiles` are the steps of an array of `rows x columns`, `fetched` the numbers or bytes that come from DRAM or go
    there, given those of the operand that plays the part of weights, of the input and of the output, and into how many
    parts a core has to divide something that large.
    """

    accesses: Callable[[Product, int, int], Accesses]
    tiles: Callable[[Product, int, int], int]
    fetched: Callable[[float, float, float, Callable[[float], int]], float]


DATAFLOWS: dict[str, Dataflow] = {
    "weight_stationary": Dataflow(
        weight_stationary,
        lambda p, rows, columns: ceil(p.summed / rows) * ceil(p.made / columns) * p.kernel * p.places,
        lambda weights, inputs, outputs, parts: weights + inputs * parts(weights) + outputs,
    ),
    "output_stationary": Dataflow(
        output_stationary,
        lambda p, rows, columns: ceil(p.places / rows) * ceil(p.made / columns) * p.kernel * p.summed,
        lambda weights, inputs, outputs, parts: weights * parts(outputs) + inputs + outputs,
    ),
}
