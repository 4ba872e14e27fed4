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
        require_shape(getattr(moved, field), shape, f"{field} from the step of {name}")
    if moved.ended.dtype != torch.bool:
        raise ValueError(f"ended from the step of {name} is {moved.ended.dtype}: give torch.bool, True at the end")
    if not bool(moved.reward.isfinite().all()):
        raise ValueError(f"a reward from the step of {name} is NaN or infinite: give finite numbers, 0 for none")
    require_finite(moved.observation, f"the step of {name}")
    return moved._replace(observation=moved.observation.detach(), reward=moved.reward.detach())


def begun(environment: Environment, generator: torch.Generator) -> Tensor:
    """Return the first observation `[B, observations]`; raise ValueError for anything else."""
    seen, name = environment.reset(generator), type(environment).__name__
    require_shape(seen, (environment.copies, environment.observations), f"what the reset of {name} returns")
    require_finite(seen, f"the reset of {name}")
    return seen.detach()


def require_shape(found: object, shape: tuple[int, ...], what: str) -> None:
    """Raise ValueError for anything but a tensor of this shape."""
    if not isinstance(found, Tensor):
        raise ValueError(f"{what} is a {type(found).__name__}: give a tensor, torch.as_tensor(...), of shape {shape}")
    if tuple(found.shape) != shape:
        raise ValueError(f"{what} has shape {tuple(found.shape)}, and its copies make it {shape}")


def require_finite(observation: Tensor, where: str) -> None:
    """Raise ValueError for an observation that holds NaN or infinity, which would be no spike at all."""
    if not bool(observation.isfinite().all()):
        raise ValueError(f"an observation from {where} is NaN or infinite: give finite numbers, 0 for nothing seen")
