"""What hardware has to do for one batch: the sizes of every layer, and the shares of what is not zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.ledger.training import Synapses

WORD = 16  # bits of a number in the engines


@dataclass(frozen=True)
class Layer:
    """One weight matrix or convolution and the cells that it drives, over the steps and samples of a batch.

    Sizes have the names of arXiv 2204.05422: C input channels, K output channels, OY x OX output places, FY x FX
    kernel. A dense layer has places and kernels of 1.

    Args:
        name: of the layer.
        inputs: C, of one group.
        outputs: K.
        steps: T.
        batch: B, 1 by default.
        places: (OY, OX).
        kernel: (FY, FX).
        sources: (IY, IX), places of the input; by default those of the output.
        spikes: r_s, the share of inputs that are not zero; 1 by default, as are the other shares.
        errors: r_g, the share of errors at the cells that are not zero.
        fires: the share of steps at which the cells put out a spike.
        weights: d_w, the share of weights that exist.
        bits: of a weight, 16 by default.
        graded: whether inputs are numbers, and not spikes.
        passes: whether errors go on to the input, which they do not where it is data.
        reach: steps that each cell weighs for one of its outputs, in parallel neurons; None for cells with a state.
        normed: whether batch normalisation stands between the weights and the cells.

    Raises:
        ValueError: for a size below 1, and for a share outside 0..1.

    >>> Layer("dense", 700, 128, steps=100).macs
    8960000
    """

    name: str
    inputs: int
    outputs: int
    steps: int
    batch: int = 1
    places: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    sources: tuple[int, int] | None = None
    spikes: float = 1.0
    errors: float = 1.0
    fires: float = 1.0
    weights: float = 1.0
    bits: int = WORD
    graded: bool = False
    passes: bool = True
    reach: int | None = None
    normed: bool = False

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("inputs", "outputs", "steps", "batch", "bits")}
        sizes |= {"reach": 1 if self.reach is None else self.reach}
        pairs = {name: getattr(self, name) or (1, 1) for name in ("places", "kernel", "sources")}
        for name, size in [*sizes.items(), *((name, each) for name, pair in pairs.items() for each in pair)]:
            if not size >= 1:
                raise ValueError(f"layer {self.name!r}: {name}={getattr(self, name)}: give whole numbers, at least 1")
        for name in ("spikes", "errors", "fires", "weights"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"layer {self.name!r}: {name}={getattr(self, name)}: give a share between 0 and 1")

    @property
    def fan_in(self) -> int:
        """Inputs of one cell, C FY FX."""
        return self.inputs * math.prod(self.kernel)

    @property
    def cells(self) -> int:
        """Cells, K OY OX."""
        return self.outputs * math.prod(self.places)

    @property
    def afferents(self) -> int:
        """Numbers that enter the layer at a step, C IY IX."""
        return self.inputs * math.prod(self.sources or self.places)

    @property
    def parameters(self) -> float:
        """Weights that exist, d_w C K FY FX."""
        return self.weights * self.fan_in * self.outputs

    @property
    def macs(self) -> int:
        """Pairs of an input and a weight in the batch, B T C K OY OX FY FX, zeros included."""
        return self.batch * self.steps * self.fan_in * self.cells

    def synapses(self, spikes: bool = True, errors: bool = True) -> Synapses:
        """Return the numbers of the formulas of `sandbox.ledger.training`.

        Args:
            spikes: whether r_s is that of the layer, and not 1, which is what hardware does that skips no zeros.
            errors: the same of r_g.
        """
        return Synapses(
            self.fan_in,
            self.cells,
            self.steps,
            self.batch,
            self.spikes if spikes else 1.0,
            self.errors if errors else 1.0,
            self.weights,
            self.graded,
        )


@dataclass(frozen=True)
class Workload:
    """The layers of a network for one batch, from input to output.

    Args:
        layers: at least one.
        classes: outputs of the network; by default those of the last layer.
        source: where the shares come from, in words for reports.

    Raises:
        ValueError: for no layer.

    >>> Workload((Layer("hidden", 300, 100, 100, spikes=0.1), Layer("out", 100, 100, 100, spikes=0.5))).rates
    (0.2, 1.0)
    """

    layers: tuple[Layer, ...]
    classes: int = 0
    source: str = "shares as given"

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a workload needs a layer: give Layer(name, inputs, outputs, steps), one or more")
        if not self.classes:
            object.__setattr__(self, "classes", self.layers[-1].cells)

    @property
    def macs(self) -> int:
        """Pairs of an input and a weight in the batch, zeros included."""
        return sum(layer.macs for layer in self.layers)

    @property
    def rates(self) -> tuple[float, float]:
        """r_s and r_g of all layers together, means over pairs of an input and a weight."""
        return self._mean(lambda layer: layer.spikes), self._mean(lambda layer: layer.errors)

    def _mean(self, share: Callable[[Layer], float]) -> float:
        return sum(share(layer) * layer.macs for layer in self.layers) / self.macs
