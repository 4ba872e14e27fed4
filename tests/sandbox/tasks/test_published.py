"""The networks of the published experiments on cue accumulation, against loops in NumPy that follow the published code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.objectives import OBJECTIVES
from sandbox.config.registry import Choice
from sandbox.tasks.cue_accumulation import CueAccumulation
from tests.conftest import ROOT

NETWORKS = ROOT / "experiments" / "published" / "networks.py"
RESULTS = ROOT / "experiments" / "results"
INPUTS, STEPS = 40, 400


def made(name, **options):
    return Choice(f"{NETWORKS}:{name}", options).make("model", shape=(INPUTS,), classes=2, seed=3).double()


def spikes():
    return (np.random.RandomState(0).rand(STEPS, INPUTS) < 0.02).astype(float)


def arrays(model):
    return [p.detach().numpy() for p in model.parameters()]


def bellec(weights, x, n_ref=5):
    """The authors' EligALIF and `exp_convolve`; a cell is silent for n_ref - 1 steps after that of its spike."""
    into, back, out = weights
    alpha, rho = math.exp(-1 / 20), math.exp(-1 / 2000)
    beta = np.repeat([0, 1.7 * (1 - rho) / (1 - math.exp(-1 / 20))], 50)
    v, b, z, wait, y, shown = *(np.zeros(100) for _ in range(4)), np.zeros(2), []
    fired = 0
    for row in x:
        b = rho * b + z
        v = alpha * v + into @ row + back @ z - 0.6 * z
        z = ((v - 0.6 - beta * b > 0) & (wait <= 0)).astype(float)
        wait = np.clip(wait + n_ref * z - 1, 0, n_ref)
        y = alpha * y + (1 - alpha) * (out @ z)
        shown.append(y)
        fired += z.sum()
    return np.array(shown), fired


def frenkel(weights, x):
    """The published SRNN: its input of step t enters the membrane of step t + 1, which is only a matter of counting."""
    into, back, out = weights
    alpha, kappa = math.exp(-1 / 2000), math.exp(-1 / 20)
    v, z, y, shown, fired = np.zeros(100), np.zeros(100), np.zeros(2), [], 0
    for row in x:
        v = alpha * v + into @ row + back @ z - 0.6 * z
        z = (v > 0.6).astype(float)
        y = kappa * y + out @ z
        shown.append(y)
        fired += z.sum()
    return np.array(shown), fired


@pytest.mark.parametrize(("name", "loop"), [("bellec", bellec), ("frenkel", frenkel)])
def test_the_output_is_that_of_the_published_equations(name, loop):
    model, x = made(name), spikes()
    wanted, fired = loop(arrays(model), x)
    assert fired > 100
    with torch.no_grad():
        found = model(torch.as_tensor(x)[:, None]).output[:, 0].numpy()
    assert np.abs(found - wanted).max() < 1e-12  # float64, sums of 400 steps


@pytest.mark.parametrize(
    ("name", "deviations"),
    [
        ("bellec", (1 / math.sqrt(40), 0.1, math.sqrt(2 / 102))),
        ("frenkel", (0.5 * math.sqrt(2 / 40), 0.1 * math.sqrt(2 / 100), 0.5 * math.sqrt(2 / 100))),
    ],
)
def test_initial_weights_have_the_published_deviations(name, deviations):
    for weights, deviation in zip(arrays(made(name)), deviations):
        spread = deviation / math.sqrt(2 * weights.size)  # of an estimate from so many numbers
        assert abs(weights.std() - deviation) < 4 * spread + 0.01 * deviation  # the zeros of the diagonal
    assert not np.diag(arrays(made(name))[1]).any()


def test_the_penalty_is_that_of_eprop():
    rates = Choice(f"{NETWORKS}:Rates", {"weight": 2.0, "target": 0.01}).make("regulariser")
    model, x = made("bellec"), torch.as_tensor(spikes())[:, None]
    run = model(x, record=True)
    away = run.traces[0].post.mean((0, 1)) - 0.01
    assert rates(run, Batch(x)).item() == pytest.approx(away.square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("name", [pytest.param("bellec", marks=pytest.mark.slow), "frenkel"])
def test_without_the_reset_the_gradient_of_bptt_explodes(name):
    """Why their configurations do not detach it, which BPTT does by default."""
    data = CueAccumulation(train=4).load()
    x, y = (part.transpose(0, 1) for part in data.train.take(torch.arange(4), torch.Generator()))
    model, given = made(name).float(), Batch(x, targets=y)
    norms = []
    for detached in (False, True):
        credit = BPTT(detach_reset=detached)
        grads = credit.assign(model, OBJECTIVES["ce_rate"](), given, (), torch.Generator()).grads
        norms.append(grads["layers.0.cells.recurrent.weight"].norm().item())
    assert norms[1] > 1e6 * norms[0]  # infinite in some batches


@pytest.mark.parametrize(
    "path",
    [
        *RESULTS.glob("cue_accumulation_*/table.txt"),
        RESULTS / "nearness" / "nearness.md",
        RESULTS / "anchors" / "anchors.md",
    ],
    ids=str,
)
def test_the_documented_rows_are_those_that_were_printed(path):
    documented = (ROOT / "docs" / "results.md").read_text()
    rows = [line.partition("` | ")[2] or line for line in path.read_text().splitlines() if line.startswith("| ")][2:]
    assert rows
    for row in rows:
        assert row in documented, row
