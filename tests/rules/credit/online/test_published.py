"""e-prop against implementations that others published: numbers of NEST, and the equations of two codes in NumPy.

Read: NEST at 84b06d8 (models/eprop_*_bsshslm_2020, testsuite/pytests/synapses/test_eprop_bsshslm_2020_plasticity.py);
the authors' code IGITUGraz/eligibility_propagation at efd02e6 (Figure_3_and_S7_e_prop_tutorials/models.py);
ChFrenkel/eprop-PyTorch at 0f32a8f (models.py).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rules.contract import Batch
from rules.credit.online import Online
from tests.rules.credit.online.drawn import EARLY, LARGE, SMALL
from tests.rules.credit.online.nets import assigned, distance
from tests.rules.credit.online.published import (
    INTO,
    OUT,
    OUT_BIAS,
    RECURRENT,
    CrossEntropy,
    HalfSquares,
    authors_gradient,
    cells,
    convolved_gradient,
    nest_batch,
    nest_gradient,
    nest_network,
    nest_rule,
    nest_trained,
    network,
)

NEST = json.loads(Path(__file__).with_name("nest.json").read_text())["found"]
EXACT = 1e-12  # float64: sums of some hundred products, each right to 1e-16
UPDATED = 1e-10  # the same after three updates


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_those_that_nest_has_after_three_updates(name):
    """NEST 3.10.0, run by `nest_oracle.py`: all losses, and every weight, with the penalty on rates."""
    spec = SMALL[name]
    given = spec.draw(spec)
    model = nest_network(spec, given)
    losses = nest_trained(spec, given, model, spec.sequences)
    assert losses == pytest.approx(NEST[name]["losses"], rel=UPDATED)
    held = dict(model.named_parameters())
    for parameter, part in ((INTO, "into"), (RECURRENT, "recurrent"), (OUT, "out")):
        start, found = (
            torch.as_tensor(values, dtype=torch.float64) for values in (getattr(given, part), NEST[name][part])
        )
        moved = float((found - start).norm())
        assert moved > 1e-2, part
        assert float((held[parameter].detach() - found).norm()) < UPDATED * moved, part
    fired = model.layers[0](torch.tensor(given.spikes[0][:, None], dtype=torch.float64)).sum((0, 1))
    assert (fired > 0).all()  # else NEST has not made the last update


def test_an_early_spike_takes_the_last_error_from_nests_gradient():
    """What NEST's delays cost: a weight that carries a spike in the second step was updated without the last error."""
    spec = EARLY["an early spike"]
    given = spec.draw(spec)
    model, (rule, objective), whole = nest_network(spec, given), nest_rule(spec), nest_batch(given, 0)
    without = whole.targets.clone()
    without[-1] = model(whole.x).output[-1].detach()
    full, less = (
        nest_gradient(rule, model, objective, batch, given)[INTO] for batch in (whole, whole._replace(targets=without))
    )
    moved = (torch.tensor(given.into) - torch.tensor(NEST["an early spike"]["into"], dtype=torch.float64)) / spec.lr
    assert float((moved[:, 1:] - full[:, 1:]).norm()) < UPDATED * float(full.norm())
    assert float((moved[:, 0] - less[:, 0]).norm()) < UPDATED * float(full.norm())
    assert float((moved[:, 0] - full[:, 0]).norm()) > 1e-3 * float(full.norm())


