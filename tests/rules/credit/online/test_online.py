"""Online rules against autograd on the graph that each of them means, in float64: norms, biases and all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rules
import rules.forward
import rules.windows
from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.online import Online, traces
from rules.credit.online.walk import Walk
from rules.forward import leaves
from rules.models.admission import UnfitModel
from rules.objectives import OBJECTIVES
from rules.steps import counted
from sandbox.neurons import ALIF, LIF, EscapeLIF, LeakyIntegrator
from tests.rules.credit.online.nets import LOSS, NEURONS, assigned, batch, by_autograd, compiled, distance, net

EXACT = 1e-12  # float64: sums of some hundred products, each right to 1e-16
GENERAL = [*NEURONS, "from Brian2"]
CONV = ((2, 6, 6), ("2c3p2", "5r"))


def neuron_of(name):
    return compiled() if name == "from Brian2" else NEURONS[name]


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("name", GENERAL)
class TestAnyNeuron:
    """Any neuron of the library, and one compiled from equations, in a stack of two layers, the second recurrent."""

    def test_ostl_is_autograd_without_recurrent_spikes_and_upper_memory(self, name, detach):
        """P5.12, P5.13."""
        rule, model = Online(detach_reset=detach), net(neuron_of(name))
        wanted = by_autograd(model, batch(), {"recurrent_spikes", "upper_membrane"}, detach_reset=detach)
        assert distance(assigned(rule, model, batch()).grads, wanted) < EXACT

    def test_a_single_layer_without_recurrence_is_backpropagation_through_time(self, name, detach):
        """P5.6, P5.11: the read-out's memory is in the filter of the trace."""
        rule, model = Online(filter="readout", detach_reset=detach), net(neuron_of(name), (6,))
        wanted = by_autograd(model, batch(), set(), detach_reset=detach)
        assert distance(assigned(rule, model, batch()).grads, wanted) < EXACT

    def test_eprop_is_autograd_without_recurrent_spikes(self, name, detach):
        """P5.5, the reset as it is asked."""
        rule, model = Online(filter="readout", detach_reset=detach), net(neuron_of(name), ("6r",))
        wanted = by_autograd(model, batch(), {"recurrent_spikes"}, detach_reset=detach)
        assert distance(assigned(rule, model, batch()).grads, wanted) < EXACT

    def test_rtrl_is_backpropagation_through_time(self, name, detach):
        """P5.1, in a stack."""
        rule, model = Online(trace="influence", detach_reset=detach), net(neuron_of(name))
        wanted = by_autograd(model, batch(), set(), detach_reset=detach)
        assert distance(assigned(rule, model, batch()).grads, wanted) < EXACT

    def test_sltt_sees_this_step_alone(self, name, detach):
        """P5.16."""
        rule, model = Online(trace="step", detach_reset=detach), net(neuron_of(name))
        wanted = by_autograd(model, batch(), {"past", "recurrent_spikes"}, detach_reset=detach)
        assert distance(assigned(rule, model, batch()).grads, wanted) < EXACT


def test_rtrl_over_forty_steps_is_bptt():
    """P5.1: recurrent LIF, reset not detached."""
    model, given = net(LIF(reset="subtract"), ("8r",)), batch(40)
    wanted = assigned(BPTT(detach_reset=False), model, given)
    found = assigned(Online(trace="influence", detach_reset=False), model, given)
    assert distance(found.grads, wanted.grads) < EXACT
    assert found.loss == pytest.approx(wanted.loss, rel=1e-14)


@pytest.mark.parametrize("kind", ["synapse", "presynaptic", "step", "influence"])
def test_convolutions_share_their_weights_over_places(kind):
    """P5.17: pools behind the convolution, a recurrent layer above it."""
    shape, hidden = CONV
    rule, model, given = Online(trace=kind), net(LIF(reset="subtract"), hidden, shape), batch(8, shape=shape)
    detached = rule.detaches if kind != "presynaptic" else {"recurrent_spikes", "upper_membrane"}
    assert distance(assigned(rule, model, given).grads, by_autograd(model, given, detached)) < EXACT


