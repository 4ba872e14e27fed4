"""What an environment is: several copies of a world that answer actions with observations and rewards."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Moved(NamedTuple):
    """What a step did to each copy."""

    observation: Tensor  # [B, observations]
    reward: Tensor  # [B]
    ended: Tensor  # [B] bool; a copy that has ended stays so until the next reset, and gives no reward


@runtime_checkable
class Environment(Protocol):
    """B copies of a world, stepped together; between two calls it keeps where they are."""

    copies: int  # B
    observations: int  # numbers that a copy shows
    actions: int  # from 0 to actions - 1

    def reset(self, generator: torch.Generator) -> Tensor:
        """Begin anew, with draws from a generator; return the first observation `[B, observations]`."""
        ...

    def step(self, action: Tensor) -> Moved:
        """Take an action `[B]`, whole numbers."""
        ...


def require_actions(action: Tensor, environment: Environment) -> None:
    """Raise ValueError for actions of another number of copies, with fractions, or out of range."""
    whole = not (action.is_floating_point() or action.is_complex() or action.dtype == torch.bool)
    if tuple(action.shape) != (environment.copies,) or not whole:
        raise ValueError(
            f"actions are {action.dtype} {tuple(action.shape)}, and {environment.copies} copies take one whole number "
            f"each: torch.int64 ({environment.copies},)"
        )
    if len(action) and not 0 <= int(action.min()) <= int(action.max()) < environment.actions:
        raise ValueError(
            f"actions lie between {int(action.min())} and {int(action.max())}, and {type(environment).__name__} has "
            f"{environment.actions}: give numbers from 0 to {environment.actions - 1}"
        )


def admitted(environment: Environment, moved: Moved) -> Moved:
    """Return what a step did; raise ValueError for anything but the protocol's, and rewards that are not finite.

    >>> from sandbox.environments import Bandit
    >>> world = Bandit(copies=2)
    >>> admitted(world, Moved(torch.zeros(2, 1), torch.zeros(2), torch.zeros(2, dtype=torch.bool))).reward
    tensor([0., 0.])
    """
    name, copies = type(environment).__name__, environment.copies
    wanted = {"observation": (copies, environment.observations), "reward": (copies,), "ended": (copies,)}
    if not isinstance(moved, Moved):
        raise ValueError(
            f"the step of {name} returned a {type(moved).__name__}: return sandbox.environments.Moved(observation, "
            "reward, ended), tensors of its copies"
        )
    for field, shape in wanted.items():
        found = tuple(getattr(moved, field).shape)
        if found != shape:
            raise ValueError(f"{field} from the step of {name} has shape {found}, and its copies make it {shape}")
    if not bool(moved.reward.isfinite().all()):
        raise ValueError(f"a reward from the step of {name} is NaN or infinite: give finite numbers, 0 for none")
    return moved
