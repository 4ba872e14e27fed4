"""The credit by spike times: of which weights, of which spikes, and what a trainer and devices make of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import rules
from rules.contract import Batch
from rules.credit.spike_timing import STDP, Window
from rules.models.admission import UnfitModel
from rules.objectives.distillation import SelfEnsemble
from rules.plasticity import SGD, Memristor
from rules.plasticity.memristor import SoftBounds
from sandbox import build
from sandbox.neurons import LIF, LeakyIntegrator
from tests.rules.credit.spike_timing.nets import SAMPLES, STEPS, credit, net, spikes
from tests.rules.credit.spike_timing.trains import moved

EXACT = 1e-12  # float64 sums of some thousand products of order one
WINDOW = Window(tau_plus=9.0, tau_minus=13.0, triplet_plus=0.4)


def learning(credit, **changes):
    return rules.LearningRule(rules.OBJECTIVES["tet"](), credit, SGD(1.0), **changes)


def test_the_gradient_is_minus_the_mean_change_of_the_recorded_spikes():
    """Of every weight between spiking cells; recurrent spikes arrive a step later. Biases and read-out are not asked."""
    model, given = net(), spikes()
    found = credit(STDP(WINDOW), model, given)
    with torch.no_grad():
        run = model(given.x, record=True)
    assert set(found.grads) == {
        *("layers.0.synapse.weight", "layers.0.cells.recurrent.weight", "layers.1.synapse.weight")
    }
    for trace in run.traces:
        if trace.weight not in found.grads:
            continue
        assert 0.02 < float(trace.post.detach().mean()) < 0.9
        wanted = -sum(moved(WINDOW, trace.pre[:, b], trace.post[:, b]) for b in range(SAMPLES)) / SAMPLES
        assert float((found.grads[trace.weight] - wanted).abs().max()) < EXACT * float(wanted.abs().max() + 1)
    assert found.loss == 0.0


def test_weights_that_are_shared_in_space_get_the_sum_over_places():
    model, given = net(("3c3", 5), shape=(1, 5, 5)), spikes(shape=(1, 5, 5))
    found = credit(STDP(WINDOW), model, given).grads
    found = next(g for name, g in found.items() if name.startswith("layers.0."))
    with torch.no_grad():
        run = model(given.x, record=True)
    post = run.traces[0].post  # [T, B, 3, *places]
    rows = nn.functional.unfold(given.x.flatten(0, 1), 3, padding=(post.shape[-1] - 3) // 2)  # [T B, 9, L]
    rows = rows.unflatten(0, (STEPS, SAMPLES)).flatten(3)
    wanted = torch.zeros(3, 9, dtype=torch.float64)
    for b in range(SAMPLES):
        for place in range(rows.shape[3]):
            wanted -= moved(WINDOW, rows[:, b, :, place], post.flatten(3)[:, b, :, place]) / SAMPLES
    assert float((found.flatten(1) - wanted).abs().max()) < EXACT * float(wanted.abs().max())


def test_a_rate_of_one_makes_the_change_itself():
    """In windows of one step too, in which the weights move while the traces go on: a loop by hand."""
    window, steps = Window(tau_plus=9.0, a_plus=0.05, a_minus=0.02), 25
    model, twin, given = net((5,)), net((5,)), spikes(steps)
    rules.Trainer(model, learning(STDP(window), every=1)).step(given)
    weight, (x, y) = twin.layers[0].synapse.weight, (torch.zeros(SAMPLES, n, dtype=torch.float64) for n in (4, 5))
    carry = None
    with torch.no_grad():
        for pre in given.x:
            run = twin.layers[0].run(pre[None], carry)
            carry, post = run.carry, run.output[0]
            x, y = x * math.exp(-1 / 9) + pre, y * math.exp(-1 / 20) + post
            weight += (0.05 * post.T @ x - 0.02 * y.T @ pre) / SAMPLES
    assert float((model.layers[0].synapse.weight - weight).abs().max()) < EXACT * float(weight.abs().max())
    assert torch.equal(model.layers[1].synapse.weight, twin.layers[1].synapse.weight)


def test_windows_add_up_where_weights_stand_still():
    model, given, rule = net(), spikes(), STDP(WINDOW)
    whole, carry, total = credit(rule, model, given).grads, None, {}
    for x in given.x.split(17):
        part = credit(rule, model, Batch(x, carry=carry))
        carry = part.carry
        total = {name: total.get(name, 0) + g for name, g in part.grads.items()}
    for name, g in whole.items():
        assert float((total[name] - g).abs().max()) < EXACT * float(g.abs().max())


def test_no_labels_are_needed_and_labels_change_nothing():
    weights = []
    for y in (None, torch.tensor([0, 1, 2])):
        model = net()
        info = rules.Trainer(model, learning(STDP(WINDOW))).step(spikes()._replace(y=y))
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert info.loss == 0.0
    assert learning(STDP()).needs == {"layers", "cells"}


def test_what_lies_behind_the_end_of_a_sample_changes_nothing():
    ends = torch.tensor([STEPS, 31, 8])
    given = spikes()._replace(lengths=ends)
    other = given._replace(x=given.x.clone())
    for number, end in enumerate(ends):
        other.x[end:, number] = 1 - other.x[end:, number]
    one, two, whole = (credit(STDP(WINDOW), net(), each).grads for each in (given, other, spikes()))
    assert all(torch.equal(g, two[name]) for name, g in one.items())
    assert not any(torch.equal(g, whole[name]) for name, g in one.items())


def test_twice_the_batch_is_the_same_change():
    given = spikes()
    one, two = (credit(STDP(WINDOW), net(), Batch(x)).grads for x in (given.x, torch.cat([given.x, given.x], 1)))
    for name, g in one.items():
        assert float((two[name] - g).abs().max()) < EXACT * float(g.abs().max())


def test_the_time_step_of_the_cells_counts():
    fine = build((4,), 3, (5,), LIF(), LeakyIntegrator(), dt=0.5, seed=1).double()
    coarse = build((4,), 3, (5,), LIF(), LeakyIntegrator(), dt=1.0, seed=1).double()
    for model in (fine, coarse):
        for layer in model.layers:
            layer.cells.neuron = LIF(tau_mem=1e-3)  # a spike wherever the current is above threshold
        with torch.no_grad():
            model.layers[0].synapse.weight.fill_(1.5)
    one = credit(STDP(Window(tau_plus=10.0, tau_minus=10.0)), fine, spikes()).grads
    two = credit(STDP(Window(tau_plus=20.0, tau_minus=20.0)), coarse, spikes()).grads
    name = "layers.0.synapse.weight"
    assert float((one[name] - two[name]).abs().max()) < EXACT * float(two[name].abs().max())


def test_soft_bounds_of_a_device_are_a_multiplicative_window():
    """Cells without noise and of tiny pulses: w + (1 - w) (1 - e^-c) for a change c up, and likewise down."""
    model, given = net((5,), neuron=LIF(tau_mem=5.0, v_threshold=0.1)), spikes()
    weight = model.layers[0].synapse.weight
    with torch.no_grad():
        weight.copy_(torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.6)
    asked, before = -0.05 * credit(STDP(WINDOW), model, given).grads["layers.0.synapse.weight"], weight.detach().clone()
    cells = SoftBounds(dw_min=1e-5, dw_min_dtod=0.0, dw_min_std=0.0, w_max_dtod=0.0, w_min_dtod=0.0)
    devices = Memristor(cells, "direct", lr=0.05, scale=1.0)
    cost = rules.Trainer(model, rules.LearningRule(rules.OBJECTIVES["tet"](), STDP(WINDOW), devices)).step(given).cost
    wanted = before + torch.where(asked > 0, 1 - before, 1 + before) * asked.sign() * (1 - torch.exp(-asked.abs()))
    assert float(asked.abs().max()) > 0.05
    assert float((weight - wanted).abs().max()) < 1e-3  # pulses of 1e-5, as many as the bound of a step allows
    assert float((weight - before - asked).abs().max()) > 0.02  # which additive steps would not be
    assert cost.pulses > 1000


def test_a_model_without_spikes_is_refused():
    model = build((4,), 3, (), LIF(), LeakyIntegrator())
    with pytest.raises(
        UnfitModel, match=r"no layer of Network fires, and this rule learns from spikes: build the mode"
    ):
        STDP().parameters(model)


def test_the_carry_of_another_rule_is_refused():
    carry = credit(STDP(WINDOW), net(), spikes()).carry
    with pytest.raises(ValueError, match=r"the carry has traces of STDP\(window=.*begin anew with carry=None"):
        credit(STDP(), net(), spikes()._replace(carry=carry))
    with pytest.raises(ValueError, match=r"continue a sequence with the rule and the samples that began it"):
        credit(STDP(WINDOW), net((5,)), spikes(samples=1)._replace(carry=carry._replace(model=None)))


def test_a_teacher_is_refused():
    with pytest.raises(ValueError, match="STDP learns from spikes and never asks its objective, so that the teacher"):
        rules.LearningRule(SelfEnsemble(teacher=nn.Linear(2, 3)), STDP(), SGD(1.0))


def test_costs_are_those_of_dense_traces_and_products():
    model, given = net((5,)), spikes()
    cost = credit(STDP(Window()), model, given).cost
    columns = 4 + 1  # with the bias, whose input is always 1
    traces, products = STEPS * SAMPLES * (columns + 5), 2 * STEPS * SAMPLES * columns * 5
    assert cost.weight_operations == traces + products
    assert cost.trace_bytes == SAMPLES * (columns + 5) * 8
    assert (cost.forwards, cost.backwards, cost.error_operations) == (1, 0, 0)