@pytest.mark.parametrize("reset", ["subtract", "none"])
@pytest.mark.parametrize("hidden", [(6,), (6, 5), (6, "5r")])
def test_ottt_is_autograd_without_upper_memory(reset, hidden):
    """P5.14, P5.15: a filter of the input is exact where cells leak at one rate."""
    model, given = net(LIF(reset=reset), hidden), batch()
    wanted = by_autograd(model, given, {"recurrent_spikes", "upper_membrane"})
    assert distance(assigned(Online(trace="presynaptic"), model, given).grads, wanted) < EXACT


def test_ottt_is_not_backpropagation_through_time_in_depth():
    """P5.15: the difference is visible, so that the identity above tells something."""
    model, given = net(LIF(reset="subtract"), (6, 5)), batch()
    away = distance(assigned(Online(trace="presynaptic"), model, given).grads, by_autograd(model, given, set()))
    assert 0.05 < away < 2


def test_two_poles_of_a_synaptic_current_are_a_filter_of_the_input():
    """P5.19 for one layer, synapse and membrane: the traces are exact though no weight has one of its own."""
    neuron = NEURONS["CubaLIF"]
    model, given = net(replace(neuron, reset="subtract"), (6,)), batch()
    wanted = by_autograd(model, given, {"upper_membrane"})
    assert distance(assigned(Online(trace="presynaptic"), model, given).grads, wanted) < EXACT


def test_otpe_is_backpropagation_through_time_for_one_hidden_layer():
    """P5.18, and the same numbers as e-prop with the read-out's filter."""
    model, given = net(LIF(), (6,)), batch()
    found = assigned(Online(filter="next"), model, given).grads
    assert distance(found, by_autograd(model, given, set())) < EXACT
    assert distance(found, assigned(Online(filter="readout"), model, given).grads) < EXACT


def otpe_by_hand(model, given, leak):
    """OTPE of two hidden layers as its equations say, cell by cell, for LIF with a detached subtractive reset."""
    first, second, top = model.layers
    alpha, low = leak
    gain = 1 - alpha
    state = [torch.zeros(3, n, dtype=torch.float64) for n in (6, 5, 3)]
    eps = [torch.zeros(3, n, k, dtype=torch.float64) for n, k in ((6, 4), (5, 6), (3, 5))]
    low_pass = [torch.zeros_like(e) for e in eps[:2]]
    mean, weight, sums = torch.zeros(3, 5, dtype=torch.float64), 0.0, [torch.zeros_like(e[0]) for e in eps]
    surrogate = first.cells.neuron.surrogate
    for x in given.x:
        signal, psis = x, []
        for n, layer in enumerate((first, second)):
            h = alpha * state[n] + gain * layer.synapse(signal)
            eps[n] = alpha * eps[n] + gain * signal[:, None]
            psis.append(surrogate.grad(h - 1))
            spikes = (h >= 1).double()
            state[n], signal = h - spikes, spikes
        state[2] = low * state[2] + (1 - low) * top.synapse(signal)
        eps[2] = low * eps[2] + (1 - low) * signal[:, None]
        y = state[2].detach().requires_grad_()
        (g,) = torch.autograd.grad(LOSS.shares(given)(rules.Run(y[None]), given._replace(x=given.x[:1])), y)
        old = low * weight
        weight = old + 1
        mean = old / weight * mean + psis[1] / weight
        low_pass[1] = low * low_pass[1] + psis[1][..., None] * eps[1]
        low_pass[0] = alpha * low_pass[0] + psis[0][..., None] * eps[0]
        down = (1 - low) * g @ top.synapse.weight
        lower = gain * (down * mean) @ second.synapse.weight
        for n, (e, s) in enumerate(zip((*low_pass, eps[2]), (lower, down, g), strict=True)):
            sums[n] += (s[..., None] * e).sum(0)
    return {f"layers.{n}.synapse.weight": total for n, total in enumerate(sums)}


