"""Run a neuron over a sequence of currents, in a kernel if there is one, after checks of the input."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.steps import wide_dtype
from sandbox.events import WORD, Events, packed, recorded
from sandbox.kernels.attempt import attempt, attempt_bits, left
from sandbox.machine.memory import available
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell, variables
from sandbox.neurons.learnable import learnables
from sandbox.neurons.stepping import check_heard, check_resolution, rest


def sequence(
    neuron: Cell, currents: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
) -> tuple[tuple[Tensor, ...], Any]:
    """Run all steps of cells: of a neuron in a kernel if there is one for it (`sandbox.kernels`).

    Returns the output, each recorded variable, and, if `centred`, membrane minus threshold before the reset, all
    `[T, ...]`; and the last state.
    """
    fused = attempt(neuron, currents, state, dt, record, centred) if isinstance(neuron, Neuron) else None
    return neuron.respond(currents, state, dt, record, centred) if fused is None else fused


def scan(
    neuron: Cell, currents: Tensor, state: Any = None, dt: float = 1.0, generator: torch.Generator | None = None
) -> tuple[Tensor, Any]:
    """Run a neuron over a sequence of currents.

    Warns if dt is longer than the neuron's fastest time constant, and where gradients are wanted of a cell that learns
    constants or tensors of its own: here they are those it starts with. `sandbox.Population` is a module that holds
    them.

    Args:
        neuron: the neuron.
        currents: `[T, ...]` [nA], constant within each step.
        state: the state to continue from; None for rest.
        dt: time step [ms], 1 by default.
        generator: random generator of a stochastic neuron; None for the neuron's own seed.

    Returns: Outputs `[T, ...]` and the last state. A call that starts from that state continues exactly.

    Raises:
        ValueError: for an empty sequence, a current that is not finite, a state of another shape or dtype, or
            `dt <= 0`.

    >>> from sandbox.neurons import LIF
    >>> spikes, state = scan(LIF(tau_mem=10.0), torch.full((50, 1), 1.5))
    >>> int(spikes.sum())
    4
    """
    start = admitted(neuron, currents, state, dt, generator)
    if currents.requires_grad and torch.is_grad_enabled():
        _warn_of_fixed(neuron)
    (outputs,), end = sequence(neuron, currents, start, dt)
    return outputs, end


def _warn_of_fixed(neuron: Cell) -> None:
    """Warn of a cell whose learned constants no module holds."""
    given = [name for name in neuron.shared if isinstance(getattr(neuron, name), Tensor)]
    fixed = sorted({*learnables(neuron), *neuron.shared} - {*given})
    if fixed:
        warnings.warn(
            f"{type(neuron).__name__} learns {', '.join(fixed)}, and scan has nowhere to keep that: it stays as it is. "
            f"Put sandbox.Population({type(neuron).__name__}(...), dt=1.0) into your module and call that; it returns "
            "the outputs, the state and the membrane",
            stacklevel=3,
        )


EVENTS = "events"  # in `record`: spikes as pairs
SPIKES = "spikes"  # in `record`: spikes as an array
PART = 2**20  # numbers that are computed before spikes are packed, about
BITS = 2**24  # the same where a kernel computes nothing but bits
LARGE = 2**30  # bytes from which a recording is compared with the memory that is free


@dataclass(frozen=True, repr=False)
class Trajectory:
    """Result of a simulation: spikes, and each recorded variable as an attribute under its own name, `[T, ...]`.

    `spikes` `[T, ...]` and `events` (`sandbox.Events`) are two forms of the same; one is made of the other when it is
    asked for.
    """

    raster: Tensor | Events = field(repr=False)
    variables: dict[str, Tensor]
    dt: float  # [ms]

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["variables"][name]  # type: ignore[no-any-return]
        except KeyError:
            pairs = [EVENTS] if isinstance(self.__dict__.get("raster"), Events) else []
            kept = [*pairs, *self.__dict__.get("variables", {})]
            wanted = ", ".join(map(repr, (*kept, name))) + ("" if kept else ",")
            recorded = ", ".join(kept) or SPIKES
            raise AttributeError(f"{name!r} was not recorded (recorded: {recorded}); pass record=({wanted})") from None

    def __repr__(self) -> str:
        raster = self.raster
        steps, shape = (raster.steps, raster.shape) if isinstance(raster, Events) else (len(raster), raster.shape[1:])
        recorded = ", ".join([EVENTS if isinstance(raster, Events) else SPIKES, *self.variables])
        return f"Trajectory({steps} steps of {self.dt:g} ms, cells {tuple(shape)}, recorded: {recorded})"

    @property
    def spikes(self) -> Tensor:
        """Outputs `[T, ...]`."""
        return self.raster.dense() if isinstance(self.raster, Events) else self.raster

    @property
    def events(self) -> Events:
        """The spikes as pairs of step and cell."""
        return self.raster if isinstance(self.raster, Events) else Events.of(self.raster.detach(), self.dt)

    @property
    def t(self) -> Tensor:
        """Time at the end of each step [ms]."""
        steps = self.raster.steps if isinstance(self.raster, Events) else len(self.raster)
        return torch.arange(1, steps + 1, dtype=torch.float64) * self.dt


def simulate(
    neuron: Cell,
    currents: Tensor,
    dt: float = 1.0,
    record: str | Sequence[str] = ("v",),
    state: Any = None,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Run a neuron and record its variables at the end of each step, after the reset.

    With `record="events"` the spikes are kept as pairs of step and cell (`sandbox.Events`), in a few bytes for each
    spike, and no gradient passes: for many cells and steps. Spikes are the same. A current that is constant in time
    takes no memory either if it is `current.expand(T, cells)`.

    Args:
        neuron: the neuron.
        currents: `[T, ...]` [nA], constant within each step.
        dt: time step [ms], 1 by default.
        record: names of state variables to record, ("v",) by default; "events" among them for spikes as pairs. Spikes
            as an array are there in either case; after "events" they are made when `spikes` is asked for.
        state: the state to continue from; None for rest.
        generator: random generator of a stochastic neuron; None for the neuron's own seed.

    Returns: The spikes and the recorded variables.

    Raises:
        ValueError: as `scan`, and for a variable that the neuron's state does not have, and for "events" of a neuron
            with graded outputs.
        MemoryError: for a recording that is larger than the memory that is free.

    >>> from sandbox.neurons import LIF
    >>> round(float(simulate(LIF(tau_mem=10.0), torch.full((10, 1), 0.5)).v[-1]), 4)  # 0.5 (1 - exp(-1))
    0.3161
    >>> simulate(LIF(tau_mem=10.0), torch.full((30, 1), 1.5), record="events").events.step
    tensor([10, 21])
    """
    start = admitted(neuron, currents, state, dt, generator)
    valid = neuron.recordable(start)
    asked = (record,) if isinstance(record, str) else tuple(record)
    names = tuple(name for name in asked if name not in (EVENTS, SPIKES))  # spikes are there in either form
    for name in names:
        if name not in valid:
            raise ValueError(
                f"{type(neuron).__name__} has no variable {name!r}; it has: {', '.join(valid)}; or pass "
                "record='events' for spikes as pairs"
            )
    require_room(neuron, currents, names, EVENTS in asked)
    if EVENTS in asked:
        return _in_parts(neuron, currents, start, dt, names)
    (spikes, *rows), _ = sequence(neuron, currents, start, dt, names)
    return Trajectory(spikes, dict(zip(names, rows, strict=True)), dt)


