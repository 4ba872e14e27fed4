"""How far an imported network is from the program that exported it, and from the equations of NIR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sandbox.networks.population import Population
from sandbox.nir.importing import from_nir
from sandbox.nir.schemes import Reset


@dataclass(frozen=True)
class Apart:
    """Outputs that differ, and the largest difference."""

    differ: int
    largest: float


@dataclass(frozen=True)
class Distance:
    """Distances of an imported network, of outputs `[T, B, ...]`; `print` it.

    Attributes:
        scheme: how the graph was stepped.
        dt: time step [ms].
        outputs: how many outputs there are.
        sum: of all outputs, the number of spikes of cells that fire.
        from_exporter: from the outputs that were given; None without.
        from_equations: from the same graph with scheme="exact" and the same dt; None where that cannot be imported.
    """

    scheme: str
    dt: float
    outputs: int
    sum: float
    from_exporter: Apart | None
    from_equations: Apart | None

    def __str__(self) -> str:
        rows = [f"scheme {self.scheme}, dt = {self.dt:g} ms: {self.outputs} outputs, whose sum is {self.sum:g}"]
        for what, found in (("the exporter", self.from_exporter), ("the equations", self.from_equations)):
            shown = "not compared" if found is None else f"{found.differ} differ, by up to {found.largest:.3g}"
            rows.append(f"  from {what}: {shown}")
        return "\n".join(rows)


def distance(
    graph: Any,
    x: Tensor,
    scheme: str = "exact",
    theirs: Tensor | None = None,
    dt: float | None = None,
    reset: Reset | None = None,
    tolerance: float = 1e-5,
) -> Distance:
    """Return how far a graph, imported with a scheme, is from its exporter's outputs and from the equations.

    Args:
        graph: a `nir.NIRGraph`, or a file.
        x: the input `[T, B, ...]`, in whose dtype the network runs.
        scheme: as in `from_nir`.
        theirs: what the exporter's own simulation puts out for `x`, time first; None for no comparison.
        dt: time step [ms], as in `from_nir`.
        reset: as in `from_nir`.
        tolerance: outputs that differ by no more count as the same: sums in another order differ by rounding.

    Raises:
        ValueError: as `from_nir`, and for outputs of another shape.

    >>> import sandbox
    >>> graph = sandbox.to_nir(sandbox.build((4,), 3, (20,)))
    >>> found = distance(graph, torch.rand(30, 2, 4), scheme="euler")
    >>> found.from_exporter is None, found.from_equations.largest > 0
    (True, True)
    """
    ours, step = _outputs(graph, x, scheme, dt, reset)
    if theirs is not None and theirs.shape != ours.shape:
        raise ValueError(
            f"theirs has shape {tuple(theirs.shape)}, and the network puts out {tuple(ours.shape)}: put time first"
        )
    try:
        equations = _outputs(graph, x, "exact", step, None)[0]
    except ValueError:
        equations = None
    return Distance(
        scheme,
        step,
        ours.numel(),
        float(ours.sum()),
        None if theirs is None else _apart(ours, theirs, tolerance),
        None if equations is None else _apart(ours, equations, tolerance),
    )


@torch.no_grad()
def _outputs(graph: Any, x: Tensor, scheme: str, dt: float | None, reset: Reset | None) -> tuple[Tensor, float]:
    network = from_nir(graph, dt, scheme, reset, x.dtype)
    steps = [module.dt for module in network.modules() if isinstance(module, Population)]
    return network(x).output, float(steps[0]) if steps else float(dt or 0)


def _apart(ours: Tensor, others: Tensor, tolerance: float) -> Apart:
    gap = (ours - others.to(ours)).abs()
    return Apart(int((gap > tolerance).sum()), float(gap.max()))
