"""Environments: their equations, rewards that come late, and what they refuse."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch

import rules
import sandbox
from sandbox.environments import Bandit, CartPole, Environment, Episodes, Gymnasium, Moved, learn, play
from sandbox.neurons import LIF, LeakyIntegrator


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def net(inputs=1, outputs=2, seed=0):
    return sandbox.build((inputs,), outputs, (), LIF(tau_mem=5.0), LIF(tau_mem=5.0), seed=seed)


def trainer(model=None, rule="r_stdp"):
    return rules.Trainer(model or net(), rule, health=rules.Health(every=0))


def test_both_keep_the_protocol():
    assert isinstance(Bandit(), Environment)
    assert isinstance(CartPole(), Environment)
    assert sandbox.Environment is Environment


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_bandit_pays_after_its_delay_alone(delay):
    world = Bandit((1.0, 0.0), delay=delay, copies=2)
    assert world.reset(rng()).tolist() == [[1.0], [1.0]]
    moves = [world.step(torch.tensor([0, 1]))] + [world.step(torch.tensor([1, 0])) for _ in range(delay)]
    assert [move.reward.tolist() for move in moves] == [[0.0, 0.0]] * delay + [[1.0, -1.0]]
    assert [bool(move.ended.all()) for move in moves] == [False] * delay + [True]


def test_arms_pay_with_their_chances():
    """Of 20000 copies, within five standard errors."""
    world = Bandit((0.3, 0.8), delay=0, loss=0.0, copies=20000)
    for arm, chance in enumerate((0.3, 0.8)):
        world.reset(rng(arm))
        paid = float(world.step(torch.full((20000,), arm)).reward.mean())
        assert abs(paid - chance) < 5 * (chance * (1 - chance) / 20000) ** 0.5


def test_a_pole_falls_by_the_closed_form_of_small_angles():
    """Without a push theta grows as in the linear equations, whose matrix steps alike, up to the square of angles."""
    world = CartPole(copies=1)
    world.reset(rng())
    start = 1e-5 * torch.tensor([[0.0, 0.0, 1.0, 0.5]], dtype=torch.float64)
    ends = []
    for action in (0, 1):  # the mean of both pushes is no push, to first order
        world.state, state = start.clone(), start.clone()
        ends.append(world.step(torch.tensor([action])) and world.state.clone())
    mean = (ends[0] + ends[1]) / 2
    steep = 9.8 / (0.5 * (4 / 3 - 0.1 / 1.1))
    assert float(mean[0, 3]) == pytest.approx(float(state[0, 3] + 0.02 * steep * state[0, 2]), rel=1e-6)


def test_cart_pole_is_that_of_gymnasium():
    gymnasium = pytest.importorskip("gymnasium")
    theirs, ours = gymnasium.make("CartPole-v1"), CartPole()
    for seed in range(5):
        first, _ = theirs.reset(seed=seed)
        ours.reset(rng(seed))
        ours.state = torch.tensor(theirs.unwrapped.state, dtype=torch.float64)[None]
        assert torch.allclose(ours.state.float()[0], torch.tensor(first))
        for action in torch.randint(2, (600,), generator=rng(seed)).tolist():
            seen, reward, ended, cut, _ = theirs.step(action)
            moved = ours.step(torch.tensor([action]))
            assert torch.allclose(moved.observation[0], torch.tensor(seen), rtol=1e-6, atol=1e-7)
            assert float(moved.reward) == reward
            assert bool(moved.ended) == (ended or cut)
            if ended or cut:
                break


def test_environments_of_gymnasium_step_together():
    pytest.importorskip("gymnasium")
    world = Gymnasium("CartPole-v1", copies=3)
    assert isinstance(world, Environment)
    assert play(world, net(4), Episodes(number=2, longest=30)).shape == (2, 3)
    with pytest.raises(ValueError, match="Pendulum-v1 has observations .*: take one with a vector to see and a choice"):
        Gymnasium("Pendulum-v1")


def test_without_gymnasium_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match="environments of Gymnasium need it: pip install 'gymnasium>=1'"):
        Gymnasium("CartPole-v1")


def test_a_copy_that_has_ended_stays_and_gives_nothing():
    world = CartPole(copies=2)
    world.reset(rng())
    for _ in range(60):
        moved = world.step(torch.ones(2, dtype=torch.int64))
    assert bool(moved.ended.all())
    before = moved.observation
    assert torch.equal(world.step(torch.zeros(2, dtype=torch.int64)).observation, before)
    assert float(moved.reward.sum()) == 0


def test_the_same_seed_plays_the_same_and_changes_nothing():
    model = net(8)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    how = Episodes(number=2, signed=True)
    first, second = (play(CartPole(copies=3), model, how, seed=4) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, play(CartPole(copies=3), model, how, seed=5))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_reward_changes_weights_by_the_eligibility_of_the_choice():
    """A reward two actions later moves weights through the carry; without one nothing moves."""

    def moved(loss):
        model = net()
        with torch.no_grad():
            model.layers[0].synapse.weight.fill_(4.0)
        before = model.layers[0].synapse.weight.detach().clone()
        learn(Bandit((0.0, 0.0), delay=2, loss=loss, copies=4), trainer(model), Episodes(number=1))
        return float((model.layers[0].synapse.weight.detach() - before).abs().max())

    assert moved(-1.0) > 0
    assert moved(0.0) == 0


class Uneven(Bandit):
    """A bandit whose first copy ends at once, and the others three steps later."""

    def step(self, action):
        moved = super().step(action)
        return moved._replace(ended=torch.tensor([True, self._at > 3]))


class Seen(Uneven):
    """Such a bandit, which shows its first copy something else once that has ended."""

    def __init__(self, shown, **options):
        super().__init__(copies=2, **options)
        self.shown = shown

    def step(self, action):
        moved = super().step(action)
        return moved._replace(observation=torch.tensor([[self.shown], [1.0]]))


@pytest.mark.parametrize(("name", "options"), [("r_stdp", {}), ("r_stdp", {"baseline": "mean"}), ("three_factor", {})])
def test_a_copy_that_has_ended_moves_nothing(name, options):
    """The other copy learns; what the first one still sees and fires makes no difference, to the last bit."""

    def learnt(shown):
        model = net()
        with torch.no_grad():
            model.layers[0].synapse.weight.fill_(4.0)
        rule = rules.make(name, lr=0.1, **options)
        found = learn(Seen(shown, delay=2), rules.Trainer(model, rule), Episodes(number=3, explore=0.0))
        return found, model.layers[0].synapse.weight.detach().clone()

    (some, seen), (same, unseen) = learnt(1.0), learnt(0.0)
    assert float((seen - 4.0).abs().max()) > 0
    assert torch.equal(some, same)
    assert torch.equal(seen, unseen)


def test_a_copy_that_has_ended_is_no_part_of_what_was_usual():
    """The running mean is that of the steps of copies that are told something."""
    trainer_ = rules.Trainer(net(), rules.make("r_stdp", baseline="mean", memory=0.0))
    x = torch.ones(4, 2, 1)
    carry = trainer_.step(rules.Batch(x, targets=torch.zeros(4, 2))).carry
    trainer_.step(rules.Batch(x, targets=torch.ones(4, 2), carry=carry, lengths=torch.tensor([0, 4])))
    assert float(trainer_.state["sum"]) == 1.0


def test_a_population_fires_independently_with_the_chance_of_its_value():
    """Of 20000 steps, within five standard errors: rates, and no covariance within a population."""
    how = Episodes(steps=20000, gain=0.5, population=3)
    x = how.encoded(torch.tensor([[0.4, 1.0]]), rng())[:, 0]
    chance = torch.tensor([0.2] * 3 + [0.5] * 3)
    assert bool(((x.mean(0) - chance).abs() < 5 * (chance * (1 - chance) / 20000).sqrt()).all())
    sizes = (chance * (1 - chance)).sqrt()
    together = (x - chance).T @ (x - chance) / 20000 / sizes / sizes[:, None] - torch.eye(6)
    assert float(together.fill_diagonal_(0).abs().max()) < 5 / 20000**0.5


class Odd(Bandit):
    """A bandit that breaks the protocol."""

    def __init__(self, reward):
        super().__init__(copies=2)
        self.given = reward

    def step(self, action):
        return Moved(torch.zeros(2, 1), self.given, torch.ones(2, dtype=torch.bool))


def test_what_breaks_the_protocol_is_refused():
    with pytest.raises(
        ValueError, match=r"reward from the step of Odd has shape \(3,\), and its copies make it \(2,\)"
    ):
        play(Odd(torch.zeros(3)), net())
    with pytest.raises(ValueError, match="a reward from the step of Odd is NaN or infinite: give finite numbers"):
        play(Odd(torch.tensor([0.0, float("nan")])), net())
    with pytest.raises(ValueError, match="the network has 3 outputs, and Bandit has 2 actions: give it one output for"):
        play(Bandit(), net(outputs=3))
    world = Bandit()
    with pytest.raises(RuntimeError, match="this Bandit has not begun: world.reset"):
        world.step(torch.tensor([0]))
    world.reset(rng())
    with pytest.raises(ValueError, match="actions lie between 2 and 2, and Bandit has 2: give numbers from 0 to 1"):
        world.step(torch.tensor([2]))
    with pytest.raises(ValueError, match=r"actions are torch.float32 \(1,\), and 1 copies take one whole number each"):
        world.step(torch.tensor([0.0]))


def test_rules_that_cannot_wait_for_a_reward_are_refused():
    with pytest.raises(ValueError, match="SPSA keeps no trace, and a reward comes after the action: when it is told"):
        learn(Bandit(), trainer(rule="spsa"))
    with pytest.raises(ValueError, match="STDP cannot learn here: it takes no reward"):
        learn(Bandit(), trainer(rule="stdp"))
    with pytest.raises(ValueError, match="EscapeNoise cannot learn here: .* or draws other spikes to learn than"):
        learn(Bandit(), trainer(rule="escape_noise"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Bandit((0.5,)), r"chances=\(0.5,\): give the chance of each of two or more arms, from 0 to 1"),
        (lambda: Bandit(delay=-1), "delay=-1, copies=1: give a delay of at least 0 steps and at least one copy"),
        (lambda: CartPole(0), "copies=0: give at least one copy"),
        (lambda: Gymnasium("CartPole-v1", 0), "copies=0: give at least one copy"),
        (lambda: Episodes(number=0), "number=0: give at least 1"),
        (lambda: Episodes(population=0), "population=0: give at least 1"),
        (lambda: Episodes(gain=0.0), "gain=0.0: give a number above 0"),
        (lambda: Episodes(explore=2.0), "explore=2.0: give a probability, from 0 to 1"),
    ],
)
def test_bad_options_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_step_that_returns_a_plain_tuple():
    class Loose(Bandit):
        def step(self, action):
            return tuple(super().step(action))

    with pytest.raises(ValueError, match="the step of Loose returned a tuple: return sandbox.environments.Moved"):
        play(Loose(copies=2), net(), Episodes(number=1))


class Broken(Bandit):
    """A bandit whose step, or reset, is changed."""

    def __init__(self, change=None, first=None):
        super().__init__(copies=2)
        self.change, self.first = change or {}, first

    def reset(self, generator):
        seen = super().reset(generator)
        return seen if self.first is None else self.first

    def step(self, action):
        return super().step(action)._replace(**self.change)


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (Broken({"ended": torch.zeros(2)}), "ended from the step of Broken is torch.float32: give torch.bool"),
        (Broken({"ended": torch.zeros(2, dtype=torch.int64)}), "ended from the step of Broken is torch.int64"),
        (
            Broken({"reward": [0.0, 0.0]}),
            r"reward from the step of Broken is a list: give a tensor, .* of shape \(2,\)",
        ),
        (Broken({"observation": torch.full((2, 1), torch.nan)}), "an observation from the step of Broken is NaN"),
        (
            Broken(first=torch.ones(2)),
            r"what the reset of Broken returns has shape \(2,\), and its copies make it \(2, 1",
        ),
        (Broken(first=torch.full((2, 1), torch.inf)), "an observation from the reset of Broken is NaN or infinite"),
    ],
)
def test_what_breaks_the_protocol_is_named(world, said):
    with pytest.raises(ValueError, match=said):
        play(world, net(), Episodes(number=1))


def test_before_the_first_reward_no_credit_is_no_illness():
    looking = rules.Trainer(net(), rules.make("r_stdp"), health=rules.Health(every=1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        learn(Bandit((0.0, 0.0), copies=2, delay=2, loss=0.0), looking, Episodes(number=1, steps=5))
    assert not [each for each in said if "without credit" in str(each.message)]


def test_outputs_that_are_not_spikes_are_refused():
    model = sandbox.build((1,), 2, (), LIF(), LeakyIntegrator())
    with pytest.raises(ValueError, match="the last layer does not fire, and an action is that of the output with the"):
        play(Bandit(copies=2), model, Episodes(number=1))


def test_networks_of_double_precision_act_and_learn():
    model = net().double()
    assert play(Bandit(copies=2), model, Episodes(number=1)).shape == (1, 2)
    assert learn(Bandit(copies=2), trainer(model), Episodes(number=1)).shape == (1, 2)


def test_health_is_looked_at_within_an_episode():
    """The network is shown with its own carry, without the traces of the rule."""
    looking = rules.Trainer(net(), rules.make("r_stdp"), health=rules.Health(every=2))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        learn(Bandit(copies=2, delay=2), looking, Episodes(number=2, steps=5))
    assert not [each for each in said if "not checked" in str(each.message)]
