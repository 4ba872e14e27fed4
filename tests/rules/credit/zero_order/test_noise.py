"""Where the rules differ: noise in what is read, and layers that do not keep lengths (P4.6, P4.7, P4.8)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rules.credit.bptt import BPTT
from rules.credit.zero_order import HZO, LayerwiseZO, SequentialLocal
from rules.credit.zero_order.layered.lab import Lab
from rules.credit.zero_order.layered.probes import transported
from rules.credit.zero_order.layered.recorded import record
from rules.credit.zero_order.layered.stages import stages
from rules.credit.zero_order.layered.transport import Transport
from tests.rules.credit.zero_order.nets import assign, deep, inputs, mlp, noisy

M, SIGMA, EPS = 32, 1e-3, 0.1
R0 = SIGMA * math.sqrt(M) / (EPS * math.sqrt(2))
EYE = torch.eye(M, dtype=torch.float64)  # one sample for each input, so that the first weight's gradient is the errors
UNIT = math.sqrt(M)  # one over the rms of a vector of length 1 with M entries


def first_layer_error(rule, model, x, seeds):
    """The distance of the first layer's errors from the true ones, relative, rms over samples and seeds."""
    true = assign(BPTT(), nn.Sequential(*model), x).grads["0.weight"]
    squares = [float((assign(rule, model, x, seed=s).grads["0.weight"] - true).square().sum()) for s in range(seeds)]
    return math.sqrt(sum(squares) / seeds) / float(true.norm())


@pytest.mark.parametrize("depth", [4, 8, 16])
@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        (HZO, lambda depth: math.log2(depth)),
        (SequentialLocal, lambda depth: depth - 1),
        (LayerwiseZO, lambda depth: 1),
    ],
)
def test_noise_law(rule, passed, depth):
    """P4.6: r0 times the root of the number of Jacobians passed; 32 samples of 32 units, 2 draws, so 2 % of chance."""
    model = noisy(deep(depth, activation=nn.Identity), SIGMA)
    found = first_layer_error(rule(step=EPS * UNIT), model, EYE, seeds=2)
    assert found == pytest.approx(R0 * math.sqrt(passed(depth)), rel=0.1)


def test_repeats_average_noise():
    model = noisy(deep(4, activation=nn.Identity), SIGMA)
    once, often = (first_layer_error(HZO(step=EPS * UNIT, repeats=r), model, EYE, seeds=1) for r in (1, 9))
    assert once / often == pytest.approx(3, rel=0.1)


@pytest.mark.filterwarnings("ignore:gain")
def test_unitary_limit():
    """P4.7: read with noise, layers that shrink lengths drown probes; without, layers that stretch them bend probes."""
    x = inputs(16, M)
    read, exact = (
        {g: first_layer_error(HZO(step=EPS), noisy(deep(16, gain=g), sigma), x, seeds=1) for g in gains}
        for sigma, gains in ((SIGMA, (0.6, 1.0)), (0.0, (1.0, 2.0)))
    )
    assert read[0.6] > 10 * read[1.0]
    assert exact[2.0] > 5 * exact[1.0]


def carried(rule, model, x, error, start=1, end=3):
    """What `rule` makes at the first weight's output of an error at the second's."""
    made = record(stages(model), x)
    transport = Transport(made, Lab(rule.probing, 0, None), rule.parameters(model))
    return transported(transport.site(start, end, "here", 1), error, transport.lab)


@pytest.mark.parametrize("probes", ["random", "normal", "scattered"])
def test_random_probes_are_unbiased(probes):
    """P4.8: the mean of 10,000 draws, each with its own generator, is the error of the basis to 3 %."""
    model, draws = mlp([3, 6, 6]), 10_000
    x, error = inputs(1, 3).expand(draws, 3), inputs(1, 1, 6).expand(1, draws, 6)
    rule = HZO(probes=probes, q=1)
    mean, true = carried(rule, model, x, error).mean(1), carried(HZO(), model, x[:1], error[:, :1])[0]
    assert float((mean - true).norm() / true.norm()) < 0.03


@pytest.mark.parametrize("probes", ["random", "normal"])
def test_the_variance_falls_as_one_over_q(probes):
    """P4.8: from 20,000 samples of 6 units the ratio of variances is known to about 1 %."""
    model, draws = mlp([3, 6, 6]), 20_000
    x, error = inputs(1, 3).expand(draws, 3), inputs(1, 1, 6).expand(1, draws, 6)
    spread = [float(carried(HZO(probes=probes, q=q), model, x, error).var(1).sum()) for q in (1, 4)]
    assert spread[0] / spread[1] == pytest.approx(4, rel=0.03)


def test_the_same_dice_give_the_same_credit():
    model, x = mlp([3, 6, 5, 2]), inputs(4, 3)
    rule = HZO(probes="random", q=2)
    one, two, other = (assign(rule, model, x, seed=s).grads["0.weight"] for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_noise_comes_from_the_dice_that_are_handed_in():
    model = noisy(mlp([3, 6, 5, 2]), SIGMA)
    before = torch.get_rng_state()
    one, two = (assign(HZO(), model, inputs(4, 3), seed=1).grads["0.weight"] for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())
