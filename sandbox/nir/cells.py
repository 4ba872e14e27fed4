"""Cells as nodes of NIR and back: units, parameters for each cell, and the step of an exporter.

Times are milliseconds here and seconds there; a cell `tau_mem dv/dt = r current` is `dv/dt = R I` with
R = 1000 r / tau_mem. Potentials and currents keep their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.neurons import (
    IF,
    LIF,
    MSLIF,
    PLIF,
    Cell,
    CubaLI,
    CubaLIF,
    EulerCubaLIF,
    Integrator,
    LeakyIntegrator,
    MultiIF,
    MultiLIF,
)  # fmt: skip
from sandbox.nir.metadata import decoded
from sandbox.nir.schemes import Array, Scheme

MS = 1000.0  # milliseconds in a second
PARAMETERS = ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset")  # fields that nodes have, too


def _leaky(cell: Any) -> dict[str, Any]:
    return {"tau": cell.tau_mem / MS, "r": cell.r, "v_leak": cell.v_leak}


def _lif(cell: Any) -> dict[str, Any]:
    return _leaky(cell) | _firing(cell)


def _firing(cell: Any) -> dict[str, Any]:
    return {"v_threshold": cell.v_threshold, "v_reset": getattr(cell, "v_reset", 0.0)}


def _integrating(cell: Any) -> dict[str, Any]:
    return {"r": cell.r / cell.tau_mem * MS}


def _if(cell: Any) -> dict[str, Any]:
    return _integrating(cell) | _firing(cell)


def _cuba_li(cell: Any) -> dict[str, Any]:
    times = {"tau_mem": cell.tau_mem / MS, "tau_syn": cell.tau_syn / MS}
    return {**times, "r": cell.r, "v_leak": cell.v_leak, "w_in": 1.0}


def _cuba_lif(cell: Any) -> dict[str, Any]:
    return _cuba_li(cell) | _firing(cell)


NODES: dict[type[Cell], tuple[str, Callable[[Any], dict[str, Any]]]] = {  # type of node, and its parameters
    LIF: ("LIF", _lif),
    PLIF: ("LIF", _lif),
    MSLIF: ("LIF", _lif),
    MultiLIF: ("LIF", _lif),
    IF: ("IF", _if),
    MultiIF: ("IF", _if),
    LeakyIntegrator: ("LI", _leaky),
    Integrator: ("I", _integrating),
    CubaLIF: ("CubaLIF", _cuba_lif),
    EulerCubaLIF: ("CubaLIF", _cuba_lif),
    CubaLI: ("CubaLI", _cuba_li),
}


def beyond(cell: Cell) -> list[str]:
    """Return what a cell does that its node in NIR does not say, in words.

    >>> beyond(LIF(reset="subtract", t_refractory=2.0))
    ["reset='subtract'", 't_refractory=2']
    """
    found = []
    if getattr(cell, "reset", "to_value") != "to_value":
        found.append(f"reset={cell.reset!r}")  # type: ignore[attr-defined]
    if cell.t_refractory:
        found.append(f"t_refractory={cell.t_refractory:g}")
    if isinstance(cell, (MultiLIF, MultiIF)):
        found.append(f"up to {cell.levels} spikes in a step")
    if isinstance(cell, (PLIF, EulerCubaLIF)):
        found.append("steps of Euler")
    if isinstance(cell, (IF, MultiIF)) and bool(torch.as_tensor(cell.v_leak != 0).any()):
        found.append("a start at v_leak")
    return found


def arrays(cell: Cell, shape: tuple[int, ...]) -> dict[str, Array]:
    """Return the parameters of the node of a cell, in the units of NIR, each `[*shape]`."""
    _, parameters = NODES[type(cell)]
    wide = SimpleNamespace(**{key: _number(getattr(cell, key)) for key in PARAMETERS if hasattr(cell, key)})
    return {name: np.array(np.broadcast_to(v, shape)) for name, v in parameters(wide).items()}


def cell_of(
    name: str, node: Any, shape: tuple[int, ...], scheme: Scheme, dt: float, reset: str | None, kept: Mapping[str, Any]
) -> Cell:
    """Return the cell of a node.

    Args:
        name: of the node, for messages.
        node: of NIR.
        shape: of what arrives at it.
        scheme: how it is stepped.
        dt: time step [ms].
        reset: what a spike does; None for the scheme's.
        kept: the cell as `metadata.encoded` wrote it; empty for none.

    Raises:
        ValueError: for parameters that no cell here has, with the name of the node.
    """
    old = decoded(name, kept) if kept else None
    told = getattr(old, "reset", "to_value") if old is not None else None
    try:
        plain = _Node(name, node, shape, scheme, dt).cell(reset or told or scheme.reset)
        if old is None:
            return plain
        if scheme.exact:
            unchanged = all(np.array_equal(a, getattr(node, key)) for key, a in arrays(old, shape).items())
            old = old if unchanged else replace(old, **_shared(plain, old, PARAMETERS))
            return old if reset is None else replace(old, **_shared(plain, old, ("reset",)))
        return replace(plain, **_shared(old, plain, ("t_refractory", "surrogate")))
    except ValueError as error:
        raise error if repr(name) in str(error) else ValueError(f"node {name!r}: {error}") from error


def _shared(source: Cell, target: Cell, names: tuple[str, ...]) -> dict[str, Any]:
    own = {f.name for f in fields(source)} & {f.name for f in fields(target)}
    return {name: getattr(source, name) for name in names if name in own}


def _number(value: Any) -> Array:
    return np.asarray(value.detach().double().cpu().numpy() if isinstance(value, Tensor) else value, np.float64)


class _Node:
    """The parameters of a node, and the cells that they make."""

    def __init__(self, name: str, node: Any, shape: tuple[int, ...], scheme: Scheme, dt: float) -> None:
        self.name, self.node, self.shape, self.scheme, self.dt = name, node, shape, scheme, dt
        self.kind = type(node).__name__
        if scheme.nodes and self.kind not in scheme.nodes:
            raise ValueError(
                f"node {name!r} is nir.{self.kind}, which this exporter does not write (it writes "
                f"{', '.join(sorted(scheme.nodes))}): use scheme='exact' or 'euler'"
            )

    def get(self, parameter: str) -> Array:
        """Return a parameter, one number or one for each cell."""
        value = np.asarray(getattr(self.node, parameter), np.float64)
        if value.size == 1:
            return value.reshape(())
        if value.shape != self.shape:
            raise ValueError(
                f"{parameter} of node {self.name!r} has shape {value.shape}, and what arrives has {self.shape}: give "
                "one number for each cell"
            )
        return value

    def cell(self, reset: str) -> Cell:
        """Return the cell."""
        makers = {"LIF": self.lif, "IF": self.integrate_and_fire, "CubaLIF": self.cuba_lif}
        if self.kind in makers:
            return makers[self.kind](reset)
        return {"LI": self.li, "I": self.integrator, "CubaLI": self.cuba_li}[self.kind]()

    def tau(self, parameter: str) -> Array:
        return self.scheme.tau(self.name, parameter, self.get(parameter), self.dt)

    def lif(self, reset: str) -> Cell:
        tau = self.tau("tau")
        common = {"tau_mem": tau, "r": self.get("r"), "v_leak": self.get("v_leak")}
        if self.scheme.several:
            self._several(reset)
            return self.made(MultiLIF, **common, v_threshold=self.get("v_threshold"))
        return self.made(LIF, **common, **self.firing(reset, np.exp(-self.dt / tau)))

    def integrate_and_fire(self, reset: str) -> Cell:
        common = {"tau_mem": self.dt, "r": self.jump()}
        if self.scheme.several:
            self._several(reset)
            return self.made(MultiIF, **common, v_threshold=self.get("v_threshold"))
        start = self.get("v_reset") if self.scheme.starts_reset else 0.0
        return self.made(IF, **common, v_leak=start, **self.firing(reset, np.asarray(1.0)))

    def cuba_lif(self, reset: str) -> Cell:
        order, gain = self.scheme.order, self.get("r") * self.get("w_in")
        if not order:
            tau, tau_syn = self.tau("tau_mem"), self.tau("tau_syn")
            common = {"tau_mem": tau, "tau_syn": tau_syn, "r": gain, "v_leak": self.get("v_leak")}
            return self.made(CubaLIF, **common, **self.firing(reset, np.exp(-self.dt / tau)))
        tau, tau_syn = (self.scheme.steps(self.name, key, self.get(key), self.dt) for key in ("tau_mem", "tau_syn"))
        gain = gain * tau_syn / self.dt if self.scheme.jumps else gain
        common = {"tau_mem": tau, "tau_syn": tau_syn, "r": gain, "v_leak": self.get("v_leak")}
        firing = self.firing(reset, 1 - self.dt / tau)
        return replace(self.made(EulerCubaLIF, **common, **firing), order=order)

    def li(self) -> Cell:
        tau, r = self.tau("tau"), self.get("r")
        r = r / (1 - np.exp(-self.dt / tau)) if self.kind in self.scheme.whole else r
        return self.made(LeakyIntegrator, tau_mem=tau, r=r, v_leak=self.get("v_leak"))

    def integrator(self) -> Cell:
        return self.made(Integrator, tau_mem=self.dt, r=self.jump())

    def cuba_li(self) -> Cell:
        if self.scheme.order:
            raise ValueError(
                f"node {self.name!r} is nir.CubaLI, of which there is the exact step alone: use scheme='exact', or "
                "two nodes nir.LI"
            )
        times = {"tau_mem": self.tau("tau_mem"), "tau_syn": self.tau("tau_syn")}
        return self.made(CubaLI, **times, r=self.get("r") * self.get("w_in"), v_leak=self.get("v_leak"))

    def jump(self) -> Array:
        """Return by how much an input of 1 moves a cell without a leak in a step."""
        return self.get("r") if self.scheme.jumps else self.get("r") * (self.dt / MS)

    def firing(self, reset: str, kept: Array) -> dict[str, Any]:
        """Return threshold and reset of a membrane of which a step keeps a share."""
        threshold, target = self.get("v_threshold"), self.get("v_reset")
        if reset == "delayed_subtract":
            if not (kept > 0).all():
                raise ValueError(
                    f"node {self.name!r} forgets its membrane within a step, so that nothing can be subtracted in the "
                    "next: use reset='subtract' or 'to_value'"
                )
            reset, target = "subtract", threshold * (1 - 1 / kept)
        return {"v_threshold": threshold, "v_reset": target, "reset": reset, "strict": self.scheme.strict}

    def _several(self, reset: str) -> None:
        if reset != "subtract":
            raise ValueError(
                f"reset={reset!r} of node {self.name!r}: cells with several spikes in a step subtract a threshold for "
                "each; leave reset out"
            )

    def made(self, kind: type[Cell], **values: Any) -> Cell:
        """Return a cell; numbers that all cells share are plain floats, others float64 tensors."""
        plain = {
            key: _joined(value) if isinstance(value, (np.ndarray, float)) else value for key, value in values.items()
        }
        return kind(**plain)


def _joined(value: Any) -> Any:
    array = np.asarray(value, np.float64)
    return float(array.flat[0]) if (array == array.flat[0]).all() else torch.from_numpy(array.copy())