@torch.no_grad()
def test_otpe_follows_its_equations_in_depth():
    """Against a loop that keeps the equations of the source, weights alone (a bias is a weight of input 1)."""
    model, given = net(LIF(reset="subtract"), (6, 5)), batch()
    for layer in model.layers:
        layer.synapse.bias.zero_()
    decays = [float(torch.exp(torch.tensor(-1.0 / tau, dtype=torch.float64))) for tau in (20.0, 8.0)]
    with torch.enable_grad():
        wanted = otpe_by_hand(model, given, decays)
    found = assigned(Online(filter="next"), model, given).grads
    assert distance({name: found[name] for name in wanted}, wanted) < EXACT


def test_otpe_is_nearer_backpropagation_through_time_than_ottt():
    model, given = net(LIF(reset="subtract"), (20, 20), seed=3), batch(40, 16)
    truth = by_autograd(model, given, set())["layers.0.synapse.weight"]
    near, far = (
        torch.nn.functional.cosine_similarity(
            assigned(rule, model, given).grads["layers.0.synapse.weight"].flatten(), truth.flatten(), dim=0
        )
        for rule in (Online(filter="next"), Online(trace="presynaptic"))
    )
    assert near > far


def test_the_gradient_factorises_into_spikes_and_traces():
    """P5.4: `dL/dW = sum_t (dL/dz[t]) e[t]` with the total derivative by a spike, for recurrent ALIF, by autograd alone.

    What the spike does to its own cell goes through a second copy and belongs to the trace; with one copy that path is
    counted twice.
    """
    model, given = net(ALIF(beta=0.3), ("6r",)), batch(30)
    truth = by_autograd(model, given, set())["layers.0.synapse.weight"]
    apart, together = (distance({"": factorised(model, given, twice)}, {"": truth}) for twice in (False, True))
    assert apart < EXACT
    assert together > 0.01


def factorised(model, given, twice):
    """The sum of total derivatives times traces; with `twice` the derivative includes the way through adaptation."""
    layer, top = model.layers
    beta, rho = 0.3, float(torch.exp(torch.tensor(-1 / layer.cells.neuron.tau_adapt, dtype=torch.float64)))
    alpha, kappa = (float(torch.exp(torch.tensor(-1 / tau, dtype=torch.float64))) for tau in (20.0, 8.0))
    surrogate, recurrent = layer.cells.neuron.surrogate, layer.cells.recurrent.weight
    v = a = heard = torch.zeros(3, 6, dtype=torch.float64)
    u = torch.zeros(3, 3, dtype=torch.float64)
    eps_v, eps_a, es, zs, ys = torch.zeros(3, 6, 4, dtype=torch.float64), 0.0, [], [], []
    for x in given.x:
        h = alpha * v + (1 - alpha) * (layer.synapse(x) + heard @ recurrent.T)
        a = rho * a
        gap = h - 1 - beta * a
        local, psi = surrogate.spike(gap), surrogate.grad(gap).detach()
        eps_v = alpha * eps_v + (1 - alpha) * x[:, None]
        e = psi[..., None] * (eps_v - beta * rho * eps_a)
        eps_a = rho * eps_a + e
        eps_v = eps_v * (1 - local.detach())[..., None]  # the reset to a value ends the past of the membrane
        z = local.clone()  # the copy that others hear
        v, a, heard = h * (1 - z.detach()), a + (z if twice else local), z
        u = kappa * u + (1 - kappa) * top.synapse(z)
        es.append(e)
        zs.append(z)
        ys.append(u)
    errors = torch.autograd.grad(LOSS(rules.Run(torch.stack(ys)), given), zs)
    return sum(torch.einsum("bc,bck->ck", error, e) for error, e in zip(errors, es, strict=True)).detach()


