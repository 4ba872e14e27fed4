"""The base class of cells: parameters, and a response to a whole sequence of currents."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from rules.errors import unknown
from rules.fields import admit, hints_of
from rules.spikes.surrogate import Surrogate

Value = Any  # a float, or a tensor that broadcasts against the cells: a learned parameter
C = TypeVar("C", bound="Cell")
LONGEST = 1e9  # ms of a refractory period, eleven days: its steps are counted


class Cell(ABC):
    """Base class of cells: a frozen dataclass of parameters that maps a sequence of currents to a sequence of outputs.

    A `Neuron` does it step by step, and may have the equations that Brian2 runs. Other cells may see the whole sequence
    at once; then `causal` is False, and no sequence continues from their last state.

    Attributes:
        equations: the equations Brian2 runs; empty for a cell that is checked against something else.
        reference: what the cell is checked against.
        causal: whether an output depends on no later input.
        levels: the largest number of spikes in a step; more than 1 for cells that count.
        unit: output of a single spike.
        units: the unit of each parameter and variable.
        above: lower bound of each bounded parameter, a number or the name of another parameter.
        within: the range to which a cell clips a learned parameter, by name.
        changing: fields that `at_epoch` may change, for cells that follow the progress of training.
        choices: the valid values of fields that hold a name.
        draws: random numbers that are used in each step, by name: "uniform" or "normal".
        published_dt: the time step [ms] that its source uses, at which no warning calls it too long; None for none.
        shared: fields that hold a tensor which is not one value for each cell.
        inputs: names of the inputs of cells that have several, the last axis of their currents; empty for one input.
        presets: published sets of parameters, by name.
        preset_currents: for each preset, a constant current [nA] that shows its firing pattern.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # every member is a dataclass

    equations: ClassVar[str] = ""
    reference: ClassVar[str] = "Brian2"
    units: ClassVar[dict[str, str]]
    spiking: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    spontaneous: ClassVar[bool] = False  # True if the cell fires in half of the steps without input
    above: ClassVar[Mapping[str, float | str]] = {}
    within: ClassVar[Mapping[str, tuple[float, float]]] = {}
    changing: ClassVar[tuple[str, ...]] = ()
    choices: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    draws: ClassVar[Mapping[str, str]] = {}
    published_dt: ClassVar[float | None] = None
    shared: ClassVar[frozenset[str]] = frozenset()
    inputs: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    preset_currents: ClassVar[Mapping[str, float]] = {}

    causal: bool = True
    levels: int = 1
    t_refractory: float = 0.0  # [ms]

    def __post_init__(self) -> None:
        _admit(self)

    @classmethod
    def preset(cls: type[C], name: str, **changes: Any) -> C:
        """Return the cell with a published set of parameters.

        Args:
            name: a key of `presets`.
            **changes: fields that differ from the preset.

        Raises:
            ValueError: for an unknown preset; lists the valid ones.

        >>> from sandbox.neurons import Izhikevich
        >>> Izhikevich.preset("FS").a
        0.1
        """
        if name not in cls.presets:
            raise unknown(f"preset of {cls.__name__}", name, cls.presets)
        return cls(**{**cls.presets[name], **changes})

    @abstractmethod
    def initial_state(self, shape: Iterable[int], like: Tensor) -> Any:
        """Return the resting state of cells of this shape, with the dtype and device of `like`."""

    @abstractmethod
    def respond(
        self, currents: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
    ) -> tuple[tuple[Tensor, ...], Any]:
        """Run a sequence.

        Args:
            currents: `[T, ...]` [nA], constant within each step; `[T, ..., inputs]` for cells with several inputs.
            state: the state before the first step.
            dt: time step [ms].
            record: names of variables to return.
            centred: also return membrane minus threshold before the reset.

        Returns: The output, each variable, and membrane minus threshold if asked for, all `[T, ...]`; and the last
        state.
        """

    def step(self, current: Tensor, state: Any, dt: float) -> tuple[Tensor, Any]:
        """Take one time step.

        Args:
            current: input current `[...]` [nA], constant within the step.
            state: the state before the step, of `initial_state` or of the step before.
            dt: time step [ms].

        Returns: The output `[...]` and the next state.
        """
        (output,), after = self.respond(current[None], state, dt)
        return output[0], after

    def driven(self, current: Tensor) -> torch.Size:
        """Return the shape of the cells that a current drives: its own, without the axis of several inputs.

        Raises:
            ValueError: for a last axis that is not that of the inputs.

        >>> from sandbox.neurons import LIF
        >>> LIF().driven(torch.zeros(2, 3))
        torch.Size([2, 3])
        """
        if not self.inputs:
            return current.shape
        if not current.ndim or current.shape[-1] != len(self.inputs):
            raise ValueError(
                f"currents end in an axis of {current.shape[-1] if current.ndim else 0}; {type(self).__name__} has "
                f"{len(self.inputs)} inputs, {', '.join(self.inputs)}: stack a tensor for each, torch.stack([...], -1)"
            )
        return current.shape[:-1]

    def at_epoch(self: C, epoch: int, epochs: int) -> C:
        """Return the cell of a training epoch, from 0; by default itself."""
        return self

    def progress(self) -> dict[str, float]:
        """Return the fields that `at_epoch` changes, with their present values; none by default."""
        return {}

    def drawn(self, generator: torch.Generator | None, channels: int | None) -> dict[str, Tensor]:
        """Return the initial values of the fields that are learned tensors, by name; none by default.

        Args:
            generator: random generator; None for torch's global one.
            channels: number of channels of the layer, its first axis behind the batch; None if that is not known.
        """
        return {}

    def reach(self, steps: int) -> int | None:
        """Return how many steps a cell weighs for one output, in sequences of `steps`; None for a cell with a state."""
        return None

    @property
    def longest(self) -> int | None:
        """Greatest number of steps of a sequence; None for no limit."""
        return getattr(self, "steps", None)

    def recordable(self, state: Any) -> list[str]:
        """Return the names of the variables that a simulation can record."""
        return variables(state)

    @property
    def heeds(self) -> bool:
        """Whether anything reads its input."""
        return True

    @property
    def deaf(self) -> str | None:
        """What to say where currents are given that nothing reads; None where that is known or does not happen."""
        return None

    @property
    def answers(self) -> bool:
        """Whether the output depends on its input."""
        return self.heeds

    @property
    def unit(self) -> float:
        """Output of a single spike."""
        return 1.0

    @property
    def swing(self) -> Value:
        """Voltage scale of the surrogate [mV]: from rest to threshold if there is a threshold."""
        return 1.0

    @property
    def rheobase(self) -> Value:
        """Constant current [nA] at which the cell begins to fire, approximately; a typical one if it never fires."""
        current: Value = self.swing / getattr(self, "r", 1.0)
        return current

    @property
    def fastest(self) -> float:
        """Shortest time constant [ms]."""
        times = [f.name for f in fields(self) if f.name.startswith("tau")]
        return min((smallest(getattr(self, name)) for name in times), default=math.inf)


