"""How a graph is stepped: the equations as NIR states them, forward Euler, and what each exporter means by its graph.

NIR gives equations in seconds, and no time step. Programs that export to it write parameters from which their own step
can be computed, if one knows the step and the order of operations that they assume. A scheme holds that knowledge.

Throughout, a signal between two nodes is constant within a step, and a spike is a 1 that lasts for one step. That is
what all four exporters mean: they write w_in = tau_syn / dt so that a pulse of one step moves the synapse by 1. If S in
`tau_syn dI/dt = -I + w_in S` were a Dirac pulse of area 1 s, the same number would move it by 1 / dt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reset = Literal["to_value", "subtract", "delayed_subtract", "none"]
RESETS: dict[str, str] = {
    "to_value": "to v_reset",
    "subtract": "v_threshold - v_reset is subtracted",
    "delayed_subtract": "v_threshold is subtracted in the step behind the spike",
    "none": "no reset",
}
AT_ONCE = 1e-3  # steps of a time constant that forgets everything within one: exp(-1 / AT_ONCE) is 0


@dataclass(frozen=True)
class Scheme:
    """How the nodes of a graph are stepped.

    Attributes:
        meaning: in words.
        dt: time step [ms] if none is given; None where exporters have none.
        strict: whether cells fire at v > v_threshold only, not at equality.
        euler: whether decays are `1 - dt / tau`, in place of `exp(-dt / tau)`.
        order: of synapse and membrane in a step of Euler (`sandbox.EulerCubaLIF`); empty for the exact solution.
        reset: what a spike does to the membrane.
        several: whether a cell fires as often in a step as the threshold fits into its membrane.
        seconds: from a time constant in a graph to seconds, given dt in seconds.
        jumps: whether the input of IF and CubaLIF is a jump, in place of a current that lasts a step.
        starts_reset: whether IF starts at v_reset, in place of 0.
        whole: types of neurons with a leak to which an input is added whole, in place of its share `1 - decay`.
        nodes: types of neurons that the exporter writes; empty for any.
    """

    meaning: str
    dt: float | None
    strict: bool = True
    euler: bool = True
    order: str = "together"
    reset: Reset = "to_value"
    several: bool = False
    seconds: Callable[[Array, float], Array] = lambda tau, dt: tau
    jumps: bool = False
    starts_reset: bool = False
    whole: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()

    @property
    def exact(self) -> bool:
        """Whether it is the equations of NIR, solved exactly, that are meant."""
        return not self.euler and not self.several

    def tau(self, name: str, parameter: str, value: Array, dt: float) -> Array:
        """Return the time constant [ms] whose exact decay over `dt` ms is that of the scheme.

        Raises:
            ValueError: for a time constant that is not positive, or under Euler shorter than a step.
        """
        if not (np.isfinite(value).all() and (value > 0).all()):
            raise ValueError(
                f"{parameter} of node {name!r} is {shown(value)} s: give a positive time constant, or a node "
                "without one, such as nir.IF for a cell without a leak"
            )
        found = self.seconds(np.asarray(value, np.float64), dt / 1000) * 1000
        if not self.euler:
            return found
        share = dt / found
        if (share > 1 + 1e-6).any():
            raise ValueError(
                f"{parameter} of node {name!r} is {shown(found)} ms, and forward Euler needs one of at least dt={dt:g} "
                f"ms: use a shorter dt{'' if self.order != 'together' else ', or scheme=' + repr('exact')}"
            )
        kept = np.clip(1 - share, 0, None)
        with np.errstate(divide="ignore"):
            return np.where(kept > 0, -dt / np.log(kept), AT_ONCE * dt)

    def steps(self, name: str, parameter: str, value: Array, dt: float) -> Array:
        """Return a time constant [ms] for cells that take the steps of Euler themselves."""
        self.tau(name, parameter, value, dt)
        return np.maximum(self.seconds(np.asarray(value, np.float64), dt / 1000) * 1000, dt)


def _times_dt(tau: Array, dt: float) -> Array:
    """Return tau of Norse's exporter, which writes `dt / tau_mem_inv` where 1 / tau_mem_inv is meant."""
    return tau / dt


SCHEMES: dict[str, Scheme] = {
    "exact": Scheme("the equations of NIR, solved exactly within a step", None, euler=False, order=""),
    "euler": Scheme("the equations of NIR in steps of forward Euler", None),
    "snntorch": Scheme(
        "Leaky, Synaptic, RLeaky, RSynaptic as they are by default: beta = 1 - dt / tau, synapse first, threshold "
        "subtracted in the step behind the spike",
        0.1,
        order="synapse_first",
        reset="delayed_subtract",
        nodes=frozenset({"LIF", "CubaLIF"}),
    ),
    "norse": Scheme(
        "LIFCell, LIFBoxCell, LIBoxCell, IAFCell: Euler, input as a jump before the step; time constants in the graph "
        "are those of the cells times dt",
        1.0,
        order="jump_first",
        seconds=_times_dt,
        jumps=True,
        nodes=frozenset({"LIF", "CubaLIF", "LI", "IF"}),
    ),
    "sinabs": Scheme(
        "LIF, IAF and ExpLeak as they are by default (norm_input=True in LIF alone): exact decays, time constants in "
        "steps, several spikes in a step, each of which takes a threshold",
        1000.0,
        strict=False,
        euler=False,
        order="",
        reset="subtract",
        several=True,
        whole=frozenset({"LI"}),
        nodes=frozenset({"LIF", "LI", "IF"}),
    ),
    "spikingjelly": Scheme(
        "IFNode, LIFNode, ParametricLIFNode, CUBALIFNode with a hard reset: beta = 1 - dt / tau, synapse first, a "
        "spike at v >= v_threshold",
        0.1,
        strict=False,
        order="synapse_first",
        starts_reset=True,
        nodes=frozenset({"LIF", "CubaLIF", "IF"}),
    ),
}


def shown(value: Any) -> str:
    """Return numbers for a message: the number itself, or the range.

    >>> shown(np.array(2.0)), shown(np.array([1.0, 3.0]))
    ('2', '1..3')
    """
    low, high = float(np.min(value)), float(np.max(value))
    return f"{low:g}" if low == high or math.isnan(low) else f"{low:g}..{high:g}"