def test_snap1_keeps_what_one_step_can_reach():
    """P5.2: the influence matrix of all states, entries that one step cannot reach set to zero."""
    model, given = net(LIF(reset="subtract"), ("5r",)), batch(12, 1)
    found = assigned(Online(own_recurrence=True, detach_reset=False), model, given).grads
    layer, top = model.layers
    weights = [layer.synapse.weight, layer.synapse.bias, layer.cells.recurrent.weight]
    sizes = [w.numel() for w in weights]
    alpha = float(torch.exp(torch.tensor(-1 / 20.0, dtype=torch.float64)))
    surrogate = layer.cells.neuron.surrogate

    def step(state, row, x):
        w, b, r = (part.reshape(p.shape) for part, p in zip(row.split(sizes), weights, strict=True))
        v, z = state[:5], state[5:]
        h = alpha * v + (1 - alpha) * (w @ x + b + r @ z)
        spikes = surrogate.spike(h - 1)
        return torch.cat([h - spikes, spikes])

    row = torch.cat([w.detach().flatten() for w in weights])
    owner = torch.cat([torch.arange(5)[:, None].expand(5, w[0].numel()).flatten() for w in weights])
    reach = (torch.arange(5)[:, None] == owner).repeat(2, 1).double()
    state, influence, u = torch.zeros(10, dtype=torch.float64), torch.zeros(10, len(row), dtype=torch.float64), 0.0
    total, kappa = torch.zeros_like(row), float(torch.exp(torch.tensor(-1 / 8.0, dtype=torch.float64)))
    share = LOSS.shares(given)
    for x in given.x[:, 0]:
        by_state, by_row = torch.autograd.functional.jacobian(lambda s, w, x=x: step(s, w, x), (state, row))
        influence = (by_state @ influence + by_row) * reach
        state = step(state, row, x).detach()
        u = kappa * u + (1 - kappa) * top.synapse(state[5:])
        y = torch.as_tensor(u).detach()[None].requires_grad_()
        (g,) = torch.autograd.grad(share(rules.Run(y[None]), given._replace(x=given.x[:1])), y)
        total += ((1 - kappa) * g[0] @ top.synapse.weight) @ influence[5:]
    wanted = dict(zip(("synapse.weight", "synapse.bias", "cells.recurrent.weight"), total.split(sizes), strict=True))
    wanted = {f"layers.0.{name}": part for name, part in wanted.items()}
    mine = {name: found[name].flatten() for name in wanted}
    assert distance(mine, {name: part.detach() for name, part in wanted.items()}) < EXACT


@pytest.mark.slow
def test_uoro_is_right_on_average():
    """P5.3: the mean of 200 draws within 5 standard errors, entry by entry."""
    model, given = net(LIF(reset="subtract"), ("4r",)), batch(10, 1, scale=4.0)
    truth = by_autograd(model, given, set(), detach_reset=False)
    rule = Online(trace="rank_one", detach_reset=False)
    draws = [assigned(rule, model, given, seed=seed).grads for seed in range(200)]
    for name, wanted in truth.items():
        found = torch.stack([draw[name] for draw in draws])
        error = found.std(0) / len(draws) ** 0.5
        assert ((found.mean(0) - wanted).abs() <= 5 * error + 1e-12).all(), name
        assert float(found.std(0).max()) > 0, name


def test_one_step_is_backpropagation():
    """P5.8."""
    model, given = net(LIF(), ("6r",)), batch(1)
    wanted = by_autograd(model, given, set())
    wanted["layers.0.cells.recurrent.weight"] = torch.zeros(6, 6, dtype=torch.float64)
    for rule in (Online(), Online(filter="readout"), Online(trace="step"), Online(trace="presynaptic")):
        found = assigned(rule, model, given).grads
        assert not found.pop("layers.0.cells.recurrent.weight").any()
        assert distance(found, {name: g for name, g in wanted.items() if name in found}) < EXACT


def test_adaptation_without_strength_is_none():
    """P5.8: ALIF with beta = 0 has the gradient of LIF."""
    given = batch()
    one, two = (net(neuron, ("6r",)) for neuron in (ALIF(beta=0.0), LIF()))
    two.load_state_dict(one.state_dict())
    rule = Online(filter="readout")
    assert distance(assigned(rule, one, given).grads, assigned(rule, two, given).grads) < EXACT


