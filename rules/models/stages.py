"""The parts of a model as stages that a layered rule can call alone, each from rest, on `[T, B, ...]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Trace
from rules.forward import fold
from rules.models.calls import Call
from rules.models.parts import Frame, Misfit, Part, arranged
from rules.models.peers import peer_of
from rules.synapses import SYNAPSES, is_synapse

Resting = Callable[[nn.Module, int], AbstractContextManager[None]]


class Folded(nn.Module):
    """A module without memory, applied at every step of `[T, B, ...]`."""

    def __init__(self, folded: nn.Module) -> None:
        super().__init__()
        self.folded = folded  # read by rules.optional.folded_of

    def forward(self, x: Tensor) -> Tensor:
        return fold(self.folded, x)


class Viewed(nn.Module):
    """Features in another shape, as a model changes it between two of its modules."""

    def __init__(self, lead: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.lead, self.shape = lead, shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[: self.lead], *self.shape)


class Rested(nn.Module):
    """A module that may keep state, called as the model calls it, and from rest.

    Args:
        part: the module, and how the model calls it.
        resting: a context in which the module begins at rest, given the number of steps.
    """

    def __init__(self, part: Part, resting: Resting) -> None:
        super().__init__()
        self.module, self.part, self.resting = part.module, part, resting

    @property
    def turned_inside(self) -> bool:
        """Whether the module takes `[B, T, ...]`."""
        return self.part.form in ("turned", "flat")

    def forward(self, x: Tensor) -> Tensor:
        steps = 1 if self.part.form == "static" else len(x)
        frame = Frame(None if self.part.form == "static" else steps, x.shape[int(self.part.form != "static")])
        with self.resting(self.module, steps):
            if self.part.form == "stepped":
                return self._stepped(x)
            given = self.module(shaped(x, self.part.form))
            return arranged([self._picked(given)], self.part.shown, frame)

    def _stepped(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        state: tuple[Any, ...] = ()
        for now in x:
            given = self.module(now, *state)
            outputs.append(self._picked(given))
            if self.part.stateful and not kept_inside(self.module):
                state = (given,) if isinstance(self.module, nn.RNNCellBase) else (given[1],)
        return torch.stack(outputs)

    def _picked(self, given: Any) -> Tensor:
        found: Tensor = given if self.part.pick is None else [*given][self.part.pick]
        return found


def kept_inside(module: nn.Module) -> bool:
    """Return whether a neuron also keeps the state that it is given, as those of snnTorch do."""
    peer = peer_of(module)
    return peer is not None and peer.package == "snntorch"


def shaped(x: Tensor, kind: str) -> Tensor:
    """Return `[T, B, ...]` in the form in which a module takes it."""
    if kind == "turned":
        return x.transpose(0, 1)
    if kind == "folded":
        return x.flatten(0, 1)
    return x.transpose(0, 1).flatten(0, 1) if kind == "flat" else x


def memoryless(module: nn.Module) -> bool:
    """Return whether a module is known to treat every step alone: a weight, or one of torch without state."""
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)) or peer_of(module) is not None:
        return False
    torchs = type(module).__module__.startswith("torch.nn.modules") and not module._modules
    return torchs or isinstance(module, (*SYNAPSES, _BatchNorm))


def stages(parts: Sequence[Part], shape: tuple[int, ...], end: tuple[int, ...], resting: Resting) -> list[nn.Module]:
    """Return the stages of a model: its parts, and a change of shape where one lies between two of them.

    Args:
        parts: in order.
        shape: features of the input.
        end: features of the output.
        resting: see `Rested`.
    """
    found: list[nn.Module] = []
    lead = 1 if parts[0].form == "static" else 2
    for part in parts:
        found += reshaped(shape, part.before, lead)
        found.append(stage(part, resting))
        shape = part.after
    return found + reshaped(shape, end, lead)


def stage(part: Part, resting: Resting) -> nn.Module:
    """Return a part as a stage."""
    if not memoryless(part.module):
        return Rested(part, resting)
    return part.module if part.form in ("static", "whole") else Folded(part.module)


def reshaped(now: tuple[int, ...], wanted: tuple[int, ...], lead: int) -> list[nn.Module]:
    """Return the stage that changes the shape of features, in a list; an empty list if it is right already."""
    if now == wanted:
        return []
    return [nn.Flatten(lead) if len(wanted) == 1 else Viewed(lead, wanted)]


def traces(parts: Sequence[Part], calls: Sequence[Call], frame: Frame, names: dict[int, str]) -> tuple[Trace, ...]:
    """Return a trace of every weight among the parts: its input, its output, and the output of what follows it.

    Args:
        parts: of the model, in order.
        calls: of their modules in a pass, in order.
        frame: steps and samples of that pass.
        names: of the parameters, by identity.
    """
    found: list[Trace] = []
    for part in parts:
        own = [call for call in calls if call.module is part.module]
        used = own[part.use :: part.uses] if part.form == "stepped" else [own[part.use]]
        post = timed([call.given[part.pick or 0].tensor for call in used], part.shown, frame)
        if is_synapse(part.module):
            pre = timed([call.taken[0].tensor for call in used], part.form, frame)
            found.append(Trace(names[id(part.module.weight)], pre, post, post))
        elif found and not any(is_synapse(inside) for inside in part.module.modules()):
            found[-1] = found[-1]._replace(post=post)
    return tuple(found)


def timed(tensors: Sequence[Tensor], kind: str, frame: Frame) -> Tensor:
    """Return a signal as `[T, B, ...]`, with one step where the model has no time."""
    signal = arranged(tensors, kind, frame)
    return signal if frame.steps is not None else signal[None]


def require_equal(found: Sequence[nn.Module], x: Tensor, output: Tensor) -> None:
    """Raise Misfit if the stages in sequence differ from the model by more than rounding could explain.

    The tolerance, 1e-2 of the norm, leaves room for a spike that rounding moves.
    """
    signal = x
    for stage in found:
        signal = stage(signal)
    if signal.shape != output.shape or float((signal - output).norm()) > 1e-2 * float(output.norm()):
        raise Misfit(
            f"together they give {tuple(signal.shape)} and other numbers than the model, {tuple(output.shape)}"
        )
