"""A bandit that pays late."""

from __future__ import annotations

import torch
from torch import Tensor

from sandbox.environments.protocol import Moved, require_actions


class Bandit:
    """One choice between arms, whose reward comes some steps later.

    The first observation is 1, and asks for a choice. Those after it are 0, and actions have no effect. After `delay`
    further steps the arm chosen pays 1 with its chance, or `loss`, and the episode ends.

    Args:
        chances: of each arm to pay.
        delay: steps between the choice and the reward; 0 pays at once.
        loss: the reward of an arm that does not pay, -1 by default.
        copies: B.

    Raises:
        ValueError: for fewer than two arms, a chance that is none, a negative delay, or no copies.

    >>> world = Bandit((1.0, 0.0), delay=1, copies=1)
    >>> _ = world.reset(torch.Generator().manual_seed(0))
    >>> [float(world.step(torch.tensor([0])).reward) for _ in range(2)]
    [0.0, 1.0]
    """

    observations = 1

    def __init__(
        self, chances: tuple[float, ...] = (0.9, 0.1), delay: int = 2, loss: float = -1.0, copies: int = 1
    ) -> None:
        if len(chances) < 2 or not all(0 <= chance <= 1 for chance in chances):
            raise ValueError(f"chances={chances}: give the chance of each of two or more arms, from 0 to 1")
        if delay < 0 or copies < 1:
            raise ValueError(f"delay={delay}, copies={copies}: give a delay of at least 0 steps and at least one copy")
        self.chances, self.delay, self.loss, self.copies = chances, delay, loss, copies
        self.actions = len(chances)
        self._generator: torch.Generator | None = None
        self._at, self._pay = 0, torch.zeros(copies)

    def reset(self, generator: torch.Generator) -> Tensor:
        """Ask for a choice, `[B, 1]`; what arms pay is drawn from the generator."""
        self._generator, self._at = generator, 0
        return torch.ones(self.copies, 1)

    def step(self, action: Tensor) -> Moved:
        """Take a choice, or wait.

        Raises:
            ValueError: for actions that are none.
            RuntimeError: before the first reset.
        """
        require_actions(action, self)
        if self._generator is None:
            raise RuntimeError("this Bandit has not begun: world.reset(torch.Generator().manual_seed(0))")
        if self._at == 0:
            chance = torch.tensor(self.chances)[action]
            paid = torch.rand(self.copies, generator=self._generator) < chance
            self._pay = torch.where(paid, 1.0, self.loss)
        now, last = self._at, self.delay
        self._at += 1
        reward = self._pay if now == last else torch.zeros(self.copies)
        return Moved(torch.zeros(self.copies, 1), reward, torch.full((self.copies,), now >= last))
