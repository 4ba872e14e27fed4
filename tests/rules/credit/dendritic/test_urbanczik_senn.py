"""A dendrite that predicts its soma: its fixed point, random spikes, and autograd with the soma as it is."""

from __future__ import annotations

import pytest
import torch

import rules
import sandbox
from rules.check import check_rule, toy
from rules.credit.dendritic import UrbanczikSenn
from rules.models.admission import UnfitModel
from rules.plasticity import SGD
from rules.recipes import LearningRule
from sandbox.neurons import LIF, LeakyIntegrator, TwoCompartment

CELL = TwoCompartment(reset="none", tau_mem=5.0, tau_dend=4.0)
STEPS, SAMPLES = 12, 3


def net(hidden=(), cell=CELL, seed=1, scale=3.0):
    model = sandbox.build((4,), 2, hidden, LIF(tau_mem=5.0), cell, seed=seed).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    return model


def given(steps=STEPS, seed=0, **fields):
    x = torch.rand(steps, SAMPLES, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rules.Batch(x, **fields)


def rates(steps=STEPS, seed=4):
    rng = torch.Generator().manual_seed(seed)
    return 0.1 + 0.8 * torch.rand(steps, SAMPLES, 2, generator=rng, dtype=torch.float64)


def credit(rule, model, batch, seed=0):
    return rule.assign(model, None, batch, (), torch.Generator().manual_seed(seed))


def followed(rule, model, batch):
    """The cross-entropy of the predicted rates, by a loop over steps with autograd, every soma detached."""
    layer, cell = model.layers[-1], model.layers[-1].cells.neuron
    v, v_dend, loss = torch.zeros(SAMPLES, 2).double(), torch.zeros(SAMPLES, 2).double(), 0.0
    for x, rate in zip(batch.x, batch.targets):
        state = cell.initial_state((SAMPLES, 2), v)._replace(v=v, v_dend=v_dend)
        state = cell.integrate(layer.synapse(x), state, 1.0)
        v_dend = state.v_dend
        v = (state.v + rule.nudge * (cell.v_threshold + torch.logit(rate) / rule.beta - state.v)).detach()
        wanted = torch.sigmoid(rule.beta * (v - cell.v_threshold))
        v_star = cell.v_leak + (1 / cell.r_axial) / (1 / cell.r_axial + 1 / cell.r) * (v_dend - cell.v_leak)
        found = torch.sigmoid(rule.beta * (v_star - cell.v_threshold))
        loss = loss - (wanted * found.log() + (1 - wanted) * (1 - found).log()).sum() / SAMPLES
    return loss


def test_it_is_the_gradient_of_the_cross_entropy_with_the_soma_as_it_is():
    rule, model, batch = UrbanczikSenn(nudge=0.3), net(), given(targets=rates())
    wanted = followed(rule, model, batch)
    found = credit(rule, model, batch)
    assert found.loss == pytest.approx(float(wanted.detach()), rel=1e-12)
    for name, slope in zip(found.grads, torch.autograd.grad(wanted, list(model.parameters()))):
        assert torch.allclose(found.grads[name], slope, rtol=1e-10, atol=1e-12), name


def taught(rule, samples, batches):
    """Potentials `[batches, 2, samples, cells]` of the soma and V* under a constant teacher, and the rates taught.

    The carry goes on, so that nothing is learned from how the potentials rise.
    """
    wanted = torch.tensor([0.2, 0.7], dtype=torch.float64)
    x = torch.tensor([1.0, 0.5, 0.0, 2.0], dtype=torch.float64).expand(20, samples, 4)
    batch = rules.Batch(x, targets=wanted.expand(20, samples, 2))
    model, learning = net(scale=1.0), LearningRule(rules.OBJECTIVES["tet"](), rule, SGD(1e-2))
    trainer = rules.Trainer(model, learning, health=rules.Health(every=0), confirm=False)
    found = []
    for _ in range(batches):
        batch = batch._replace(carry=trainer.step(batch).carry)
        end = batch.carry.model[-1][0]
        found.append(torch.stack([end.v, CELL.predicted(end.v_dend)]))
    return torch.stack(found), wanted


def test_under_a_constant_teacher_the_predicted_rate_becomes_the_somatic_one():
    """P9.12: the soma, the dendrite and the teacher agree."""
    found, wanted = taught(UrbanczikSenn(), 1, 100)
    somatic, predicted = torch.sigmoid(4.0 * (found[-1, :, 0] - CELL.v_threshold))
    assert torch.allclose(predicted, wanted, atol=1e-6)  # what 100 batches leave falls geometrically
    assert torch.allclose(predicted, somatic, atol=1e-6)


def test_spikes_move_the_predicted_rate_around_the_somatic_one():
    """P9.12 with drawn spikes: means over time agree within 5 standard errors, those of 16 blocks of 8 batches.

    A block is longer than the memory of the weights, two or three batches. That the mean of rates is the rate taught
    holds up to half the curvature of the sigmoid, at most 0.097 beta^2, times the variance of the potential.
    """
    found, wanted = taught(UrbanczikSenn(spikes=True), 64, 32 + 16 * 8)
    found = found[32:].mean(2)  # the dendrites of all samples are alike, and so are their somata
    rates = torch.sigmoid(4.0 * (found - CELL.v_threshold)).unflatten(0, (16, 8)).mean(1)
    curved = 0.5 * 0.097 * 4.0**2 * found.var(0)
    assert float(curved.max()) < 1e-3
    for left, bent in ((rates[:, 1] - wanted, curved[1]), (rates[:, 1] - rates[:, 0], curved.sum(0))):
        error = left.std(0) / 16**0.5
        assert bool((error > 0).all())
        assert float(error.max()) < 2e-3
        assert bool((left.mean(0).abs() < 5 * error + bent).all())


def test_random_spikes_have_the_mean_of_the_rates():
    """P9.13: of 400 draws, within five standard errors; and they do vary."""
    model, batch = net(), given(targets=rates())
    wanted = torch.cat([g.flatten() for g in credit(UrbanczikSenn(), model, batch).grads.values()])
    rule = UrbanczikSenn(spikes=True)
    drawn = torch.stack(
        [torch.cat([g.flatten() for g in credit(rule, model, batch, seed).grads.values()]) for seed in range(400)]
    )
    error = drawn.std(0) / 400**0.5
    assert float(error.min()) > 0
    assert bool(((drawn.mean(0) - wanted).abs() < 5 * error).all())


def test_windows_add_up_to_the_whole():
    model, batch, rule = net((5,)), given(targets=rates()), UrbanczikSenn()
    whole = credit(rule, model, batch)
    first = credit(rule, model, batch._replace(x=batch.x[:5], targets=batch.targets[:5]))
    second = credit(rule, model, batch._replace(x=batch.x[5:], targets=batch.targets[5:], carry=first.carry))
    assert first.loss + second.loss == pytest.approx(whole.loss, rel=1e-12)
    for name, g in whole.grads.items():
        assert torch.allclose(first.grads[name] + second.grads[name], g, atol=1e-12)


def test_where_no_class_is_given_nothing_is_learned():
    model, rule = net(), UrbanczikSenn()
    unknown = torch.full((STEPS, SAMPLES), -100)
    assert all(float(g.abs().max()) == 0 for g in credit(rule, model, given(targets=unknown)).grads.values())
    cut = given(y=torch.tensor([0, 1, 0]), lengths=torch.tensor([12, 0, 0]))
    alone = credit(rule, model, given(y=torch.tensor([0, 1, 0]))._replace(x=cut.x[:, :1], y=torch.tensor([0])))
    for name, g in credit(rule, model, cut).grads.items():
        assert torch.allclose(3 * g, alone.grads[name], atol=1e-12), name


@pytest.mark.parametrize("spikes", [False, True])
def test_it_keeps_the_contract(spikes):
    report = check_rule(UrbanczikSenn(spikes=spikes))
    assert report.passed, str(report)


def test_it_learns_classes_and_leaves_other_layers():
    """All of them, as logistic regression does."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = (torch.randn(60, 4, generator=rng) * 0.3 + torch.eye(2, 4)[y]).expand(30, 60, 4)
    torch.manual_seed(0)
    model = sandbox.build((4,), 2, (), LIF(), CELL, seed=0)
    trainer = rules.Trainer(model, rules.make("urbanczik_senn"), health=rules.Health(every=0))
    losses = [info.loss for info in trainer.fit([(x, y)], epochs=100)]
    assert losses[-1] < 0.7 * losses[0]
    assert trainer.evaluate([(x, y)])["accuracy"] > 0.98
    assert set(UrbanczikSenn().parameters(net((5,)))) == {"layers.1.synapse.weight", "layers.1.synapse.bias"}


def test_an_evaluation_reads_the_rates_of_the_somata():
    """By a loop over the steps of the cell; whole, and in two parts that go on from each other."""
    model, batch = net((5,)), given()
    run, state, rates = UrbanczikSenn().runs(model), CELL.initial_state((SAMPLES, 2), batch.x), []
    for spikes in model.layers[0](batch.x):
        state = CELL.integrate(model.layers[1].synapse(spikes), state, 1.0)
        rates.append(torch.sigmoid(4.0 * (state.v - CELL.v_threshold)))
    wanted = torch.stack(rates).detach()
    torch.testing.assert_close(run(batch).output, wanted, rtol=0, atol=1e-12)
    first = run(batch._replace(x=batch.x[:5]))
    second = run(batch._replace(x=batch.x[5:], carry=first.carry))
    torch.testing.assert_close(torch.cat([first.output, second.output]), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beta": 0.0}, "beta=0.0: give a steepness above 0, in 1/mV"),
        ({"nudge": 1.5}, "nudge=1.5: give a share of each step, above 0 and at most 1"),
        ({"low": 0.9, "high": 0.1}, "low=0.9 and high=0.1: give two rates between 0 and 1, the lower first"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        UrbanczikSenn(**options)


def test_rates_and_models_that_do_not_fit_are_refused():
    rule, model = UrbanczikSenn(), net()
    with pytest.raises(
        ValueError, match=r"the rates in targets have shape \(12, 3\), and the last layer has \(12, 3, 2\)"
    ):
        credit(rule, model, given(targets=rates()[..., 0]))
    with pytest.raises(ValueError, match="the rates in targets lie between 0 and 1: give probabilities"):
        credit(rule, model, given(targets=rates().round()))
    with pytest.raises(
        UnfitModel, match=r"the soma of layers.0 is reset, reset='to_value', .*TwoCompartment\(reset='none"
    ):
        rule.confirm(net(cell=TwoCompartment()), given())
    with pytest.raises(UnfitModel, match="the soma of layers.0 is refractory, t_refractory=5"):
        rule.confirm(net(cell=TwoCompartment(reset="none", t_refractory=5.0)), given())
    with pytest.raises(
        UnfitModel, match=r"layers.0 is made of LeakyIntegrator, which has no dendrite: build the model"
    ):
        rule.confirm(net(cell=LeakyIntegrator()), given())
    model.layers[0].cells.recurrent = torch.nn.Linear(2, 2, bias=False).double()
    with pytest.raises(UnfitModel, match="the cells of layers.0 hear each other, and its dendrites predict"):
        rule.parameters(model)
    with pytest.raises(rules.MissingNeed, match="dendrites: the last layer's cells have a soma and a dendrite"):
        rules.Trainer(toy.recurrent(), "urbanczik_senn")
    teacher = rules.OBJECTIVES["distillation"](torch.nn.Linear(2, 2)) if "distillation" in rules.OBJECTIVES else None
    if teacher is not None:
        with pytest.raises(ValueError, match="UrbanczikSenn learns from rates and never asks its objective"):
            LearningRule(teacher, rule, SGD(0.1))