def test_the_convolved_form_over_a_whole_sequence_has_the_same_sum():
    """P5.7: signals filtered backwards in time, then one product with unfiltered traces."""
    model, given = net(LIF(reset="subtract"), (6,)), batch()
    layer, top = model.layers
    alpha, kappa = (float(torch.exp(torch.tensor(-1 / tau, dtype=torch.float64))) for tau in (20.0, 8.0))
    run = model(given.x, record=True)
    y = run.output.detach().requires_grad_()
    (g,) = torch.autograd.grad(LOSS(rules.Run(y), given), y)
    psi = (1 - alpha) * layer.cells.neuron.surrogate.grad(run.traces[0].u.detach())
    signal, later, eps, pres = (1 - kappa) * g @ top.synapse.weight.detach(), 0.0, 0.0, []
    for x in given.x:
        eps = alpha * eps + x
        pres.append(eps)
    wanted = 0.0
    for t in reversed(range(len(given.x))):
        later = kappa * later + signal[t]
        wanted = wanted + torch.einsum("bc,bk->ck", later * psi[t], pres[t])
    found = assigned(Online(filter="readout"), model, given).grads["layers.0.synapse.weight"]
    assert float((found - wanted).norm() / wanted.norm()) < EXACT


@pytest.mark.parametrize("kind", ["synapse", "presynaptic", "step", "influence", "rank_one"])
def test_memory_does_not_grow_with_time(kind):
    """P5.9."""
    model, rule = net(LIF(reset="subtract"), ("6r",)), Online(trace=kind)
    short, long = (assigned(rule, model, batch(steps)).cost.trace_bytes for steps in (10, 100))
    assert short == long
    assert (short > 0) == (kind != "step")


def rules_of_windows():
    yield Online()
    yield Online(filter="readout", signal="random")
    yield Online(filter="next")
    yield Online(trace="presynaptic")
    yield Online(trace="presynaptic", signal="local")
    yield Online(trace="presynaptic", filter="next")
    yield Online(trace="step")
    yield Online(trace="influence")


@pytest.mark.parametrize("rule", [*rules_of_windows()], ids=str)
@pytest.mark.parametrize("every", [1, 7])
def test_windows_add_up_where_weights_stand_still(rule, every):
    model, given = net(LIF(reset="subtract")), batch()
    whole = assigned(rule, model, given)
    state, carry, parts = rule.init(model, torch.Generator().manual_seed(0)), None, []
    share = rules.windows.Share(LOSS, given)
    for piece in rules.forward.pieces(given, every):
        credit = rule.assign(model, share, piece._replace(carry=carry), state, torch.Generator())
        state, carry = credit.state, credit.carry
        parts.append(credit)
    found = {name: sum(part.grads[name] for part in parts) for name in whole.grads}
    assert distance(found, whole.grads) < EXACT
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=1e-12)


class TestLocalLosses:
    """P5.19 to P5.21: DECOLLE on cells of this library."""

    def test_the_gradient_is_that_of_the_layers_own_loss_through_all_time(self):
        model, given = net(LIF(reset="subtract"), (6, 5)), batch()
        rule = Online(trace="presynaptic", signal="local")
        credit = assigned(rule, model, given)
        x = given.x
        for number, layer in enumerate(list(model.layers)[:2]):
            read = credit.state[f"layers.{number}"]
            output = layer.run(x).output
            own = list(layer.synapse.parameters())
            wanted = torch.autograd.grad(LOSS(rules.Run(output @ read.T), given), own)
            names = [f"layers.{number}.synapse.{name}" for name in ("weight", "bias")]
            assert distance({n: credit.grads[n] for n in names}, dict(zip(names, wanted, strict=True))) < EXACT
            x = output.detach()

    def test_no_gradient_crosses_layers(self):
        model, given = net(LIF(reset="subtract"), (6, 5)), batch()
        rule = Online(trace="presynaptic", signal="local")
        one = assigned(rule, model, given)
        state = {**one.state, "layers.1": one.state["layers.1"] + 1}
        two = rule.assign(model, LOSS, given, state, torch.Generator())
        same = [name for name in one.grads if torch.equal(one.grads[name], two.grads[name])]
        assert {name.split(".")[1] for name in same} == {"0", "2"}

    def test_with_the_read_out_itself_it_is_ottt(self):
        """P5.21, the read-out without memory of its own."""
        model, given = net(LIF(reset="subtract"), (6,), readout=LeakyIntegrator(tau_mem=0.01)), batch()
        with torch.no_grad():
            model.layers[1].synapse.bias.zero_()
        rule = Online(trace="presynaptic", signal="local")
        state = {**assigned(rule, model, given).state, "layers.0": model.layers[1].synapse.weight.detach()}
        mine = rule.assign(model, LOSS, given, state, torch.Generator()).grads
        assert distance(mine, assigned(Online(trace="presynaptic"), model, given).grads) < EXACT


