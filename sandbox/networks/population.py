"""Neurons of one kind in a network: what they learn, their state, and the kernels that run them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Local
from rules.credit.spike_timing.at_once import Bounds, Frame
from rules.credit.spike_timing.window import Window
from rules.spikes.surrogate import generator_of_pass
from sandbox.kernels.attempt import attempt_linearised, attempt_plastic, attempt_recurrent
from sandbox.kernels.choice import choice
from sandbox.machine.compiled import absent
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell
from sandbox.neurons.learnable import Learned, learns
from sandbox.neurons.loop import advance, loop
from sandbox.neurons.stepping import check_resolution, differentiable, rest
from sandbox.simulation import require_fields, sequence


class Population(nn.Module):
    """Neurons of one kind, driven by a current and, if recurrent, by their own output of the step before.

    Fields of the neuron that are marked as `learnable` become parameters of this module, and those that hold a number
    for each cell follow its dtype and device. A call returns the outputs `[T, ...]`, the state at the end, and the
    membrane if that was asked for.

    Args:
        neuron: the parameters of the neurons.
        dt: time step [ms].
        recurrent: weights from the population to itself, `ByInput` for cells with several inputs; None for none.
        generator: random generator of the tensors that the cells learn; None for torch's global one.
        channels: number of channels, for cells that learn a value for each; None if that is not known.

    Raises:
        ValueError: for recurrent weights of cells that see the whole sequence at once.
    """

    def __init__(
        self,
        neuron: Cell,
        dt: float,
        recurrent: nn.Module | None = None,
        generator: torch.Generator | None = None,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        check_resolution(neuron, dt)
        if recurrent is not None and not neuron.causal:
            raise ValueError(
                f"{type(neuron).__name__} sees the whole sequence at once and cannot hear its own output: use a layer "
                "without recurrent weights, or SlidingPSN"
            )
        if not neuron.answers:
            remedy = "add the input to an equation, or name a variable that it is added to, from_brian2(..., jumps='g')"
            raise ValueError(
                f"nothing that the output of {type(neuron).__name__} depends on reads its input, so weights before it "
                f"would never learn: {neuron.deaf or remedy}"
            )
        self.neuron = neuron
        self.learned = Learned(neuron, generator, channels) if learns(neuron) else None
        self.dt = dt
        self.recurrent: Any = recurrent
        for name, value in neuron.progress().items():  # saved with the parameters
            self.register_buffer(name, torch.tensor(value))
        tensors = {name: v for name, v in vars(neuron).items() if isinstance(v, Tensor) and not v.requires_grad}
        self.of_each_cell = tuple(name for name in tensors if name not in neuron.shared)
        for name in self.of_each_cell:  # not saved, as other constants are not
            self.register_buffer(f"cell_{name}", tensors[name].detach().clone(), persistent=False)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Let cells change that depend on the progress of training: annealed masks (`sandbox.MaskedPSN`)."""
        for name, value in self.neuron.at_epoch(epoch, epochs).progress().items():
            self._buffers[name].fill_(value)  # type: ignore[union-attr]
        self._follow()

    def _follow(self) -> None:
        """Let the cells have what the buffers say, which a checkpoint may have filled."""
        now = {name: float(self._buffers[name]) for name in self.neuron.progress()}  # type: ignore[arg-type]
        if now != self.neuron.progress():
            self.neuron = replace(self.neuron, **now)
            if self.learned is not None:
                self.learned.neuron = self.neuron

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Read a state, of cells too that were still changing: what they had reached must be what these cells have."""
        *_, errors = others
        for name in set(self.neuron.changing) - set(self.neuron.progress()):
            reached, mine = state_dict.pop(prefix + name, None), getattr(self.neuron, name)
            if reached is not None and float(reached) != mine:
                errors.append(
                    f"{prefix}{name} is {float(reached):g} in the state, and {mine:g} in this "
                    f"{type(self.neuron).__name__}: train until it is that, or build the cell with {name}="
                    f"{float(reached):g}"
                )
        super()._load_from_state_dict(state_dict, prefix, *others)

    @property
    def spike_unit(self) -> float | None:
        """Output of a single spike of cells that count; None for all others."""
        return self.neuron.unit if self.neuron.levels > 1 else None

    @property
    def threshold(self) -> nn.Parameter | None:
        """The parameter through which the cells learn their thresholds; None where these are fixed."""
        found = None if self.learned is None else self.learned.raw.get("v_threshold")
        return found if isinstance(found, nn.Parameter) else None

    def reach(self, steps: int) -> int | None:
        """Return how many steps a parallel cell weighs for one output; None for cells with a state."""
        return self.neuron.reach(steps)

    def present(self) -> Cell:
        """Return the cells with the present values of its learned parameters."""
        if self._buffers:
            self._follow()
        now = self.neuron if self.learned is None else self.learned()
        own = {name: self._buffers[f"cell_{name}"] for name in self.of_each_cell}
        return replace(now, **own) if own else now

    def rest(self, currents: Tensor) -> tuple[Any, Tensor | None]:
        """Return the carry before the first step; random numbers without a rule come from torch's global generator."""
        shape = self.neuron.driven(currents[0])
        heard = currents.new_zeros(shape) if self.recurrent is not None else None
        if self.of_each_cell:
            require_fields(self.neuron, shape)
        return rest(self.present(), currents, generator_of_pass() or torch.default_generator), heard

    def advance(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take one step; the current `[B, ...]` [nA] includes what the population hears from itself."""
        return self.present().step(current, state, self.dt)

    def advance_all(self, currents: Tensor, states: Any) -> tuple[Tensor, Any]:
        """Take one step of many cells, `[M]`, each from a state of its own; as `advance`, and in a kernel."""
        (output,), after = sequence(self.present(), currents[None], states, self.dt)
        return output[0], after

    def linearised(self, currents: Tensor, carry: Any) -> tuple[Tensor, Any, Local] | None:
        """Run currents `[T, B, ...]` [nA] in a kernel that gives the derivatives of every step; None if there is none.

        Returns: The output, the carry, and the derivatives `[..., T, B, ...]`.
        """
        neuron, (state, heard) = self.present(), carry
        if neuron.draws or not isinstance(neuron, Neuron):
            return None
        found = attempt_linearised(neuron, self.recurrent, currents, state, heard, self.dt)
        if found is None:
            return None
        output, end, local = found
        return output, (end, None if heard is None else output[-1]), local

    def event_adjoint(self, step: Any, given: Any, limit: float) -> Any:
        """Carry back what spikes are worth in a compiled loop, `sandbox.kernels.event_adjoint`; None if there is none.

        `given` is a `Given` of `rules.credit.eventprop.stepped`, and what is returned a `Found`.
        """
        if self.recurrent is not None or choice().mode == "plain" or absent():
            return None
        from sandbox.kernels.event_adjoint import event_adjoint

        return event_adjoint(step, given, limit)

    def plastic(self, frame: Frame, window: Window, bounds: Bounds) -> Any:
        """Run a layer whose weights change in every step, in a kernel; None if there is none."""
        neuron = self.present()
        return attempt_plastic(neuron, frame, window, bounds, self.dt) if isinstance(neuron, Neuron) else None

    def unpacked(self, state: Any) -> tuple[Tensor, ...]:
        """Return the variables of a state that a derivative passes through: without counters and random keys."""
        return tuple(getattr(state, name) for name in differentiable(state))

    def packed(self, state: Any, values: tuple[Tensor, ...]) -> Any:
        """Return a state with other values of these variables."""
        return state._replace(**dict(zip(differentiable(state), values, strict=True)))

    def forward(self, currents: Tensor, carry: Any = None, record: bool = False) -> tuple[Tensor, Any, Tensor | None]:
        """Map currents `[T, B, ...]` [nA] to output `[T, B, ...]`, carry and, if recorded, membrane minus threshold."""
        neuron, dt, recurrent = self.present(), self.dt, self.recurrent
        state, heard = self.rest(currents) if carry is None else carry
        if recurrent is None:
            (output, *rest), state = sequence(neuron, currents, state, dt, centred=record)
            return output, (state, None), rest[0] if rest else None

        if isinstance(neuron, Neuron):
            fused = attempt_recurrent(neuron, recurrent, currents, state, heard, dt, record)
            if fused is not None:
                (output, *rest), state = fused
                return output, (state, output[-1]), rest[0] if rest else None

        def one(current: Tensor, carry: Any) -> tuple[tuple[Tensor, ...], Any]:
            state, heard = carry
            current = current + recurrent(heard)
            if isinstance(neuron, Neuron):
                shown, state = advance(neuron, current, state, dt, centred=record)
            else:
                rows, state = neuron.respond(current[None], state, dt, centred=record)
                shown = tuple(row[0] for row in rows)
            return shown, (state, shown[0])

        (output, *rest), carry = loop(one, currents, (state, heard))
        return output, carry, rest[0] if rest else None

    def extra_repr(self) -> str:
        return f"{self.neuron}, dt={self.dt}"
