"""Every random draw follows the seed, each purpose with a stream of its own, and nothing else is disturbed."""

from __future__ import annotations

import copy
import io
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import rules
from rules import LearningRule, Trainer
from rules.check.claims import same
from rules.contract import Objective
from rules.credit.bptt import BPTT
from rules.objectives import OBJECTIVES
from rules.plasticity import SGD, Memristor
from rules.plasticity.memristor import DEVICES
from sandbox import NEURONS, build
from sandbox.networks.noisy import NoisyReadout

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")
X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3


class Augmented(TensorDataset):
    """Samples with noise from each global generator."""

    def __getitem__(self, row):
        x, y = super().__getitem__(row)
        return x + 0.1 * torch.randn(4) + 0.1 * np.random.rand() + 0.1 * random.random(), y


def dropping() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 3))


def loader(generator=None):
    return DataLoader(Augmented(X, Y), batch_size=6, shuffle=True, generator=generator)


def disturb(seed):
    """Put the caller's global generators somewhere."""
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)


def test_dropout_order_and_augmentation_follow_the_seed_of_the_trainer_alone():
    weights = []
    for outer in (1, 2):
        trainer = Trainer(dropping(), "bptt", seed=3)
        disturb(outer)
        for _ in trainer.fit(loader(), epochs=2):
            disturb(outer + 7)  # a caller who draws between the steps
        weights.append(copy.deepcopy(trainer.model.state_dict()))
    assert same(*weights)
    other = Trainer(dropping(), "bptt", seed=4)
    list(other.fit(loader(), epochs=2))
    assert not same(other.model.state_dict(), weights[0])