class TestFixedWeights:
    def test_the_weights_of_the_read_out_in_their_place_make_the_symmetric_rule(self):
        model, given = net(LIF(), ("6r",)), batch()
        rule = Online(filter="readout", signal="random")
        state = {**assigned(rule, model, given).state, "layers.0": model.layers[1].synapse.weight.detach()}
        mine = rule.assign(model, LOSS, given, state, torch.Generator()).grads
        assert distance(mine, assigned(Online(filter="readout"), model, given).grads) < EXACT

    def test_they_stay_and_reach_every_layer(self):
        model = net(LIF(), (6, "5r"))
        trainer = rules.Trainer(model, rules.LearningRule(LOSS, Online(signal="random"), rules.make("bptt").plasticity))
        trainer.step(batch())
        first = {name: weights.clone() for name, weights in trainer.state.items()}
        trainer.step(batch(seed=1))
        assert set(first) == {"seed", "scale", "layers.0", "layers.1"}
        assert all(torch.equal(weights, trainer.state[name]) for name, weights in first.items())

    def test_a_model_changed_since_is_refused(self):
        rule, given = Online(signal="random"), batch()
        state = assigned(rule, net(LIF(), (6,)), given).state
        with pytest.raises(ValueError, match=r"feedback weights of layers.0 have shape \(3, 6\).* ask for \(3, 7\)"):
            rule.assign(net(LIF(), (7,)), LOSS, given, state, torch.Generator())


def test_the_penalty_moves_rates_along_the_traces():
    """Its gradient is that of `rate / 2 sum (f - target)^2` through the cells' own past."""
    model, given = net(LIF(), (6,)), batch()
    with_it, without = (assigned(Online(rate=rate, target_rate=0.1), model, given).grads for rate in (0.7, 0.0))
    output = model.layers[0].run(given.x).output
    loss = 0.7 / 2 * (output.mean((0, 1)) - 0.1).square().sum()
    (wanted,) = torch.autograd.grad(loss, model.layers[0].synapse.weight)
    name = "layers.0.synapse.weight"
    assert float((with_it[name] - without[name] - wanted).norm() / wanted.norm()) < EXACT


def penalised(output, rate=0.7, target=0.1, lengths=None):
    """The penalty on the rates of a layer, `rate / 2 sum_cells (f - target)^2`, over the steps that count."""
    count = counted(output, torch.full((output.shape[1],), len(output)) if lengths is None else lengths)[..., None]
    return rate / 2 * ((output * count).sum((0, 1)) / count.sum() - target).square().sum()


def test_the_penalty_sees_the_steps_that_count():
    """1e-12: float64 sums of some hundred products."""
    model, given = net(LIF(), (6,)), batch()._replace(lengths=torch.tensor([20, 11, 3]))
    found, without = (assigned(Online(rate=rate, target_rate=0.1), model, given) for rate in (0.7, 0.0))
    output = model.layers[0].run(given.x).output
    loss = penalised(output, lengths=given.lengths)
    assert found.loss - without.loss == pytest.approx(loss.item(), rel=1e-12)
    for name in ("layers.0.synapse.weight", "layers.0.synapse.bias"):
        (wanted,) = torch.autograd.grad(loss, model.get_parameter(name), retain_graph=True)
        assert float((found.grads[name] - without.grads[name] - wanted).norm() / wanted.norm()) < EXACT
    longer = given._replace(x=torch.cat([given.x, torch.full((4, 3, 4), 7.0, dtype=torch.float64)]))
    with_more = assigned(Online(rate=0.7, target_rate=0.1), model, longer, OBJECTIVES["ce_rate"]())
    same = assigned(Online(rate=0.7, target_rate=0.1), model, given, OBJECTIVES["ce_rate"]())
    assert distance(with_more.grads, same.grads) < EXACT


