"""Environments that give rewards, and rules that learn in them. Imports the rules alone."""

from sandbox.environments.bandit import Bandit
from sandbox.environments.cart_pole import CartPole
from sandbox.environments.episodes import Episodes, learn, play
from sandbox.environments.gymnasium import Gymnasium
from sandbox.environments.protocol import Environment, Moved

__all__ = ["Bandit", "CartPole", "Environment", "Episodes", "Gymnasium", "Moved", "learn", "play"]
