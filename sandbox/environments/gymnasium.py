"""Environments of Gymnasium, as copies that step together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sandbox.environments.protocol import Moved, require_actions


class Gymnasium:
    """Copies of an environment of Gymnasium, with numbers to see and a choice of actions; the extra `gymnasium`.

    Args:
        name: as in `gymnasium.make`, such as "CartPole-v1".
        copies: B.
        options: of `gymnasium.make`.

    Raises:
        ImportError: without Gymnasium.
        ValueError: for no copies, and for an environment without a choice of actions or a vector to see.
    """

    def __init__(self, name: str, copies: int = 1, **options: Any) -> None:
        if copies < 1:
            raise ValueError(f"copies={copies}: give at least one copy")
        try:
            import gymnasium
        except ImportError as error:
            raise ImportError(
                "environments of Gymnasium need it: pip install 'gymnasium>=1', or use sandbox.environments.CartPole"
            ) from error
        self.worlds = [gymnasium.make(name, **options) for _ in range(copies)]
        seen, choice = self.worlds[0].observation_space, self.worlds[0].action_space
        if not hasattr(choice, "n") or len(seen.shape or ()) != 1:
            raise ValueError(
                f"{name} has observations {seen} and actions {choice}: take one with a vector to see and a choice of "
                "actions (Box of one axis, Discrete), such as CartPole-v1"
            )
        self.copies, self.observations, self.actions = copies, int(seen.shape[0]), int(choice.n)
        self._seen = torch.zeros(copies, self.observations)
        self._ended = torch.ones(copies, dtype=torch.bool)

    def reset(self, generator: torch.Generator) -> Tensor:
        """Begin anew, each copy with a seed drawn from the generator."""
        seeds = torch.randint(2**31, (self.copies,), generator=generator).tolist()
        rows = [world.reset(seed=seed)[0] for world, seed in zip(self.worlds, seeds, strict=True)]
        self._seen = torch.stack([torch.as_tensor(row, dtype=torch.float32) for row in rows])
        self._ended = torch.zeros_like(self._ended)
        return self._seen.clone()

    def step(self, action: Tensor) -> Moved:
        """Take an action in each copy that has not ended.

        Raises:
            ValueError: for actions that are none.
        """
        require_actions(action, self)
        reward = torch.zeros(self.copies)
        for number, (world, chosen) in enumerate(zip(self.worlds, action.tolist(), strict=True)):
            if not self._ended[number]:
                seen, gain, ended, cut, _ = world.step(chosen)
                self._seen[number] = torch.as_tensor(seen, dtype=torch.float32)
                reward[number], self._ended[number] = float(gain), bool(ended or cut)
        return Moved(self._seen.clone(), reward, self._ended.clone())