@pytest.mark.parametrize("lengths", [None, [20, 11, 3], [9, 3, 2]])
def test_a_window_has_its_share_of_the_penalty(lengths):
    """The penalty of windows is the mean of theirs over steps that count; weights stand still."""
    model, losses = net(LIF(), (6,)), []
    given = batch()._replace(lengths=None if lengths is None else torch.tensor(lengths))
    for rate in (0.7, 0.0):
        credit = Online(rate=rate, target_rate=0.1)
        rule = rules.LearningRule(LOSS, credit, rules.make("bptt").plasticity, every=8)
        carry, sums = None, []
        for objective, part in rules.windows.windows(rule, given):
            done = assigned(credit, model, part._replace(carry=carry), objective)
            carry = done.carry
            sums.append(done.loss)
        losses.append(sum(sums))
    output = model.layers[0].run(given.x).output
    ends = torch.full((3,), 20) if lengths is None else given.lengths
    wanted, whole = 0.0, int(ends.sum())
    for start in (0, 8, 16):
        part = output[start : start + 8]
        here = int((ends - start).clamp(0, len(part)).sum())
        wanted += penalised(part, lengths=ends - start).item() * here / whole if here else 0.0
    assert losses[0] - losses[1] == pytest.approx(wanted, rel=1e-12)


def test_sequences_of_different_length_are_those_of_autograd():
    model = net(LIF(), (6,))
    given = batch()._replace(lengths=torch.tensor([20, 11, 3]))
    wanted = by_autograd(model, given, set())
    assert distance(assigned(Online(filter="readout"), model, given).grads, wanted) < EXACT


def test_targets_of_every_step_with_some_left_out():
    model = net(LIF(), (6,))
    targets = torch.randint(3, (20, 3), generator=torch.Generator().manual_seed(1))
    targets[:15] = -100
    given = Batch(batch().x, targets=targets)
    wanted = by_autograd(model, given, set())
    assert distance(assigned(Online(filter="readout"), model, given).grads, wanted) < EXACT


def test_regression_at_every_step():
    model, loss = net(LIF(), ("6r",)), OBJECTIVES["mse"](at="step")
    given = Batch(batch().x, targets=torch.rand(20, 3, 3, dtype=torch.float64))
    wanted = by_autograd(model, given, {"recurrent_spikes"}, loss)
    assert distance(assigned(Online(filter="readout"), model, given, loss).grads, wanted) < EXACT


def forgets_bias(value, low, stretch, whole=traces.advanced):
    """A bias is not felt after its step."""
    after, low, grad = whole(value, low, stretch)
    felt = stretch.signal if stretch.leak is None else traces.discounted(stretch.signal, stretch.leak)
    grad[:, 4] = (felt * stretch.local.shown[-1]).sum((0, 1, 3))
    return after, low, grad


def forgets_gain(value, low, stretch, whole=traces.advanced):
    """The gain is 1 in place of 1 - alpha."""
    local = stretch.local._replace(driven=torch.ones_like(stretch.local.driven))
    constants = stretch.alike and stretch.alike._replace(driven=torch.ones_like(stretch.alike.driven))
    return whole(value, low, stretch._replace(local=local, alike=constants))


def forgets_traces(value, low, stretch, whole=traces.advanced):
    """A trace starts anew with every few steps."""
    return whole(torch.zeros_like(value), low, stretch)


def forgets_the_filter(value, low, stretch, whole=traces.advanced):
    """What is behind the filter starts anew with every few steps."""
    return whole(value, None, stretch)


