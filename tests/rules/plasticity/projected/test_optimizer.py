"""The optimizer: latent weights move as by the inner one, the model holds their projection, states resume exactly."""

from __future__ import annotations

import copy
import io
import pickle
import re
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import rules
from rules.plasticity import SGD, Adam, Levels, Magnitude, Memristor, Sign, SoftThreshold
from rules.plasticity.projected import Projected, ProjectedOptimizer
from rules.synapses import weights_in_order
from tests.rules.plasticity.projected.small import FOUR, PLAIN, batches, net, stepped, trainer, weight

EACH = pytest.mark.parametrize("name", FOUR)


@dataclass(frozen=True)
class Same(Projected):
    """Shows the latent weights themselves."""

    def show(self, latent, memory, out=None):
        return latent.clone() if out is None else out.copy_(latent)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def alike(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("inner", [Adam(0.01), SGD(0.1, momentum=0.9, weight_decay=0.01), Memristor(lr=0.1, seed=1)])
def test_without_a_projection_it_is_the_inner_optimizer_to_the_bit(inner):
    mine, other = net(), net()
    ours, theirs = trainer(Same(inner=inner), model=mine), trainer(inner, model=other)
    for batch in batches(8):
        ours.step(batch)
        theirs.step(batch)
    assert alike(weights(mine), weights(other))


def test_a_step_is_gradient_at_the_shown_weights_then_mask_then_inner_then_projection():
    p = nn.Parameter(torch.tensor([[1.5, -0.2], [0.4, 0.1]]))
    optimizer = Sign("inside", inner=PLAIN)([p])
    assert torch.equal(p, torch.tensor([[0.85, -0.85], [0.25, 0.25]]))  # the first projection, at construction
    p.square().sum().backward()
    assert torch.equal(p.grad, 2 * p)  # the credit differentiates what the model holds
    before = p.grad.clone()
    optimizer.step()
    latent = torch.tensor([[1.5, -0.2 + 0.17], [0.4 - 0.05, 0.1 - 0.05]])  # 1.5 is beyond 1: its gradient is masked
    assert torch.allclose(optimizer.held(p), latent)
    alpha = latent.abs().mean(1, keepdim=True)
    assert torch.allclose(p, alpha * latent.sign())
    assert torch.equal(p.grad, before)  # and the gradient is handed back as it was


@EACH
def test_parameters_always_hold_the_projection_of_the_latent_weights(name):
    made = trainer(FOUR[name])
    for batch in batches(12):
        made.step(batch)
        for p in made.parameters.values():
            assert torch.equal(p, made.optimizer.shown(p))
    moved = [p for p in made.parameters.values() if p in made.optimizer.state]
    assert moved
    assert not any(torch.equal(p, made.optimizer.held(p)) for p in moved)
    assert all(p.ndim >= 2 for p in moved)


@EACH
def test_a_trainer_resumes_in_the_middle_to_the_bit_from_a_file(name):
    whole, first, second = (trainer(FOUR[name], schedule=rules.Cosine(20), accumulate=2) for _ in range(3))
    items = list(batches(16))
    for batch in items:
        whole.step(batch)
    for batch in items[:9]:  # in the middle of an update, and of the pruning
        first.step(batch)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert alike(weights(first.model), weights(second.model))
    for batch in items[9:]:
        second.step(batch)
    assert alike(weights(whole.model), weights(second.model))
    for a, b in zip(whole.parameters.values(), second.parameters.values(), strict=True):
        assert torch.equal(whole.optimizer.held(a), second.optimizer.held(b))


@EACH
def test_a_state_in_float64_is_restored_to_the_bit_and_stays_as_it_was(name):
    model = net().double()
    optimizer = FOUR[name](model.parameters())
    before = copy.deepcopy(optimizer.state_dict())
    again = FOUR[name](net(seed=1).double().parameters())
    again.load_state_dict(before)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for i, state in again.state_dict()["state"].items():
        assert torch.equal(state["latent"], before["state"][i]["latent"])
        assert state["latent"].dtype == torch.float64


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@EACH
def test_copies_and_pickles_go_on(name, copied):
    model = net()
    optimizer = FOUR[name](model.parameters())
    again = copied(optimizer)
    assert again.param_groups is again.inner.param_groups
    for each in (optimizer, again):
        for group in each.param_groups:
            for p in group["params"]:
                p.grad = torch.full_like(p, 0.3)
        each.step()
    for a, b in zip(optimizer.param_groups[0]["params"], again.param_groups[0]["params"], strict=True):
        assert torch.equal(a, b)
        assert a is not b


@EACH
def test_a_schedule_reaches_the_inner_optimizer(name):
    made = trainer(FOUR[name], schedule=rules.Cosine(4))
    rates = []
    for batch in batches(4):
        made.step(batch)
        rates.append(made.optimizer.inner.param_groups[0]["lr"])
    start = FOUR[name].lr
    assert rates == pytest.approx([start * rules.Cosine(4).factor(n) for n in range(4)])
    made.load_state_dict(made.state_dict())  # torch makes new groups here
    made.optimizer.param_groups[0]["lr"] = 0.125
    assert made.optimizer.inner.param_groups[0]["lr"] == 0.125


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")  # of gains and step sizes, for a model of 300 weights
@pytest.mark.parametrize("rule", ["bptt", "hzo", "spsa", "fa"])
@EACH
def test_every_kind_of_credit_trains_through_it(name, rule):
    """Gradient, zero-order and feedback rules see the shown weights without knowing."""
    projected = replace(FOUR[name], ends=True, inner=rules.make(rule).plasticity, lr=None)
    made = trainer(projected, rule)
    before = made.evaluate(batches(4, seed=9))["loss"]
    for batch in batches(60):
        made.step(batch)
    assert made.evaluate(batches(4, seed=9))["loss"] < 0.8 * before


def test_an_inner_step_that_raises_changes_no_weight_and_no_gradient():
    p = weight(4, 4)
    optimizer = Sign(inner=Memristor(seed=0))([p])
    before, storage = p.detach().clone(), p.data_ptr()
    gradient = torch.full((4, 4), torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        stepped(optimizer, p, gradient)
    assert torch.equal(p, before)
    assert p.data_ptr() == storage
    assert p.grad is gradient


def test_one_projection_can_move_another():
    p = weight(8, 8)
    optimizer = Magnitude(0.5, inner=Levels(bits=2, lr=0.01))([p])
    stepped(optimizer, p, torch.ones(8, 8))
    assert len(p.unique()) <= 4 * 8 + 1
    assert int((p == 0).sum()) == 32


def test_devices_are_read_before_they_are_projected():
    p = weight(20, 20)
    layer = nn.Linear(20, 20, bias=False)
    layer.weight = p
    optimizer = Sign(inner=Memristor("reram_es", seed=0, device_options={"cell_noise": 0.1}))([p])
    shown = p.detach().clone()
    with optimizer.reading(layer, torch.Generator().manual_seed(0)):
        assert all(len(row.unique()) == 2 for row in p.detach())
        assert not torch.equal(p, shown)
    assert torch.equal(p, shown)


def test_devices_follow_the_seed_of_the_trainer():
    made = trainer(Sign(inner="memristor"))
    assert made.optimizer.inner.seed != 0


def test_weights_on_devices_are_paid_for():
    made = trainer(Sign(inner={"name": "memristor", "options": {"lr": 5.0, "store": "direct"}}))
    assert sum(made.step(batch).cost.pulses for batch in batches(3)) > 0


def test_a_group_added_later_is_projected():
    first, second, bias = weight(3, 3), weight(5, 5, seed=1), nn.Parameter(torch.ones(2))
    optimizer = Sign(lr=0.5)([first])
    optimizer.add_param_group({"params": [second, bias], "lr": 0.25})
    assert [group["lr"] for group in optimizer.inner.param_groups] == [0.5, 0.25]
    assert all(len(row.abs().unique()) == 1 for row in second.detach())
    assert torch.equal(bias, torch.ones(2))


def test_a_closure_sees_the_shown_weights():
    p = weight(3, 3)
    optimizer = Sign(inner=PLAIN)([p])
    seen = []

    def closure():
        seen.append(p.detach().clone())
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    assert len(seen[0].abs().unique()) == 3


def test_a_state_of_another_projection_or_of_other_weights_is_refused():
    optimizer = Sign()([weight(3, 3)])
    with pytest.raises(ValueError, match="the state is of Levels, and this is Sign"):
        optimizer.load_state_dict(Levels()([weight(3, 3)]).state_dict())
    with pytest.raises(ValueError, match="the state is of another optimizer"):
        optimizer.load_state_dict(torch.optim.SGD([weight(3, 3)], 0.1).state_dict())
    with pytest.raises(ValueError, match=re.escape("shapes: {0: (2, 2)}; this optimizer: {0: (3, 3)}")):
        optimizer.load_state_dict(Sign()([weight(2, 2)]).state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner": "sdg"}, "unknown inner plasticity 'sdg'; nearest: 'sgd'"),
        ({"inner": {"name": "sgd", "options": {"mu": 1}}}, "unknown option of plasticity 'sgd' 'mu'"),
        ({"inner": {"nmae": "sgd"}}, "unknown key of inner 'nmae'; nearest: 'name'"),
        ({"inner": SGD}, "inner=SGD is a class: give an object of it, inner=SGD()"),
        ({"inner": torch.optim.SGD}, "inner=SGD is a class"),
        ({"inner": lambda ps: torch.optim.SGD(ps, 0.1), "lr": 0.1}, "which has no field lr"),
        ({"lr": -1.0}, "lr=-1.0: give a number of at least 0"),
        ({"keep": "head"}, "keep='head': give a list of text"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Sign(**options)


def test_the_rate_goes_on_to_the_inner_plasticity_whatever_names_it():
    for inner in ("sgd", {"name": "sgd", "options": {"momentum": 0.5}}, SGD(1.0), None):
        assert Levels(inner=inner, lr=0.03)([weight(2, 2)]).inner.param_groups[0]["lr"] == 0.03
    assert rules.compose("ce_mean", "bptt", "levels", plasticity_options={"lr": 0.03}).plasticity.recipe().lr == 0.03
    assert isinstance(SoftThreshold().recipe(), SGD)
    assert isinstance(Levels().recipe(), Adam)
    assert isinstance(Levels()([weight(2, 2)]), ProjectedOptimizer)


@EACH
def test_weights_loaded_before_the_first_update_are_those_that_learn(name):
    """As if the trainer had been made of the loaded model: to the bit."""
    late, early, other = net(), net(seed=5), net(seed=5)
    ours, theirs = trainer(FOUR[name], model=late), trainer(FOUR[name], model=early)
    late.load_state_dict(other.state_dict())
    for batch in batches(4):
        ours.step(batch)
        theirs.step(batch)
    assert alike(weights(late), weights(early))


def test_weights_written_through_data_are_noticed_and_evaluated_as_they_are_shown():
    model = net()
    made = trainer(Levels(bits=1), model=model)
    model[2].weight.data.normal_(generator=torch.Generator().manual_seed(3))
    wanted = Levels(bits=1)([nn.Parameter(model[2].weight.detach().clone())]).param_groups[0]["params"][0]
    made.evaluate(batches(1))
    assert torch.equal(model[2].weight, wanted)
    assert torch.equal(made.optimizer.shown(model[2].weight), wanted)


@pytest.mark.parametrize("write", [lambda p: p.data.mul_(2), lambda p: setattr(p, "data", p.data.flip(1))])
@EACH
def test_weights_written_later_are_refused_by_name_and_nothing_is_changed(name, write):
    model = net()
    made = trainer(FOUR[name], model=model)
    for batch in batches(5):
        made.step(batch)
    write(model[2].weight)
    before = weights(model)
    with pytest.raises(ValueError, match="2.weight: changed by somebody else since .* Make a new Trainer"):
        made.step(next(batches(1)))
    assert alike(weights(model), before)


def test_weights_written_beside_devices_are_refused_at_once():
    model = net()
    made = trainer(Sign(inner="memristor"), model=model)
    with torch.no_grad():
        model[2].weight.mul_(2)
    with pytest.raises(ValueError, match="2.weight: changed by somebody else"):
        made.step(next(batches(1)))


def test_what_is_written_and_put_back_is_not_refused():
    """As rules that perturb weights do; also after sums that were made on another number of threads."""
    made = trainer(Levels(bits=3, lr=0.01), "spsa")
    for batch in batches(3):
        made.step(batch)
    made.optimizer._prints = dict.fromkeys(made.optimizer._prints, (0.0, 0.0))
    made.step(next(batches(1)))


@EACH
def test_a_frozen_weight_stays_as_it_is_shown_and_the_others_go_on(name):
    model = net()
    made = trainer(replace(FOUR[name], ends=True), model=model)
    items = list(batches(12))
    for batch in items[:4]:
        made.step(batch)
    frozen, free = model[2].weight.requires_grad_(False), model[0].weight
    before = frozen.clone(), free.detach().clone(), made.optimizer.held(frozen).clone()
    frozen.grad = torch.ones_like(frozen)  # left over from a pass of before
    for batch in items[4:]:
        made.step(batch)
    assert torch.equal(frozen, before[0])
    assert torch.equal(made.optimizer.held(frozen), before[2])
    assert not torch.equal(free, before[1])


@pytest.mark.parametrize("name", [name for name in FOUR if name != "magnitude"])
def test_a_transposed_convolution_is_projected_by_its_outputs(name):
    """As the convolution with the same weights turned, whose axis 0 is that of the outputs; to the bit."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        turned, plain = nn.ConvTranspose2d(3, 5, 2), nn.Conv2d(3, 5, 2)
        gradients = [torch.randn(5, 3, 2, 2) for _ in range(3)]
    with torch.no_grad():
        plain.weight.copy_(turned.weight.transpose(0, 1))
    plasticity = replace(FOUR[name], ends=True)
    ours, theirs = (
        plasticity.informed([("weight", module.weight)], None, weights_in_order(module)) for module in (turned, plain)
    )
    for gradient in gradients:
        stepped(ours, turned.weight, gradient.transpose(0, 1).contiguous())
        stepped(theirs, plain.weight, gradient)
        assert torch.equal(turned.weight.transpose(0, 1), plain.weight)
    assert ours.storage(turned.weight) == theirs.storage(plain.weight)
    again = plasticity.informed([("weight", turned.weight)], None, weights_in_order(turned))
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again.held(turned.weight), ours.held(turned.weight))


@pytest.mark.parametrize("inner", [Magnitude(0.9), SoftThreshold(mu=0.1)], ids=["magnitude", "soft_threshold"])
@pytest.mark.parametrize("outer", [Levels, Sign])
def test_what_shows_no_zeros_goes_inside_of_what_prunes(inner, outer):
    with pytest.raises(ValueError, match=rf"prunes weights, and {outer.__name__} shows no zeros: put it outside"):
        outer(inner=inner)


def test_a_transposed_convolution_in_groups_is_left_out_or_refused():
    model = nn.Sequential(nn.ConvTranspose2d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(4, 3))
    rule = replace(rules.make("bptt"), plasticity=Sign(ends=True))
    with pytest.raises(
        ValueError, match=r"0.weight is that of a transposed convolution in groups.*keep=\('0.weight',\)"
    ):
        rules.Trainer(model, rule)
    kept = replace(rule, plasticity=Sign(ends=True, keep=("0.weight",)))
    before = model[0].weight.detach().clone()
    rules.Trainer(model, kept)
    assert torch.equal(model[0].weight, before)
