"""A connection: weights, a delay, and what a spike does to the cell that it reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from rules.errors import unknown
from sandbox.synapses.pattern import Pattern, Stored, pattern, rows_of
from sandbox.synapses.sparse import Sparse

KINDS = {
    "current": "weights [nA]; a spike adds its weight to a current that decays with tau, or lasts one step without tau",
    "conductance": "weights [uS]; a spike adds its weight to a conductance that decays with tau, towards `reversal`",
    "jump": "a spike adds its weight to `variable` of the cell, in the unit of that variable",
}
NEAR = 1e-3  # of a step: how far a delay in float32 may be from a whole number of steps


class Port(NamedTuple):
    """Where spikes arrive: connections with the same kind, tau, reversal and variable share it."""

    kind: str
    tau: float | None
    reversal: float | None
    variable: str | None


@dataclass(frozen=True, eq=False)
class Connection:
    """Synapses from the cells of a circuit, or of one of its groups, to those of another.

        current      I = sum of i,            di/dt = -i / tau,  a spike adds its weight to i
        conductance  I = sum of g (E - v),    dg/dt = -g / tau,  a spike adds its weight to g
        jump         a spike adds its weight to a variable of the cell

    Here v is the membrane of the cell (`Neuron.membrane`), whatever its name. Both i and g decay exactly. The current
    into the cell is constant within a step, as every current is: it is computed from i, g and v at the start of the
    step. For a conductance that the neuron integrates itself, let spikes jump to the neuron's own variable:
    `kind="jump", variable="g_e"` for `CobaLIF`, `variable="i_syn"` for `CubaLIF`.

    A spike in step t with a delay of d steps arrives in step t + d, after the threshold and before the reset, and the
    next state update sees it.

    Args:
        weights: `[post, pre]`: a dense tensor, a sparse CSR tensor, or a `sandbox.Sparse` without a bias. The pattern
            of a sparse one is read once, so it must not be changed afterwards; its values may be.
        kind: "current", "conductance" or "jump", see above.
        delay: [ms], a number or one for each synapse: `[post, pre]` for dense weights; `[synapses]` in the order of
            `weights.values()`, row by row, for a CSR tensor, and in that of the edges for `Sparse.from_edges`; a
            `Sparse` with random synapses has them in the order of its `pre` and `post`. Whole steps: others are
            refused, not rounded.
        tau: time constant [ms]; for a current None, the default, for a pulse of one step.
        reversal: reversal potential of a conductance [mV].
        variable: of the cell, to which a jump adds; "v" by default.
        source: name of the group whose spikes are sent; None for all cells.
        target: name of the group that receives them; None for all cells.
        mask: `[post, pre]`, true where dense weights have a synapse; None for everywhere.

    Raises:
        ValueError: for weights with another shape, of whole numbers, with a pair of cells twice or outside of the
            matrix; an unknown kind; a missing, superfluous or impossible tau, reversal or mask; a negative delay.

    >>> weights = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
    >>> Connection(weights, delay=1.5, tau=5.0).port.kind
    'current'

    Reference: Brette et al. 2007 (doi 10.1007/s10827-007-0038-6) for the three kinds of synapse.
    """

    weights: Any
    kind: Literal["current", "conductance", "jump"] = "current"
    delay: float | Tensor = 0.0
    tau: float | None = None
    reversal: float | None = None
    variable: str = "v"
    source: str | None = None
    target: str | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of connection", self.kind, KINDS)
        _check_constants(self)
        _check_weights(self)
        _check_delay(self)

    @property
    def port(self) -> Port:
        """Where its spikes arrive."""
        jump = self.kind == "jump"
        return Port(self.kind, self.tau, self.reversal, self.variable if jump else None)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of postsynaptic and presynaptic cells."""
        return tuple(self.weights.shape)

    @property
    def values(self) -> Tensor:
        """The weights as they are given: `[post, pre]`, or `[synapses]` if they are sparse; differentiable."""
        if isinstance(self.weights, Sparse):
            return self.weights.weight
        if self.weights.layout == torch.strided:
            return self.weights  # type: ignore[no-any-return]
        if not self.weights.requires_grad:
            return self.weights.values()  # type: ignore[no-any-return]
        return Stored.apply(self.weights)  # type: ignore[no-any-return, no-untyped-call]

    @cached_property
    def pattern(self) -> Pattern | None:
        """The synapses of sparse or masked weights and of those with several delays; None if all are there alike."""
        if isinstance(self.weights, Sparse):
            return self.weights.pattern
        if self.weights.layout != torch.strided:
            return pattern(self.weights.col_indices(), rows_of(self.weights), self.shape)
        if self.mask is None and not _several(self.delay):
            return None
        there = torch.ones(self.shape, dtype=torch.bool) if self.mask is None else self.mask
        post, pre = there.nonzero(as_tuple=True)
        found = pattern(pre, post, self.shape)
        return found._replace(order=found.post * self.shape[1] + found.pre)

    def steps(self, dt: float, longest: int) -> int | Tensor:
        """Return the delays in steps of dt [ms], one for all synapses or `[synapses]` in the order of the pattern.

        Raises:
            ValueError: for a delay that is not a whole number of steps, or above `longest` steps.
        """
        delay = torch.as_tensor(self.delay, dtype=torch.float64).detach()
        exact = delay / dt
        whole = exact.round()
        off = (exact - whole).abs() > NEAR
        if off.any():
            first = float(delay[off].flatten()[0]) if delay.ndim else float(delay)
            remedy = f"delay = (delay / {dt:g}).round() * {dt:g}" if delay.ndim else f"delay={float(whole) * dt:g}"
            if first < dt / 2:
                remedy = f"delays are in ms, and {first:g} s are {1000 * first:g}"
            steps = f"{first / dt:g} steps of dt={dt:g} ms"
            raise ValueError(f"a delay of {first:g} ms is {steps}; wanted whole steps: {remedy}")
        if whole.numel() and whole.max() >= longest > 1:
            most = float(whole.max())
            raise ValueError(
                f"a delay of {most * dt:g} ms is {most:.0f} steps, and the currents have {longest}, so its spike never "
                f"arrives: give currents of more than {most:.0f} steps, or a delay of at most {(longest - 1) * dt:g} ms"
            )
        if not _several(self.delay):
            return int(whole.reshape(-1)[0])
        if isinstance(self.weights, Sparse):
            return self.weights.in_order(whole.long())
        assert self.pattern is not None
        return self.pattern.sort(whole.long())