@torch.no_grad()
def _in_parts(neuron: Cell, currents: Tensor, state: Any, dt: float, names: tuple[str, ...]) -> Trajectory:
    """Run a few steps at a time, and pack their spikes."""
    name = type(neuron).__name__
    if not neuron.spiking:
        raise ValueError(f"{name} has graded outputs, which are not events: record variables, such as record=('v',)")
    if neuron.levels > 1:
        raise ValueError(f"{name} puts out up to {neuron.levels} spikes a step, which are not events: record='spikes'")
    steps, shape = len(currents), neuron.driven(currents[0])
    parts, kept, begin = [], [currents.new_empty((steps, *shape)) for _ in names], 0
    fused = isinstance(neuron, Neuron) and not left(
        currents
    )  # of the whole, so that a short last part is rounded as the others
    while begin < steps:
        length = _length(shape, fused and not names and not neuron.draws) if neuron.causal else steps
        piece = currents[begin : begin + length]
        results = attempt_bits(neuron, piece, state, dt, names) if fused else None  # type: ignore[arg-type]
        if fused and results is None:  # no kernel: shorter parts
            fused = False
            continue
        (spikes, *rows), state = results or sequence(neuron, piece, state, dt, names)
        if fused:
            parts.append(packed(spikes.numpy().view(np.uint64), shape.numel(), begin))
        else:
            parts.append(recorded(spikes, begin))
        for whole, part in zip(kept, rows, strict=True):
            whole[begin : begin + len(piece)] = part
        begin += len(piece)
    return Trajectory(Events(tuple(parts), steps, shape, dt), dict(zip(names, kept, strict=True)), dt)


