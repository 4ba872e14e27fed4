"""The optimizer as a factor of every rule that ends in one: what is exchanged, what is kept, and what is refused."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

import rules
from rules import RULES, Trainer
from rules.plasticity import SGD, Adam, RMSprop
from rules.recipes.optimizers import MOMENTUM, OPTIMIZERS, RATES

OWN = {  # rules that take an optimizer, and the one that they have without it
    name: inspect.signature(maker).parameters["optimizer"].default
    for name, maker in RULES.items()
    if "optimizer" in inspect.signature(maker).parameters
}
PULSED = {"binary_stochastic", "binary_stochastic_ideal", "bptt_on_memristor"}  # devices are no optimizers
CHANGES = {"stdp", "triplet_stdp", "voltage_stdp", "bcpnn"}  # make the change itself, by SGD


def test_every_rule_but_those_on_devices_takes_an_optimizer():
    assert set(RULES) - set(OWN) == PULSED | CHANGES
    assert set(OWN.values()) == {"adam", "sgd"}


@pytest.mark.parametrize("name", OWN)
def test_the_own_optimizer_by_name_changes_nothing(name):
    one, two = rules.make(name, optimizer=OWN[name]), rules.make(name)
    assert (one.credit, one.plasticity, repr(one.objective)) == (two.credit, two.plasticity, repr(two.objective))
    assert type(rules.make(name).plasticity) is OPTIMIZERS[OWN[name]]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_objective_and_credit_stay(name, optimizer):
    options = {"momentum": 0.0} if name == "kolen_pollack" and optimizer == "sgd" else {}
    if name == "kolen_pollack" and optimizer == "rmsprop":
        return  # refused, below
    whole, made = rules.make(name), rules.make(name, optimizer=optimizer, **options)
    assert (repr(made.objective), made.credit, made.every) == (repr(whole.objective), whole.credit, None)
    assert type(made.plasticity) is OPTIMIZERS[optimizer]
    assert made.plasticity.lr == (whole.plasticity.lr if optimizer == OWN[name] else RATES[optimizer])


def test_rates_momentum_and_decay_go_over():
    assert rules.make("bptt", optimizer="sgd").plasticity == SGD(RATES["sgd"], MOMENTUM["sgd"])
    assert rules.make("tet", optimizer="sgd", lr=1, momentum=0.5, weight_decay=0.1).plasticity == SGD(1.0, 0.5, 0.1)
    assert rules.make("hzo", optimizer="adam", lr=0.02, momentum=0.0).plasticity == Adam(0.02)
    assert rules.make("hzo", optimizer="rmsprop").plasticity == RMSprop(RATES["rmsprop"])
    assert rules.make("spsa", optimizer="rmsprop", momentum=0.9).plasticity == RMSprop(RATES["rmsprop"], momentum=0.9)
    assert rules.make("eprop", optimizer="sgd", every=2).every == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hzo", {"optimizer": "adm"}, "unknown optimizer 'adm'; nearest: 'adam'; valid: adam, sgd, rmsprop"),
        ("hzo", {"optimizer": 1}, "options.optimizer=1: give text"),
        ("hzo", {"optimizer": "adam", "momentum": 0.5}, "momentum=0.5 with optimizer='adam', which keeps moments of"),
        ("bptt", {"momentum": 0.9}, "momentum=0.9 with optimizer='adam', which keeps moments of its own: leave"),
        ("bptt", {"optimizer": "sgd", "momentum": 1.0}, "momentum=1.0: give the share that is kept, from 0 to below 1"),
        ("kolen_pollack", {"optimizer": "sgd"}, "optimizer='sgd' with momentum=0.9: feedback that follows the weights"),
        ("kolen_pollack", {"optimizer": "rmsprop"}, "optimizer='rmsprop' .* use optimizer='adam', or 'sgd' with mom"),
        ("eprop", {"optimizer": "rmsprop", "signal": "adaptive"}, "optimizer='rmsprop' .* decays with them by a fixed"),
        ("binary_stochastic", {"optimizer": "adam"}, "unknown option of rule 'binary_stochastic' 'optimizer'"),
    ],
)
def test_what_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        rules.make(name, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0: give"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0: give"),
        ({"alpha": 1.0}, "alpha=1.0: give the share that is kept, from 0 to below 1"),
        ({"momentum": -0.1}, "momentum=-0.1: give the share that is kept, from 0 to below 1"),
    ],
)
def test_impossible_settings_of_rmsprop(options, message):
    with pytest.raises(ValueError, match=message):
        RMSprop(**options)


def test_rmsprop_is_its_equation():
    """Three steps by hand, in float64; torch's eps is 1e-8, added to the root."""
    w = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = RMSprop(lr=0.1, alpha=0.5, momentum=0.5, weight_decay=0.01)([w])
    wanted, v, b = w.detach().clone(), torch.zeros(2).double(), torch.zeros(2).double()
    for step in range(3):
        w.grad = torch.tensor([1.0, 3.0 - step], dtype=torch.float64)
        g = w.grad + 0.01 * wanted
        v = 0.5 * v + 0.5 * g**2
        b = 0.5 * b + g / (v.sqrt() + 1e-8)
        wanted = wanted - 0.1 * b
        optimizer.step()
    torch.testing.assert_close(w.detach(), wanted, rtol=1e-12, atol=0)


def data():
    rng = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 4, generator=rng), torch.arange(8) % 3) for _ in range(4)]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["bptt", "hzo", "spsa"])
def test_a_run_goes_on_from_its_state_to_the_same_bits(name, optimizer):
    whole, first, rest = (Trainer(network(), rules.make(name, optimizer=optimizer), seed=0) for _ in range(3))
    for batch in data():
        whole.step(batch)
    for batch in data()[:2]:
        first.step(batch)
    rest.load_state_dict(first.state_dict())
    for batch in data()[2:]:
        rest.step(batch)
    assert all(map(torch.equal, whole.model.parameters(), rest.model.parameters()))
    assert not torch.equal(next(network().parameters()), next(whole.model.parameters()))