def admit_tensor(cell: Cell, name: str, *shape: int | None) -> None:
    """Make a tensor of a field that is not None; raise ValueError for another shape, where None stands for any size."""
    value = getattr(cell, name)
    if value is None:
        return
    wanted = tuple("any" if size is None else size for size in shape)
    kind = type(cell).__name__
    try:
        made = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{kind}.{name}={value!r:.60}: give a tensor of shape {wanted}, or None") from None
    fits = made.ndim == len(shape) and all(size in (None, n) for size, n in zip(shape, made.shape, strict=True))
    if not fits:
        raise ValueError(f"{kind}.{name} has shape {tuple(made.shape)}; wanted {wanted}")
    if made is not value:
        object.__setattr__(cell, name, made)


def variables(state: Any) -> list[str]:
    """Return the names of the per-cell variables in a state."""
    return [name for name, value in state._asdict().items() if value is not None and name != "key"]


def smallest(value: Value) -> float:
    """Return a parameter as a plain number; the smallest entry of a learned one."""
    return float(value.detach().min()) if isinstance(value, Tensor) else float(value)


def _exceeds(value: Value, low: float) -> bool:
    """Return whether a number, or every entry of a tensor, is above a bound; a number without making a tensor of it."""
    return value > low if isinstance(value, (float, int)) else bool((torch.as_tensor(value) > low).all())


def _lasting(period: Value) -> bool:
    """Return whether a refractory period, or each of a tensor, can be counted; a tensor under functorch passes."""
    if isinstance(period, Tensor):
        learned = torch._C._are_functorch_transforms_active()
        return learned or bool(((period >= 0) & (period <= LONGEST)).all())
    return bool(0 <= period <= LONGEST)


def _admit(cell: Cell) -> None:
    """Convert a surrogate's name and NumPy numbers; raise ValueError for an invalid parameter."""
    if isinstance(getattr(cell, "surrogate", None), str):  # from a configuration file
        object.__setattr__(cell, "surrogate", Surrogate(cell.surrogate))  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in hints_of(type(cell)).items() if hint in (float, int, bool, str)}
    for f in fields(cell):
        value = getattr(cell, f.name)
        if isinstance(value, Tensor) or f.name not in hints:  # a tensor is a learned parameter
            continue
        found = admit(f.name, value, hints[f.name])
        if found is not value:
            object.__setattr__(cell, f.name, found)
    for name, valid in cell.choices.items():
        if getattr(cell, name) not in valid:
            raise unknown(name, getattr(cell, name), valid)
    for name, low in cell.above.items():
        value = getattr(cell, name)
        learned = isinstance(value, Tensor) and torch._C._are_functorch_transforms_active()  # has no readable value
        if not isinstance(low, str) and not learned and not _exceeds(value, low):
            unit = cell.units.get(name, "1")
            what = "time constant in ms" if unit == "ms" else "number" if unit == "1" else f"number in {unit}"
            raise ValueError(
                f"{name}={value}: give a {'positive ' if low == 0 else ''}{what}{'' if low == 0 else f' above {low:g}'}"
            )
    if not _lasting(cell.t_refractory):
        raise ValueError(f"t_refractory={cell.t_refractory}: give a period in ms, 0 for none, {LONGEST:g} at most")
    if getattr(cell, "seed", 0) < 0:
        raise ValueError(f"seed={cell.seed}: give a whole number, at least 0")  # type: ignore[attr-defined]