def _length(shape: torch.Size, bits: bool) -> int:
    """Return the steps of a part, whose numbers, or bits in whole words, are held at once."""
    cells = shape.numel()
    return max(1, BITS // (WORD * -(-cells // WORD) or 1) if bits else PART // max(1, cells))


def require_room(neuron: Cell, currents: Tensor, names: Sequence[str], events: bool) -> None:
    """Raise MemoryError for a recording that is larger than the memory that is free."""
    arrays = len(names) + (not events)
    wanted = arrays * currents.numel() * currents.element_size()
    if wanted < LARGE or currents.device.type != "cpu" or (free := available()) is None or wanted <= free:
        return
    what = " and ".join([*([] if events else ["spikes"]), *names])
    pairs = f"({', '.join(map(repr, (EVENTS, *names)))})" if names else repr(EVENTS)
    fewer = "fewer variables, steps or cells at a time" if events else f"spikes as pairs: record={pairs}"
    raise MemoryError(
        f"{what} of {currents[0].numel():,} cells for {len(currents):,} steps take {wanted / 1e9:.1f} GB, and "
        f"{free / 1e9:.1f} GB are free; record {fewer}"
    )


def admitted(neuron: Cell, currents: Tensor, state: Any, dt: float, generator: torch.Generator | None) -> Any:
    """Return the state to start from, after checks of currents, state and dt; torch.compile skips the checks."""
    if torch.compiler.is_compiling():
        return rest(neuron, currents, generator) if state is None else state
    check_currents(neuron, currents, dt)
    return rest(neuron, currents, generator) if state is None else check_state(neuron, state, currents[0])


def check_currents(neuron: Cell, currents: Tensor, dt: float) -> None:
    """Raise ValueError for invalid currents or dt; warn if dt is too long for the neuron's dynamics."""
    if not isinstance(neuron, Cell):
        raise ValueError(f"the neuron is {neuron!r:.60}; wanted a neuron, such as sandbox.LIF()")
    if not isinstance(currents, Tensor):
        raise ValueError(
            f"currents are a {type(currents).__name__}; wanted a tensor [T, ...]: torch.as_tensor(currents)"
        )
    if currents.ndim == 0 or len(currents) == 0:
        raise ValueError(f"currents have shape {tuple(currents.shape)}; wanted [T, ...] with at least one step")
    if not currents.is_floating_point():
        raise ValueError(f"currents have dtype {currents.dtype}; wanted floating point: currents.double()")
    if not isinstance(dt, Real | Tensor) or not dt > 0:
        raise ValueError(f"dt={dt}: give a positive time step in ms, as a plain number")
    transformed = torch._C._are_functorch_transforms_active()  # whose tensors have no readable values
    seen = currents[:1] if currents.stride(0) == 0 else currents  # an expanded current repeats one step
    # A finite sum rules out NaN and infinity in one pass; a sum that overflows needs the second, exact check.
    if not transformed and not torch.isfinite(seen.sum()) and not torch.isfinite(seen).all():
        first = (~torch.isfinite(seen)).nonzero()[0].tolist()
        raise ValueError(f"currents hold {seen[tuple(first)].item()} at {first}; wanted finite numbers in nA")
    check_resolution(neuron, dt)
    check_heard(neuron, seen)
    require_fields(neuron, neuron.driven(currents[0]))


def require_fields(neuron: Cell, shape: Sequence[int]) -> None:
    """Raise ValueError for a field of the neuron that is a tensor and does not fit cells of this shape."""
    for name, value in vars(neuron).items():
        if isinstance(value, Tensor) and value.ndim and name not in neuron.shared:
            try:
                fits = torch.broadcast_shapes(value.shape, tuple(shape)) == tuple(shape)
            except RuntimeError:
                fits = False
            if not fits:
                raise ValueError(
                    f"{type(neuron).__name__}.{name} has shape {tuple(value.shape)}, and the cells have "
                    f"{tuple(shape)}; wanted one number, or one for each cell"
                )


def check_state(neuron: Cell, state: Any, current: Tensor) -> Any:
    """Return the state if it fits this neuron and current; raise ValueError otherwise."""
    if not neuron.causal:
        raise ValueError(
            f"{type(neuron).__name__} sees the whole sequence at once, so that none continues from a state: state=None"
        )
    wanted = neuron.initial_state(neuron.driven(current), current)
    if type(state) is not type(wanted):
        raise ValueError(
            f"state is a {type(state).__name__}; {type(neuron).__name__} wants a {type(wanted).__name__}, "
            "as neuron.initial_state(shape, like) gives"
        )
    for name in variables(state):
        value, fitting = getattr(state, name), getattr(wanted, name)
        fitting = current if fitting is None else fitting
        narrow = value.dtype not in (fitting.dtype, wide_dtype(current) if name == "wait" else fitting.dtype)
        if value.shape != fitting.shape or narrow:  # steps of a refractory period are counted in float32 at least
            raise ValueError(
                f"state.{name} is {value.dtype} of shape {tuple(value.shape)}; the currents want "
                f"{fitting.dtype} of shape {tuple(fitting.shape)}"
            )
    return state