def _several(delay: float | Tensor) -> bool:
    return isinstance(delay, Tensor) and delay.ndim > 0


def _check_constants(given: Connection) -> None:
    kind, tau, reversal = given.kind, given.tau, given.reversal
    if kind == "conductance" and (tau is None or reversal is None):
        raise ValueError(
            f"a conductance with tau={tau} and reversal={reversal}; give both: "
            'Connection(weights, kind="conductance", tau=5.0, reversal=0.0)'
        )
    if kind == "jump" and tau is not None:
        raise ValueError(f'a jump with tau={tau:g} ms; a jump has none: use kind="current" for a current that decays')
    if kind != "conductance" and reversal is not None:
        raise ValueError(f'a {kind} with reversal={reversal:g} mV; only kind="conductance" has a reversal potential')
    if kind != "jump" and given.variable != "v":
        raise ValueError(f'a {kind} with variable={given.variable!r}; only kind="jump" adds to a variable of the cell')
    if tau is not None and not (0 < tau < math.inf):
        raise ValueError(f"tau={tau:g} ms; give a positive time constant, or None for a pulse of one step")
    if reversal is not None and not math.isfinite(reversal):
        raise ValueError(f"reversal={reversal:g} mV; give a finite potential")


def _check_weights(given: Connection) -> None:
    weights = given.weights
    if isinstance(weights, Sparse):
        _no_mask(given)
        if weights.bias is not None:
            raise ValueError(
                "weights have a bias, which spikes do not carry: Sparse(..., bias=False), and add it to the currents"
            )
        return
    if not isinstance(weights, Tensor):
        raise ValueError(
            f"weights are a {type(weights).__name__}; wanted a tensor [post, pre]: torch.as_tensor(weights), or a "
            "sandbox.Sparse"
        )
    if weights.layout not in (torch.strided, torch.sparse_csr):
        raise ValueError(f"weights have layout {weights.layout}; wanted dense or sparse CSR: weights.to_sparse_csr()")
    if weights.ndim != 2:
        raise ValueError(f"weights have shape {tuple(weights.shape)}; wanted [post, pre]")
    if not weights.is_floating_point():
        raise ValueError(f"weights have dtype {weights.dtype}; wanted floating point: weights.double()")
    if weights.layout == torch.sparse_csr:
        _no_mask(given)
        _ = given.pattern  # which refuses pairs that are there twice or outside
    elif given.mask is not None and (given.mask.dtype != torch.bool or given.mask.shape != weights.shape):
        raise ValueError(
            f"mask is {given.mask.dtype} of shape {tuple(given.mask.shape)}, for weights of shape "
            f"{tuple(weights.shape)}; wanted booleans of that shape: mask=weights != 0"
        )


def _no_mask(given: Connection) -> None:
    if given.mask is not None:
        raise ValueError("sparse weights with a mask; sparse weights are their own: leave out mask=")


def _check_delay(given: Connection) -> None:
    delay = torch.as_tensor(given.delay).detach()
    if not torch.isfinite(delay).all() or (delay < 0).any():
        bad = delay.flatten()[((delay < 0) | ~torch.isfinite(delay)).flatten()][0]
        raise ValueError(f"a delay of {float(bad):g} ms; wanted 0 or more: delay.clamp(min=0)")
    dense = isinstance(given.weights, Tensor) and given.weights.layout == torch.strided
    wanted = given.shape if dense else tuple(given.values.shape)
    if delay.ndim and tuple(delay.shape) != wanted:
        raise ValueError(
            f"delays have shape {tuple(delay.shape)}, for weights {'' if dense else 'with values '}of shape {wanted}; "
            "wanted that shape, or one number"
        )
