"""A cart-pole that R-STDP learns from rewards; writes results/cart_pole.json.

python experiments/cart_pole.py            # or `make evidence-cart-pole`; goes on where it was stopped

Two spiking cells, left and right, see the four numbers of `CartPole`, over their bounds and with signs, as populations
of ten inputs. The reward of an action is 1 where `|angle + speed|`, over their bounds, falls, and -1 where it rises.
Before and after 60 episodes of 16 copies, the network plays 16 episodes without learning, the same ones. The return is
the number of steps upright, at most 500. Settings were found with seed 100.
"""

from __future__ import annotations

from pathlib import Path

import torch
from provenance import continued, gap
from torch import Tensor

import rules
import sandbox
from sandbox.environments import CartPole, Episodes, Moved, learn, play
from sandbox.machine.files import write_json
from sandbox.neurons import LIF
from sandbox.statistics.intervals import interval

KEPT = Path(__file__).parent / "results" / "cart_pole.json"
SEEDS, POPULATION, EPISODES, COPIES = 3, 10, 60, 16
RULE = {"lr": 1e-4, "a_minus": 0.7, "tau_e": 5.0, "baseline": "none"}
BOUNDS = torch.tensor([2.4, 3.0, 0.21, 3.0])  # m, m/s, rad, rad/s


class Seen(CartPole):
    """A cart-pole whose numbers are shown over their bounds, and which may reward a fall of the tilt."""

    def __init__(self, copies: int, shaped: bool) -> None:
        super().__init__(copies)
        self.shaped = shaped

    def reset(self, generator: torch.Generator) -> Tensor:
        """Begin near the upright position."""
        return super().reset(generator) / BOUNDS

    def step(self, action: Tensor) -> Moved:
        """Push the cart."""
        before = self.tilt()
        moved = super().step(action)
        reward = moved.reward * torch.sign(before - self.tilt()) if self.shaped else moved.reward
        return Moved(moved.observation / BOUNDS, reward, moved.ended)

    def tilt(self) -> Tensor:
        """Return the size of angle and angular speed together, `[B]`."""
        return (self.state[:, 2:].float() / BOUNDS[2:]).sum(1).abs()


def returns(seed: int) -> dict[str, float]:
    """Return the mean steps upright before and after learning."""
    cell, rng = LIF(tau_mem=5.0), torch.Generator().manual_seed(seed)
    net = sandbox.build((8 * POPULATION,), 2, (), cell, cell, seed=seed)
    with torch.no_grad():
        weight = net.layers[0].synapse.weight
        weight.copy_((3 + torch.randn(weight.shape, generator=rng)) / POPULATION)
        net.layers[0].synapse.bias.zero_()
    how = {"steps": 10, "signed": True, "population": POPULATION, "gain": 2.0, "explore": 0.0}
    trainer = rules.Trainer(net, rules.make("r_stdp", **RULE), seed=seed, health=rules.Health(every=0))
    found = {}
    for name in ("before", "after"):
        if name == "after":
            learn(Seen(COPIES, True), trainer, Episodes(number=EPISODES, longest=40, **how), seed=seed)
        found[name] = round(float(play(Seen(8, False), net, Episodes(number=2, **how), seed=seed + 1000).mean()), 2)
    return found


def main() -> None:
    """Run what is missing, and write the record after each seed."""
    torch.set_num_threads(1)
    settings = {"seeds": SEEDS, "population": POPULATION, "episodes": EPISODES, "copies": COPIES, "rule": RULE}
    made = continued(KEPT, "python experiments/cart_pole.py", settings, "seeds")
    for seed in range(SEEDS):
        if str(seed) not in made["seeds"]:
            made["seeds"][str(seed)] = returns(seed)
            print(seed, made["seeds"][str(seed)], flush=True)
            write_json(KEPT, made)
    rows = [made["seeds"][str(seed)] for seed in range(SEEDS)]
    each = {name: [row[name] for row in rows] for name in ("before", "after")}
    means = {name: {k: round(v, 2) for k, v in interval(x)._asdict().items()} for name, x in each.items()}
    write_json(KEPT, {**made, "steps upright": means, "after - before": gap(each["after"], each["before"])})


if __name__ == "__main__":
    main()