def test_the_callers_generators_are_left_alone():
    trainer = Trainer(dropping(), "bptt", seed=3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    list(trainer.fit(loader()))
    trainer.evaluate(loader())
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


@pytest.mark.parametrize("steps", [1, 3, 4, 6])  # in an epoch of four batches, at its end, and in the next
def test_a_shuffled_loader_resumes_in_the_middle_of_an_epoch(steps):
    whole, first, second = (Trainer(dropping(), "bptt", seed=3) for _ in range(3))
    list(whole.fit(loader(), epochs=2))
    parts = first.fit(loader(), epochs=2)
    for _ in range(steps):
        next(parts)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    list(second.fit(loader(), epochs=2 - second.epoch))
    assert same(whole.state_dict(), second.state_dict())


def test_a_generator_of_the_loader_is_repeated_and_put_back():
    def dice():
        return torch.Generator().manual_seed(9)

    whole, first, second = (Trainer(dropping(), "bptt", seed=3) for _ in range(3))
    generator = dice()
    before = generator.get_state()
    for _ in whole.fit(loader(generator), epochs=2):
        pass
    assert torch.equal(generator.get_state(), before)
    shared = loader(dice())
    parts = first.fit(shared, epochs=2)
    for _ in range(6):
        next(parts)
        first.evaluate(loader())  # with another loader in between
    state = first.state_dict()
    second.load_state_dict(state)
    list(second.fit(loader(dice()), epochs=2 - second.epoch))
    assert same(whole.model.state_dict(), second.model.state_dict())
    assert second.evaluate(shared) == second.evaluate(shared)
    others = [Trainer(dropping(), "bptt", seed=3) for _ in range(2)]
    for trainer, seed in zip(others, (9, 10), strict=True):
        list(trainer.fit(loader(torch.Generator().manual_seed(seed))))
    assert not same(others[0].model.state_dict(), others[1].model.state_dict())


def test_a_state_is_continued_with_its_own_seed():
    whole, other = Trainer(dropping(), "bptt", seed=3), Trainer(dropping(), "bptt", seed=99)
    list(whole.fit(loader()))
    other.load_state_dict(whole.state_dict())
    for trainer in (whole, other):
        list(trainer.fit(loader()))
    assert same(whole.state_dict(), other.state_dict())


class Failing(Objective):
    """Fails at a later step, after the forward pass."""

    needs = frozenset({"labels"})

    def __init__(self):
        self.calls = 0

    def __call__(self, run, batch):
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("no loss today")
        loss = F.cross_entropy(run.output.mean(0), batch.y)
        return loss * torch.nan if self.calls == 4 else loss


class Stubborn(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("no step today")


def test_a_step_that_raises_changes_nothing():
    trainer = Trainer(dropping(), LearningRule(Failing(), BPTT(), SGD(0.1)), seed=1)
    trainer.step((X, Y)), trainer.step((X, Y))
    before = trainer.state_dict()
    with pytest.raises(RuntimeError, match="no loss today"):
        trainer.step((X, Y))
    assert same(trainer.state_dict(), before)
    with pytest.raises(rules.NonFinite, match="the loss is nan"):
        trainer.step((X, Y))
    assert same(trainer.state_dict(), before)
    with pytest.raises(rules.NonFinite, match="the input holds nan"):
        trainer.step((X * torch.nan, Y))
    assert same(trainer.state_dict(), before)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trainer.step((X[:, :3], Y))
    assert same(trainer.state_dict(), before)
    trainer.optimizer = Stubborn(trainer.model.parameters(), lr=0.1)
    before = trainer.state_dict()
    with pytest.raises(RuntimeError, match="no step today"):
        trainer.step((X, Y))
    assert same(trainer.state_dict(), before)
    assert all(p.grad is None for p in trainer.model.parameters())


def test_a_step_that_stops_for_its_health_changes_nothing():
    health = rules.Health(every=1, stop=("never updated",))
    trainer = Trainer(dropping(), LearningRule(OBJECTIVES["ce_mean"](), BPTT(), SGD(0.0)), seed=1, health=health)
    trainer.step((X, Y))
    before = trainer.state_dict()
    with pytest.raises(rules.Unhealthy, match="never updated"):
        trainer.step((X, Y))
    assert same(trainer.state_dict(), before)


@pytest.mark.parametrize("rule", ["bptt", "tcl", "bptt_on_memristor", "hzo"])
def test_evaluations_and_looks_change_nothing(rule):
    net = build((4,), 3, hidden=(10,), neuron=NEURONS["stochastic_binary"]() if rule == "bptt" else None)
    batch = (X.expand(5, 24, 4), Y)
    one, other = (Trainer(copy.deepcopy(net), rule, seed=2, health=rules.Health(every=every)) for every in (0, 1))
    for _ in range(3):
        one.step(batch), other.step(batch)
        before = other.state_dict()
        assert other.evaluate([batch]) == other.evaluate([batch])
        assert same(other.state_dict(), before)
    assert same(one.model.state_dict(), other.model.state_dict())  # looked at once, and at every step


def test_frozen_parts_stay_frozen():
    """A part in evaluation mode stays there through evaluations and epochs; a model that is there learns."""
    model = dropping().train()
    model[3].eval()
    kept = model[3].running_mean.clone()
    trainer = Trainer(model, "bptt", seed=0)
    for _ in range(2):
        list(trainer.fit([(X, Y)]))
        trainer.evaluate([(X, Y)])
    assert [part.training for part in model] == [True, True, True, False, True]
    assert torch.equal(model[3].running_mean, kept)
    model.eval()
    list(trainer.fit([(X, Y)]))
    assert model.training


def test_a_rule_that_compares_passes_learns_in_the_modes_it_is_given():
    model = dropping().eval()
    list(Trainer(model, "hzo").fit([(X, Y)]))
    assert not any(part.training for part in model.modules())


# --- streams ---


def correlation(a, b):
    return abs(float(torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1]))


def constants(state, size):
    """What differs from cell to cell in the state of devices, except what they hold, `w`."""
    if isinstance(state, torch.Tensor):
        return list(state.reshape(-1, size)) if state.numel() % size == 0 else []
    parts = {name: part for name, part in state.items() if name != "w"} if isinstance(state, dict) else {}
    return [one for part in parts.values() for one in constants(part, size) if one.double().std() > 0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_devices_are_independent_of_the_initial_weights(device, seed):
    net = build((64,), 10, hidden=(30,), seed=seed)
    drawn = net.layers[0].synapse.weight.detach().clone()
    trainer = Trainer(net, LearningRule(OBJECTIVES["ce_mean"](), BPTT(), Memristor(device, "direct")), seed=seed)
    array = trainer.optimizer.state[net.layers[0].synapse.weight]["store"]
    bound = 4 / drawn.numel() ** 0.5  # four standard errors of a correlation of independent numbers
    for constant in constants(array, drawn.numel()):
        assert correlation(constant, drawn) < bound
    before = net.layers[0].synapse.weight.detach().clone()
    with trainer.reading(trainer.rng):
        noise = net.layers[0].synapse.weight.detach() - before
    if trainer.optimizer.device.cell_noise:
        assert correlation(noise, drawn) < bound


def test_no_two_generators_of_a_run_start_alike():
    for seed in range(20):
        rule = rules.make("bptt_on_memristor", device="gokmen_vlasov", store="direct")
        trainer = Trainer(build((4,), 3, hidden=(5,), seed=seed), rule, seed=seed)
        starts = [
            torch.Generator().manual_seed(seed).get_state(),  # of the initial weights
            trainer.rng.get_state(),
            torch.Generator().manual_seed(trainer.optimizer.seed).get_state(),
            trainer.globals.state_dict()["torch"],
            rules.seeds.seeded(seed, "evaluation").get_state(),
            rules.seeds.seeded(seed, "read noise", 0).get_state(),
        ]
        assert len({bytes(state.numpy()) for state in starts}) == len(starts)


def test_the_state_of_a_rule_follows_the_seed():
    class Feedback(BPTT):
        def init(self, model, rng):
            return torch.randn(3, generator=rng)

    states = [
        Trainer(dropping(), LearningRule(OBJECTIVES["ce_mean"](), Feedback(), SGD(0.1)), seed=s) for s in (0, 0, 1)
    ]
    assert torch.equal(states[0].state, states[1].state)
    assert not torch.equal(states[0].state, states[2].state)


def test_the_head_of_a_contrast_follows_the_seed_unless_it_has_one():
    batch, heads = (X.expand(3, 24, 4), Y), []
    for seed, own in ((0, None), (1, None), (0, 5), (1, 5)):
        trainer = Trainer(build((4,), 3, hidden=(10,)), rules.make("tcl", seed=own), seed=seed)
        trainer.begin(batch)
        heads.append(trainer.rule.objective.head.weight0.detach())
    assert not torch.equal(heads[0], heads[1])
    assert torch.equal(heads[2], heads[3])


# --- noise of units ---


class Half(nn.Module):
    """Two layers of units that fire with probability 1/2 whatever they see; the second shows whether both agree."""

    def __init__(self, units):
        super().__init__()
        self.units = nn.ModuleList(units)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        first, second = (unit(torch.zeros(10, len(x[0]), 200)) for unit in self.units)
        self.seen = first, second
        return (self.weight * second[..., :3]).mean(0)


def together(first, second):
    """P(s2 = 1 | s1 = 1)."""
    return float(second[first > 0].mean())


def test_layers_of_bits_draw_independent_numbers_in_evaluation_and_alone():
    model = Half([rules.StochasticBits(), rules.StochasticBits()])
    trainer = Trainer(model, "bptt", confirm=False)
    seen = []
    hook = partial(lambda module, inputs, output: seen.append(module.seen))
    model.register_forward_hook(hook)
    trainer.evaluate([(X[None], Y)])
    trainer.evaluate([(X[None], Y)])
    model(X[None])
    error = 5 * 0.5 / (10 * 24 * 200 / 2) ** 0.5  # five standard errors of a share of half of the units
    for first, second in seen:
        assert abs(together(first, second) - 0.5) < error
        assert abs(together(first[:-1], first[1:]) - 0.5) < error  # from step to step
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not torch.equal(seen[0][0], seen[2][0])


@pytest.mark.parametrize("name", ["stochastic_binary", "escape_lif"])
def test_layers_of_noisy_neurons_draw_independent_numbers_in_evaluation_and_alone(name):
    net = build((4,), 3, hidden=(200, 200), neuron=NEURONS[name]())
    with torch.no_grad():
        for layer in net.layers[:2]:
            layer.synapse.weight.zero_()
            layer.synapse.bias.fill_(float(layer.cells.neuron.rheobase) * (0.0 if name == "stochastic_binary" else 1.5))
    spikes = {}
    for n in (0, 1):
        net.layers[n].cells.register_forward_hook(lambda m, i, o, n=n: spikes.__setitem__(n, o[0].detach()))
    runs = [
        lambda: Trainer(net, "bptt", confirm=False).evaluate([(X.expand(20, 24, 4), Y)]),
        lambda: net(X.expand(20, 24, 4)),
    ]
    for run in runs:
        run()
        a, b = spikes[0].flatten(), spikes[1].flatten()
        assert 0.02 < float(a.mean()) < 0.98  # there is something to compare
        assert correlation(a, b) < 5 * (20 / a.numel()) ** 0.5  # at worst one independent number a cell in 20 steps


def test_an_evaluation_is_noisy_to_read_and_repeats():
    noisy = NoisyReadout(nn.Sequential(nn.Linear(4, 3)), 1.0)
    trainer = Trainer(noisy, "spsa", seed=0)
    exact = Trainer(noisy.inner, "spsa", seed=0).evaluate([(X, Y)])["loss"]
    assert trainer.evaluate([(X, Y)])["loss"] == trainer.evaluate([(X, Y)])["loss"] != exact


def test_what_gets_its_shape_from_the_first_batch_is_held_in_devices_too():
    """A projection head, and lazy layers of a model."""
    rule = rules.make("tcl")
    rule = LearningRule(rule.objective, rule.credit, Memristor("gokmen_vlasov", "direct", w_max=2.0))
    trainer = Trainer(build((4,), 3, hidden=(10,)), rule)
    trainer.step((X.expand(5, 24, 4), Y))
    assert {name for name in trainer.parameters if name.startswith("objective.")}
    assert all(p in trainer.optimizer.state for p in trainer.parameters.values())
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    weights = []
    for outer in (1, 2):
        disturb(outer)
        trainer = Trainer(copy.deepcopy(lazy), rules.make("bptt_on_memristor"), seed=4)
        trainer.step((X, Y))
        weights.append(trainer.model.state_dict())
    assert same(*weights)


def test_weights_that_a_pass_renormalises_are_put_back():
    net = nn.Sequential(nn.Embedding(10, 4, max_norm=0.5), nn.Linear(4, 3))
    tokens, labels = torch.arange(10).reshape(5, 2), torch.tensor([0, 1])
    trainer = Trainer(net, "bptt")
    before = copy.deepcopy(net.state_dict())
    trainer.evaluate([(tokens, labels)])
    trainer.begin((tokens, labels))
    assert same(net.state_dict(), before)
