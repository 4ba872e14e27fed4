"""A pole on a cart, to be kept upright."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sandbox.environments.protocol import Moved, require_actions

GRAVITY, CART, POLE, HALF, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02  # m/s^2, kg, kg, m, N, s
FAR, TILTED = 2.4, 12 * math.pi / 180  # m, rad
MOST = 500  # steps of an episode


class CartPole:
    """A pole that is hinged to a cart, which is pushed to the left (action 0) or to the right (1) in each step.

        m = CART + POLE,  q = (F + POLE HALF theta'^2 sin theta) / m
        theta'' = (GRAVITY sin theta - q cos theta) / (HALF (4/3 - POLE cos^2 theta / m))
        x''     = q - POLE HALF theta'' cos theta / m

    stepped by Euler's method with 20 ms. The observation is `(x, x', theta, theta')` in m, m/s, rad and rad/s. Each
    step gives a reward of 1. An episode ends where the cart is beyond 2.4 m, the pole beyond 12 degrees, or after 500
    steps. It begins with four uniform numbers within 0.05. There is no friction.

    Args:
        copies: B.

    Raises:
        ValueError: for no copies.

    >>> world = CartPole(copies=3)
    >>> world.reset(torch.Generator().manual_seed(0)).shape
    torch.Size([3, 4])

    Reference: Barto, Sutton & Anderson 1983 (doi 10.1109/TSMC.1983.6313077), without friction and with the bounds of
    CartPole-v1 of Gymnasium, beside which it is tested where that is installed.
    """

    observations = 4
    actions = 2

    def __init__(self, copies: int = 1) -> None:
        if copies < 1:
            raise ValueError(f"copies={copies}: give at least one copy")
        self.copies = copies
        self.state = torch.zeros(copies, 4, dtype=torch.float64)
        self._ended = torch.ones(copies, dtype=torch.bool)
        self._at = 0

    def reset(self, generator: torch.Generator) -> Tensor:
        """Begin near the upright position."""
        self.state = 0.1 * torch.rand(self.copies, 4, generator=generator, dtype=torch.float64) - 0.05
        self._ended, self._at = torch.zeros_like(self._ended), 0
        return self.state.float()

    def step(self, action: Tensor) -> Moved:
        """Push the cart of each copy; one that has ended stays where it is.

        Raises:
            ValueError: for actions that are none.
        """
        require_actions(action, self)
        x, v, theta, omega = self.state.unbind(1)
        sine, cosine, mass = torch.sin(theta), torch.cos(theta), CART + POLE
        q = (FORCE * (2.0 * action - 1.0) + POLE * HALF * omega.square() * sine) / mass
        turning = (GRAVITY * sine - cosine * q) / (HALF * (4 / 3 - POLE * cosine.square() / mass))
        pushed = q - POLE * HALF * turning * cosine / mass
        after = torch.stack([x + TAU * v, v + TAU * pushed, theta + TAU * omega, omega + TAU * turning], 1)
        self.state = torch.where(self._ended[:, None], self.state, after)
        reward = (~self._ended).float()
        self._at += 1
        out = (self.state[:, 0].abs() > FAR) | (self.state[:, 2].abs() > TILTED) | (self._at >= MOST)
        self._ended = self._ended | out
        return Moved(self.state.float(), reward, self._ended)