@pytest.mark.parametrize("broken", [forgets_bias, forgets_gain, forgets_traces, forgets_the_filter])
@pytest.mark.parametrize("neuron", [LIF(), LIF(reset="subtract")], ids=["own traces", "shared traces"])
def test_a_broken_trace_is_caught(neuron, broken, monkeypatch):
    model, given = net(neuron, (6,)), batch()
    wanted = by_autograd(model, given, set())
    assert distance(assigned(Online(filter="readout"), model, given).grads, wanted) < EXACT
    monkeypatch.setattr(traces, "advanced", broken)
    assert distance(assigned(Online(filter="readout"), model, given).grads, wanted) > 1e-2


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("name", ["LIF", "LIF, subtract", "CubaLIF"])
@pytest.mark.parametrize(
    "rule", [Online(filter="readout"), Online(trace="step"), Online(filter="next", rate=0.1)], ids=str
)
def test_how_many_steps_are_computed_together_changes_nothing(rule, name, steps, monkeypatch):
    if name == "CubaLIF" and rule.filter == "next":
        rule = replace(rule, filter="readout")  # a filter of a single time constant
    model, given = net(NEURONS[name]), batch()
    wanted = assigned(rule, model, given)
    monkeypatch.setattr(Walk, "steps", steps)
    found = assigned(rule, model, given)
    assert distance(found.grads, wanted.grads) < EXACT
    assert found.cost.trace_bytes == wanted.cost.trace_bytes
    kept = (leaves([traces.paid(each) for each in credit.carry.traces]) for credit in (found, wanted))
    for one, other in zip(*kept, strict=True):
        assert float((one - other).norm()) <= EXACT * float(other.norm())


def test_one_copy_of_the_spike_would_miss_adaptation():
    """P5.4's trap: where adaptation is cut from the trace, the gradient of a network with ALIF is another."""
    model, given = net(ALIF(beta=0.3), (6,)), batch()
    wanted, cut = (by_autograd(model, given, set(), adaptation=cut) for cut in (False, True))
    assert distance(cut, wanted) > 0.1
    assert distance(assigned(Online(filter="readout"), model, given).grads, wanted) < EXACT


LEGAL = [
    ({"trace": "influence", "signal": "random"}, "leave signal, filter and depth as they are"),
    ({"trace": "presynaptic", "filter": "readout"}, 'use trace="synapse"'),
    ({"trace": "step", "filter": "next"}, 'use signal="symmetric" and trace="synapse"'),
    ({"signal": "random", "depth": "last"}, "leave depth out"),
    ({"trace": "step", "own_recurrence": True}, 'use trace="synapse"'),
    ({"trace": "step", "rate": 1.0}, 'use trace="synapse"'),
    ({"decay": 2.0}, "decay=2.0: give a share for each update, from 0 to below 1"),
    ({"decay": 1.0}, "decay=1.0: give a share"),
    ({"decay": -0.1}, "decay=-0.1: give a share"),
    ({"target_rate": 5.0}, "target_rate=5.0: give spikes of a cell per step, from 0 to 1; 10 Hz .* target_rate=0.01"),
    ({"target_rate": -0.1}, "target_rate=-0.1: give spikes"),
    ({"trace": "synaps"}, "nearest"),
]


@pytest.mark.parametrize(("options", "words"), LEGAL)
def test_combinations_that_mean_nothing_are_refused_when_built(options, words):
    with pytest.raises(ValueError, match=words if words != "nearest" else "synapse"):
        Online(**options)


class TestRefused:
    def test_a_loss_that_sees_the_whole_sequence(self):
        with pytest.raises(ValueError, match='MeanCrossEntropy sees the whole sequence.*objective="tet"'):
            assigned(Online(), net(LIF(), (6,)), batch(), OBJECTIVES["ce_mean"]())

    def test_cells_without_one_leak_under_a_filter_of_the_input(self):
        with pytest.raises(UnfitModel, match=r"layers.0 do not leak at one constant rate.*rules.make\(\"ostl\"\)"):
            assigned(Online(trace="presynaptic"), net(NEURONS["AdEx"], (6,)), batch())

    def test_normalisation_in_a_synapse(self):
        with pytest.raises(UnfitModel, match="synapse of layers.0 has BatchNorm1d"):
            assigned(Online(), net(LIF(), ("6b",)), batch())

    def test_a_model_that_does_not_show_its_cells(self):
        model = torch.nn.Sequential(torch.nn.Linear(4, 3))
        with pytest.raises(rules.MissingNeed, match="needs what Sequential does not offer"):
            rules.Trainer(model, rules.LearningRule(LOSS, Online(), rules.make("bptt").plasticity))


def test_random_cells_are_followed_in_their_draws():
    """A cell with escape noise is taken as it is; the trace follows the draws of this pass."""
    found = assigned(Online(filter="readout"), net(EscapeLIF(), ("6r",)), batch())
    assert all(g.isfinite().all() for g in found.grads.values())