def test_the_published_pattern_generation_has_the_losses_of_nest():
    """A hundred cells and a thousand steps: the loss before and after an update; `test_nests_own_tasks` has all."""
    spec = LARGE["pattern generation"]
    given = spec.draw(spec)
    found = nest_trained(spec, given, nest_network(spec, given), 2)
    assert found == pytest.approx(NEST["pattern generation"]["losses"][:2], rel=EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_nests_own_tasks(name):
    """The losses that NEST's tests expect of both tasks, over four updates: ten numbers."""
    spec = LARGE[name]
    given = spec.draw(spec)
    found = nest_trained(spec, given, nest_network(spec, given), spec.sequences)
    assert found == pytest.approx(NEST[name]["losses"], rel=EXACT)


def rough(*shape, seed=0, scale=1.0):
    return scale * np.random.RandomState(seed).randn(*shape)


def as_arrays(grads, names):
    return {name: torch.as_tensor(grads[name]) for name in names}


@pytest.mark.parametrize("beta", [0.0, 0.2])
@pytest.mark.parametrize("n_ref", [1, 5])
def test_gradients_are_those_of_the_authors_code(beta, n_ref):
    """LIF and ALIF in one layer, refractory, symmetric feedback: input, bias, recurrent and read-out weights."""
    steps, samples, sizes, threshold = 60, 3, (5, 6, 2), 0.6
    weights = (rough(6, 5, scale=0.4) + 0.2, rough(6, 6, seed=1, scale=0.3), rough(2, 6, seed=2), rough(6, seed=3) / 20)
    x = (np.random.RandomState(4).rand(steps, samples, 5) < 0.3).astype(float)
    target = rough(steps, samples, 2, seed=5)
    alpha, rho, kappa = (math.exp(-1 / tau) for tau in (20.0, 100.0, 15.0))
    betas = beta * np.array([0, 0, 0, 1, 1, 1])
    constants = (threshold, betas, 0.3, n_ref, alpha, rho, kappa)
    wanted, fired = authors_gradient(sizes, constants, weights, x, target)
    assert (fired > 0).all()

    neuron = cells(threshold, 20.0, 100.0, betas, whole_gain=True, t_refractory=float(n_ref))
    hollow = weights[1] * (1 - np.eye(6))
    model = network(neuron, 15.0, weights[0], hollow, weights[2], bias=weights[3])
    given = Batch(torch.as_tensor(x), targets=torch.as_tensor(target))
    found = assigned(Online(filter="readout"), model, given, HalfSquares()).grads
    found[RECURRENT].fill_diagonal_(0)
    ours = {name: samples * found[name] for name in wanted}
    assert distance(ours, as_arrays(wanted, wanted)) < EXACT


def test_gradients_are_those_of_eprop_pytorch_but_for_the_time_of_its_input():
    """LIF, softmax over the last steps: recurrent, read-out and its bias; input weights with what entered the membrane.

    As published, the trace of input weights is one step early, and that gradient is another.
    """
    steps, samples, threshold, gamma = 60, 3, 0.6, 0.3
    weights = (rough(6, 5, scale=0.4) + 0.1, rough(6, 6, seed=1, scale=0.3), rough(2, 6, seed=2), rough(2, seed=3))
    x = (np.random.RandomState(4).rand(steps, samples, 5) < 0.3).astype(float)
    target = np.eye(2)[np.random.RandomState(5).randint(2, size=samples)][None].repeat(steps, 0)
    alpha, kappa, window = math.exp(-1 / 20.0), math.exp(-1 / 15.0), 25
    published, fired = convolved_gradient(alpha, kappa, threshold, gamma, weights, x, target, window)
    wanted, _ = convolved_gradient(alpha, kappa, threshold, gamma, weights, x, target, window, early=False)
    assert (fired > 0).all()

    neuron = cells(threshold, 20.0, whole_gain=True, gamma=gamma * threshold)
    hollow = weights[1] * (1 - np.eye(6))
    model = network(neuron, 15.0, weights[0], hollow, weights[2], whole_gain=True, out_bias=weights[3])
    cropped = np.where(np.arange(1, steps)[:, None, None] >= steps - window, target[1:], 0.0)
    given = Batch(torch.as_tensor(x[:-1]), targets=torch.as_tensor(cropped))
    found = assigned(Online(filter="readout"), model, given, CrossEntropy()).grads
    found[RECURRENT].fill_diagonal_(0)
    ours = {name: samples * found[name] for name in wanted}
    assert distance(ours, as_arrays(wanted, wanted)) < EXACT
    assert distance(ours, as_arrays(published, wanted)) > 0.01
    same = (RECURRENT, OUT, OUT_BIAS)
    assert distance({name: ours[name] for name in same}, as_arrays(published, same)) < EXACT
