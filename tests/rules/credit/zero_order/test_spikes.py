"""Networks with memory: injected currents, saved states, smooth and true spikes (P4.15)."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.zero_order import HZO, LayerwiseZO, SequentialLocal
from rules.objectives import OBJECTIVES
from rules.spikes.surrogate import Surrogate
from sandbox import LIF, LeakyIntegrator, build
from sandbox.neurons import CPLIF, GLIF, ILIF, KLIF, NASN, NEURONS, MaskedPSN, SlidingPSN
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, dice, error, flat, inputs

NEURON = LIF(tau_mem=2.0, surrogate=Surrogate("sigmoid"))
SMOOTH = BPTT(smooth=True, detach_reset=False)
T, B = 6, 3


def network(hidden=(5, 6), neuron=NEURON, shape=(4,), seed=1):
    return build(shape, 3, hidden, neuron, LeakyIntegrator(), seed=seed).double().eval()


def sequence(*shape):
    return inputs(T, B, *shape or (4,)).abs()


@pytest.mark.parametrize("hidden", [(5, 6), ("5r", 4, "3r"), ("6b", 5), ("5rb", 3)], ids=str)
@pytest.mark.parametrize("cut", ["pre", "post"])
@pytest.mark.parametrize("rule", [HZO, SequentialLocal, LayerwiseZO])
def test_smooth_spikes_are_surrogate_gradients(rule, cut, hidden):
    """P4.15, recurrent and normalised layers included."""
    assert error(rule(smooth=True, cut=cut), network(hidden), sequence(), SMOOTH) < 1e-6


@pytest.mark.parametrize("rule", [HZO, SequentialLocal, LayerwiseZO])
@pytest.mark.parametrize(
    "cells",
    [SlidingPSN(3), MaskedPSN(T, 3), ILIF(), NASN(alpha=-1.0), CPLIF(), GLIF(T), KLIF(surrogate=Surrogate("sigmoid"))],
    ids=lambda cells: type(cells).__name__,
)
def test_cells_that_filter_and_count(rule, cells):
    """A filter's past, a membrane of counts and constants of channels go on from probe to probe."""
    assert error(rule(smooth=True), network(neuron=cells), sequence(), SMOOTH) < 1e-6


def test_a_static_input_is_weighed_once():
    x = sequence()[:1].expand(T, B, 4)
    for hidden in ((5, 6), ("5r", 4)):
        assert error(HZO(smooth=True), network(hidden), x, SMOOTH) < 1e-6


@pytest.mark.parametrize("hidden", [("2c3p2", "3c3", 5), ("2x3", 4)], ids=str)
def test_spiking_convolutions_and_residual_blocks(hidden):
    model = network(hidden, shape=(1, 5, 5))
    x = sequence(1, 5, 5)[:3]
    for shown in (x, x[:1].expand(3, -1, -1, -1, -1)):
        assert error(HZO(smooth=True), model, shown, SMOOTH) < 1e-6


def test_layers_in_a_plain_stack():
    model = nn.Sequential(*network().layers)
    assert error(HZO(smooth=True), model, sequence(), SMOOTH) < 1e-6


def test_a_probe_at_a_time_runs_from_that_time_on():
    """Evaluations of half the steps, on average (T + 1) / 2 T, are half evaluations."""
    model = network((5, 6))
    credit = assign(SequentialLocal(smooth=True), model, sequence())
    share = (T + 1) / 2  # of T probes for each unit, in whole passes
    assert (
        credit.cost.layer_evaluations == 3 * 3 + 2 * (5 + 6) * share
    )  # the first step runs model and layers once more
    assert credit.cost.forwards == 3
    again = SequentialLocal(smooth=True).assign(model, OBJECTIVES["ce_mean"](), batch(), True, dice())
    assert (again.cost.layer_evaluations, again.cost.forwards) == (3 + 2 * (5 + 6) * share, 1)


def batch():
    return Batch(sequence(), torch.tensor([0, 1, 2]))


def test_recurrent_weights_are_counted():
    """Every pass through a recurrent layer's neurons uses its recurrent weight."""
    model = network(("5r",))
    credit = SequentialLocal(smooth=True).assign(model, OBJECTIVES["ce_mean"](), batch(), True, dice())
    share = (T + 1) / 2
    assert credit.cost.layer_evaluations == 3 + 2 * 5 * 2 * share


def test_time_shared_probes_give_the_sum_over_time():
    """For an input that is constant in time the first of two weights needs no more than that; M probes, not M T."""
    model = network((5,))
    x = sequence()[:1].expand(T, B, 4).contiguous()
    shared, each = (assign(HZO(smooth=True, times=s), model, x) for s in ("shared", "each"))
    for name in ("layers.0.synapse.weight", "layers.0.synapse.bias", "layers.1.synapse.bias"):
        torch.testing.assert_close(shared.grads[name], each.grads[name], atol=1e-7, rtol=1e-6)
    assert shared.info["probes"] == 5 + T  # the read-out's own memory weighs nothing and is probed at each time
    assert each.info["probes"] == 5 * T + T


def test_true_spikes_with_a_finite_step_go_down():
    model = network((20,), LIF(tau_mem=2.0))
    objective = OBJECTIVES["ce_mean"]()
    for rule in (HZO(), HZO(times="shared"), HZO(probes="normal", q=200)):
        credit = rule.assign(model, objective, batch(), True, dice())
        true = BPTT().assign(model, objective, batch(), (), dice())
        mine, theirs = (flat({name: c.grads[name] for name in true.grads}) for c in (credit, true))
        assert float(torch.cosine_similarity(mine, theirs, 0)) > 0.3, (
            "a step for a surrogate, and a direction in common"
        )
        assert bool(credit.grads["layers.0.synapse.weight"].any())


def test_spikes_have_no_slope():
    """With a step that flips no spike the layers below the read-out get no credit, and the monitor reports it."""
    with pytest.warns(UserWarning, match=r"layers 1..2 have a gain of .* each, below \[0.8, 1.25\]"):
        credit = assign(HZO(step=1e-3), network((5,)), sequence())
    assert not credit.grads["layers.0.synapse.weight"].any()
    assert credit.grads["layers.1.synapse.weight"].any()


def test_gains_are_warned_of_once_in_a_run():
    model, state = network((5,)), False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(3):
            with torch.no_grad():
                model.layers[1].synapse.weight.mul_(1.1)  # so that the words are others
            state = HZO(step=1e-3).assign(model, QUADRATIC, Batch(sequence()), state, dice(seed)).state
    assert sum("have a gain of" in str(each.message) for each in caught) == 1
    assert state == (True, "gain 1..2")


def test_noisy_neurons_meet_the_same_noise_in_both_halves_of_a_pair():
    """Common random numbers: otherwise two noisy passes would differ by whole spikes at a step of 1e-6."""
    model = network((20,), NEURONS["escape_lif"]())
    credit = assign(HZO(step=1e-3), model, sequence())
    assert not credit.grads["layers.0.synapse.weight"].any()
