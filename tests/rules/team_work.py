"""What the processes of a team do in tests: `python -m tests.rules.team_work RANK SIZE MEETING TASK OUT`."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn

import rules
from rules.objectives import REGULARISERS, Sum
from rules.plasticity import PLASTICITIES
from tests.conftest import ROOT

SIZES = (10, 7, 1)  # of batches: divided evenly, unevenly, and with nothing for the second process
STATISTICAL = ("binary_stochastic", "binary_stochastic_ideal")  # every process draws bits of its own
PAIRS = ("supcon_per_step",)  # which need two samples of a class


def model(name: str = "tanh", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if name in ("lif", "dendrites"):
        from sandbox.networks.build import build
        from sandbox.neurons import LIF, LeakyIntegrator, TwoCompartment

        top = LeakyIntegrator(tau_mem=5.0) if name == "lif" else TwoCompartment(reset="none")
        return build((6,), 3, [8], LIF(tau_mem=5.0), top, 1.0, seed).double()
    if name == "bits":
        return nn.Sequential(nn.Linear(6, 8), rules.StochasticBits(), nn.Linear(8, 3), rules.StochasticBits()).double()
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def batches(sizes=SIZES, scale: float = 1.0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [
        (
            torch.rand(4, size, 6, generator=rng, dtype=torch.float64) * scale,
            torch.randint(3, (size,), generator=rng),
        )
        for size in sizes
    ]


def trained(rule, team=None, net: str = "tanh", sizes=SIZES, **how):
    """Train for a batch of each size and return what became of it."""
    chosen = {} if team is None else {"team": team}
    trainer = rules.Trainer(model(net), rule, seed=3, **chosen, **how)
    if not trainer.rule.objective.teaches:
        trainer.fit_read_out(batches((12,)))
    infos = [trainer.step(batch) for batch in batches(sizes, scale=20.0 if net in ("lif", "dendrites") else 1.0)]
    return {
        "state": trainer.state_dict(),
        "weights": {name: p.detach().clone() for name, p in trainer.parameters.items()},
        "losses": [info.loss for info in infos],
        "samples": [info.samples for info in infos],
        "costs": [vars(info.cost) for info in infos],
        "accuracy": trainer.evaluate(batches((12,)))["accuracy"],
    }


OPTIONS = {
    "bptt_on_memristor": {"device": "noisy_soft_bounds"},
    "voltage_stdp": {"lr": 1e-9},  # inputs of 20 lift membranes far above the thresholds
    "microcircuit": {"tolerance": 1e-15, "steps": 9999},
    "equilibrium_propagation": {"tolerance": 1e-15, "steps": 9999},  # a share may rest a sweep before the whole
}


def recipe(name: str, team=None, net: str | None = None):
    chosen = net or ("bits" if name in STATISTICAL else "tanh")
    options = OPTIONS.get(name, {})
    sizes = SIZES[:2] if name in PAIRS else SIZES
    return trained(rules.make(name, **options), team, chosen, sizes)


def spiking_net(name: str) -> str:
    """Return the kind of spiking network that a rule is tried on."""
    return "dendrites" if "dendrites" in rules.make(name).needs else "lif"


def walk(team):
    return {name: recipe(name, team) for name in rules.RULES if not {"cells", "carry"} & rules.make(name).needs}


def spiking(team):
    chained = {name for name in rules.RULES if "chain" in rules.make(name).needs}
    kinds = {name: spiking_net(name) for name in rules.RULES if name not in {*STATISTICAL, *chained}}
    return {name: recipe(name, team, net) for name, net in kinds.items()}


def loop(team):
    """Everything that stands between the credit and the weights."""
    return trained("bptt", team, sizes=(10, 7, 6, 5), clip=0.05, accumulate=2, schedule=rules.Cosine(updates=2))


def penalty(team):
    """A penalty on rates, which are those of the whole batch."""
    return trained(rules.make("eprop", rate=1.0, target_rate=0.1), team, "lif")


def outcome(work, team):
    """Run it, and return what it returns, or its error."""
    try:
        return work(team)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


class Coupled(rules.OBJECTIVES["ce_mean"]):
    """A loss that compares samples."""

    def __call__(self, run, batch):
        return super().__call__(run, batch) + run.output.mean((0, 1)).square().sum()


class Breaking(nn.Module):
    """A model that does something wrong on one process, once it is told to."""

    def __init__(self, how, rank):
        super().__init__()
        self.inner, self.how, self.bad, self.armed = model(), how, rank == 1, False
        self.offers = frozenset({"gradient", "features"})

    def forward(self, x):
        y = self.inner(x)
        if self.bad and self.armed:
            if self.how == "raises":
                raise KeyError("gone")
            y = y * float("nan")
        return y


def broken(how, rule, team):
    """What is said of a step that goes wrong on one process, and whether it has changed weights."""
    trainer = rules.Trainer(Breaking(how, team.rank), rule, team=team, confirm=False, health=rules.Health(every=0))
    first, second = batches((10, 10))
    trainer.step(first)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.model.armed = True
    said = outcome(lambda _: trainer.step(second), team)
    return {"said": said, "unchanged": all(map(torch.equal, before, trainer.model.parameters()))}


def refusals(team):
    """What a team refuses, each in all processes; after each of them the team goes on."""
    norm = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double()
    x, y = batches((10,))[0]
    band = REGULARISERS["rate_band"]()
    banded = Sum((rules.OBJECTIVES["ce_mean"](), band))

    def step(net, rule="bptt", batch=None, **how):
        return lambda team: rules.Trainer(net, rule, team=team, **how).step((x, y) if batch is None else batch)

    tasks = {
        "batch norm": step(norm, batch=(x[0], y), confirm=False),
        "coupled": step(model(), rules.LearningRule(Coupled(), rules.BPTT(), PLASTICITIES["sgd"](lr=0.1))),
        "rate band": step(model(), rules.LearningRule(banded, rules.BPTT(), PLASTICITIES["sgd"](lr=0.1))),
        "lengths": step(model(), "tet", rules.Batch(x, y, lengths=torch.tensor([1] * 5 + [4] * 5))),
        "carry": step(model(), batch=rules.Batch(x, y, carry=torch.zeros(10))),
        "weights": step(model(seed=team.rank)),
        "batches": step(model(), batch=(x + team.rank, y), health=rules.Health(every=0)),
        "nan": lambda team: broken("nan", "bptt", team),
        "raises": lambda team: broken("raises", "bptt", team),
        "raises while exchanging": lambda team: broken("raises", "spsa", team),
        "raises while gathering": lambda team: broken("raises", "tcl", team),
        "fact": lambda team: team.require_same({"seed": str(team.rank)}),
    }
    found = {name: outcome(work, team) for name, work in tasks.items()}
    found["afterwards"] = trained("bptt", team)
    return found


def sent(team):
    """The bytes that one process sends in a step, for a small and a large model."""
    found = {}
    for name in ("spsa", "evolution_strategy", "forward_gradient", "node_perturbation", "bptt"):
        for hidden in (8, 80):
            net = nn.Sequential(nn.Linear(6, hidden), nn.Tanh(), nn.Linear(hidden, 3)).double()
            torch.manual_seed(0)
            for p in net.parameters():
                nn.init.uniform_(p, -0.3, 0.3)
            trainer = rules.Trainer(net, name, team=team, confirm=False)
            found[name, hidden] = trainer.step(batches((10,))[0]).cost.bytes_communicated
    return found


def one_pass(team):
    """The tasks of the fast tier, in one pair of processes."""
    found = {name: recipe(name, team) for name in ("bptt", "stcl", "spsa", "hzo", "bptt_on_memristor")}
    return {
        "recipes": found,
        "penalty": penalty(team),
        "loop": loop(team),
        "sent": sent(team),
        "refusals": refusals(team),
    }


def noisy(team):
    """Changes of weights by one batch at many seeds, by a rule that draws bits."""
    found = []
    chosen = {} if team is None else {"team": team}
    for seed in range(400):
        net = model("bits")
        before = net[0].weight.detach().clone()
        quiet = rules.Health(every=0)
        rules.Trainer(net, "binary_stochastic_ideal", seed=seed, confirm=False, health=quiet, **chosen).step(
            batches((8,))[0]
        )
        found.append(net[0].weight.detach() - before)
    return torch.stack(found)


def run_team(tmp_path: Path, task: str, size: int = 2, timeout: float = 300) -> list:
    """Run a function of this module in a team of processes; return what it returned in each."""
    command = [sys.executable, "-m", "tests.rules.team_work"]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(size), str(tmp_path / "meeting"), task, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        for rank in range(size)
    ]
    try:
        said = [process.communicate(timeout=timeout)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(process.returncode == 0 for process in running), said
    return [torch.load(tmp_path / f"{task}.{rank}", weights_only=True) for rank in range(size)]


if __name__ == "__main__":
    rank, size, meeting, task, out = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    torch.save(globals()[task](rules.Team()), f"{out}/{task}.{rank}")
    dist.barrier()  # nobody leaves while the other still talks
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # threads of gloo, still ending, sometimes abort an interpreter that ends as well
