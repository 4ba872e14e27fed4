"""Episodes of a network in an environment: it acts by its spikes, and learns from rewards that may come late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rules import Trainer
from rules.contract import Batch
from rules.credit.online import Online
from rules.credit.spike_timing import RewardSTDP
from rules.fields import check_fields
from rules.forward import run_model
from rules.optional import of_model
from rules.seeds import seeded
from sandbox.environments.protocol import Environment, admitted, begun


@dataclass(frozen=True)
class Episodes:
    """How a network sees and acts.

    Each observation lasts `steps` time steps, in which input i fires with probability `gain` times its value, from 0
    to 1; with `signed`, each value has two inputs, for what is above and what is below 0. With `population`, each of
    these is so many inputs that fire independently. The action is that of the output with the most spikes; ties are
    drawn. With probability `explore` it is drawn from all actions.

    An action that is drawn by `explore` is not in the spikes, and weights become eligible for what the network would
    have done. Where inputs fire independently and enter outputs by different weights, the network explores by its own
    noise, and weights become eligible for what it did.

    Args:
        number: of episodes, 100 by default.
        longest: actions in an episode, 500 by default.
        steps: time steps of each observation, 20 by default.
        gain: probability of an input spike in a step where a value is 1, 0.5 by default.
        signed: whether values have a sign, False by default.
        population: inputs for each value, or for each sign of it, 1 by default.
        explore: probability of an action drawn from all, while it learns, 0.1 by default.

    Raises:
        ValueError: for a number out of range.
    """

    number: int = 100
    longest: int = 500
    steps: int = 20
    gain: float = 0.5
    signed: bool = False
    population: int = 1
    explore: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("number", "longest", "steps", "population"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1")
        if not self.gain > 0:
            raise ValueError(f"gain={self.gain}: give a number above 0")
        if not 0 <= self.explore <= 1:
            raise ValueError(f"explore={self.explore}: give a probability, from 0 to 1")

    def encoded(self, observation: Tensor, rng: torch.Generator) -> Tensor:
        """Return an observation `[B, n]` as spikes `[steps, B, inputs]`: n, twice with signs, times the population.

        >>> Episodes(steps=5, signed=True).encoded(torch.zeros(2, 4), torch.Generator()).shape
        torch.Size([5, 2, 8])
        >>> Episodes(steps=5, population=3).encoded(torch.zeros(2, 4), torch.Generator()).shape
        torch.Size([5, 2, 12])
        """
        seen = torch.cat([observation, -observation], 1) if self.signed else observation
        chance = (self.gain * seen).clamp(0, 1).repeat_interleave(self.population, 1)
        return (torch.rand(self.steps, *chance.shape, generator=rng) < chance).float()


def acted(output: Tensor, explore: float, rng: torch.Generator) -> Tensor:
    """Return an action for each copy `[B]` from spikes `[T, B, actions]`: that with the most, ties drawn."""
    counts = output.detach().sum(0)
    best = (counts + 0.5 * torch.rand(counts.shape, generator=rng)).argmax(1)  # counts are whole numbers
    drawn = torch.randint(counts.shape[1], best.shape, generator=rng)
    return torch.where(torch.rand(best.shape, generator=rng) < explore, drawn, best)


def require_counts(output: Tensor) -> None:
    """Raise ValueError for outputs that are not whole numbers: the action is that with the most spikes."""
    if not torch.equal(output, output.round()):
        raise ValueError(
            "the last layer does not fire, and an action is that of the output with the most spikes: give it spiking "
            "cells, as in sandbox.build(..., readout=sandbox.LIF())"
        )


def play(environment: Environment, model: nn.Module, episodes: Episodes | None = None, *, seed: int = 0) -> Tensor:
    """Return the sum of rewards of each episode and copy, `[number, B]`, of a network that does not learn or explore.

    The same seed gives the same observations and draws, so that two networks are compared in pairs
    (`sandbox.statistics.paired`).

    Args:
        environment: the world.
        model: takes `[T, B, inputs]`, and has an output for each action.
        episodes: how many, and how it sees; `Episodes()` by default.
        seed: of the environment, the spikes and the ties.

    Raises:
        ValueError: for outputs that are not one for each action, and where a step breaks the protocol.

    >>> from sandbox import LIF, build
    >>> from sandbox.environments import Bandit
    >>> play(Bandit(copies=4), build((1,), 2, (), LIF(), LIF()), Episodes(number=3)).shape
    torch.Size([3, 4])
    """
    how = episodes or Episodes()
    with torch.no_grad():
        return _episodes(environment, model, how, None, seed)


def learn(environment: Environment, trainer: Trainer, episodes: Episodes | None = None, *, seed: int = 0) -> Tensor:
    """Let a trainer learn in an environment; return the sum of rewards of each episode and copy, `[number, B]`.

    A reward is told in the first time step after the action that it follows, and the rule's carry goes on through an
    episode, so that its eligibility spans actions. Each observation is one step of the trainer; at the end of its
    episode a copy waits for one more, without input, in which the last reward is told. From then on it is told nothing,
    and moves no weight, until all have ended. The network runs once to act and once to learn, from the same spikes.

    Args:
        environment: the world.
        trainer: with a rule of rewards that keeps a trace, such as "r_stdp".
        episodes: how many, and how it sees and explores; `Episodes()` by default.
        seed: of the environment, the spikes, the ties and exploration.

    Raises:
        ValueError: for a rule that learns from no rewards, or keeps no trace that could wait for one; and as `play`.
    """
    require_waiting(trainer)
    return _episodes(environment, trainer.model, episodes or Episodes(), trainer, seed)


def require_waiting(trainer: Trainer) -> None:
    """Raise ValueError for a rule that does not learn from rewards, or forgets what it did before one comes."""
    credit: Any = trainer.rule.credit
    name = type(credit).__name__
    if credit.continues not in ("traces", "state"):
        raise ValueError(
            f"{name} keeps no trace, and a reward comes after the action: when it is told, nothing is eligible. Use "
            'rules.make("r_stdp")'
        )
    if not (isinstance(credit, RewardSTDP) or (isinstance(credit, Online) and credit.signal == "reward")):
        raise ValueError(
            f"{name} cannot learn here: it takes no reward, or draws other spikes to learn than those that acted. Use "
            'rules.make("r_stdp") or rules.make("three_factor")'
        )


def _episodes(world: Environment, model: nn.Module, how: Episodes, trainer: Trainer | None, seed: int) -> Tensor:
    """Run all episodes, learning where there is a trainer."""
    outer, rng = seeded(seed, "environment"), seeded(seed, "acting")
    explore, returns = 0.0 if trainer is None else how.explore, []
    like = next((p.detach() for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    for _ in range(how.number):
        observation, carry = begun(world, outer), None
        told, alive = torch.zeros(world.copies), torch.ones(world.copies, dtype=torch.bool)
        total, heard = torch.zeros(world.copies), alive
        for _ in range(how.longest):
            x = how.encoded(observation, rng).to(like) * alive[:, None].to(like)  # copies that have ended wait
            run = run_model(model, Batch(x, carry=carry if trainer is None else of_model(carry)))
            if run.output.shape[2] != world.actions:
                raise ValueError(
                    f"the network has {run.output.shape[2]} outputs, and {type(world).__name__} has {world.actions} "
                    "actions: give it one output for each"
                )
            require_counts(run.output)
            carry = run.carry if trainer is None else _told(trainer, x, told, heard, carry)
            moved = admitted(world, world.step(acted(run.output, explore, rng)))
            heard, told = alive, torch.where(alive, moved.reward.float(), 0.0)
            total, alive = total + told, alive & ~moved.ended
            observation = moved.observation
            if not bool(alive.any()):
                break
        if trainer is not None:
            _told(trainer, torch.zeros_like(x), told, heard, carry)
        returns.append(total)
    return torch.stack(returns)


def _told(trainer: Trainer, x: Tensor, reward: Tensor, heard: Tensor, carry: Any) -> Any:
    """Learn from one observation and the reward before it, of the copies that hear of it `[B]`; return the carry."""
    targets = x.new_zeros(x.shape[:2])
    targets[0] = reward.to(x)
    lengths = None if bool(heard.all()) else (heard * len(x)).to(x.device)  # 0 for those that had ended before
    return trainer.step(Batch(x, targets=targets, carry=carry, lengths=lengths)).carry
