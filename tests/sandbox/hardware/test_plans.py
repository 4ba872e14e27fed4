"""Every named rule has an answer, and the answers of the table count what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules import RULES, make
from sandbox.hardware import FAMILIES, HARDWARE, PLANS, Layer, NoEstimate, Workload, estimate, plan_of
from sandbox.hardware.moves import state_bits
from sandbox.hardware.plans import KEPT

MAC, AC = HARDWARE["neuromc"].engines.mac, HARDWARE["neuromc"].engines.ac
C, K, T, OUT = 70, 30, 40, 5
LAYER = Layer("hidden", C, K, T, spikes=0.1, errors=0.5, fires=0.2)
WORK = Workload((LAYER,), classes=OUT)
EMPTY = replace(
    HARDWARE["neuromc_sparse"], engines=replace(HARDWARE["neuromc"].engines, soma_forward=0.0, soma_backward=0.0)
)


def parts(plan):
    found = estimate(WORK, plan, EMPTY)
    return [found.sum(engine, "compute") for engine in ("forward", "backward", "weight")]


def test_every_rule_has_an_answer():
    """One more rule wants a line, if its name is not that of a family: a plan, or why there is none."""
    assert set(PLANS) <= set(RULES)
    for name in RULES:
        try:
            assert plan_of(name, make(name).credit).state in KEPT
        except NoEstimate as error:
            assert str(error) == f"no estimate for {name!r}: {PLANS[name]}"  # noqa: PT017 -- one of two right answers


@pytest.mark.parametrize("name", [n for n, plan in PLANS.items() if not isinstance(plan, str)])
def test_every_plan_gives_an_estimate(name):
    assert estimate(WORK, name, "neuromc_sparse").total > 0
    assert estimate(WORK, name, "neuromc").state_bytes > 0


AHEAD, BACK, WEIGHT = T * C * K * 0.1 * AC, T * C * K * 0.5 * MAC, T * C * K * 0.1 * 0.5 * AC
GRADED = WEIGHT / AC * MAC


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        ("forward", [AHEAD, 0, 0]),
        ("bptt", [AHEAD, BACK + T * K * MAC, WEIGHT]),
        (replace(FAMILIES["sampled"], sampled=10), [AHEAD, BACK / 4, WEIGHT / 4]),
        (replace(FAMILIES["sampled"], sampled=999), [AHEAD, BACK, WEIGHT]),
        ("ottt", [AHEAD, BACK, GRADED + T * C * MAC]),
        ("eprop", [AHEAD, T * K * OUT * MAC, GRADED + T * C * K * MAC]),
        (FAMILIES["dfa"], [AHEAD, T * K * OUT * MAC, WEIGHT]),
        ("eventprop", [AHEAD, T * K * 0.2 * C * MAC + T * K * MAC, T * C * K * 0.1 * AC]),
        ("stdp", [AHEAD, 0, T * C * K * 0.1 * 0.2 * AC + T * (C + K) * MAC]),
        ("three_factor_local", [AHEAD, 0, WEIGHT + T * (C + K) * MAC]),
        ("probing", [2 * AHEAD + C * K * 0.548, 0, 0]),
    ],
)
def test_rows_of_the_table(plan, wanted):
    assert parts(plan) == pytest.approx(wanted)


def test_the_last_cells_have_the_error_already():
    """Of a network of 70-30-5, only the 30 hidden cells are brought the error of 5 outputs."""
    two = Workload((LAYER, Layer("out", K, OUT, T, spikes=0.1, errors=0.5)))
    found = estimate(two, FAMILIES["dfa"], EMPTY)
    assert found.sum("backward", "compute") == pytest.approx(T * K * OUT * MAC)


@pytest.mark.parametrize(
    ("name", "options", "passes"),
    [
        ("spsa", {"draws": 3}, 6),
        ("spsa", {"draws": 3, "diff": "forward"}, 4),
        ("node_perturbation", {"draws": 4}, 8),
        ("node_perturbation", {"draws": 4, "antithetic": False}, 5),
        ("evolution_strategy", {"population": 6}, 6),
        ("forward_gradient", {"draws": 2}, 3),
    ],
)
def test_passes_are_those_of_the_settings(name, options, passes):
    plan = plan_of(name, make(name, **options).credit)
    without = replace(plan, nudges=False)
    assert parts(without)[0] == pytest.approx(passes * AHEAD)


def test_of_a_window_only_its_steps_are_kept():
    plan = plan_of("bptt", make("bptt", window=5).credit)
    assert state_bits(LAYER, plan) == state_bits(LAYER, plan_of("bptt")) * 5 / T
    assert parts(plan) == parts("bptt")


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("bptt", T * K * 34),
        ("ottt", K * 34 + 16 * C),
        ("eprop", K * 34 + 16 * C * K),
        ("spsa", 64),
        ("eventprop", T * K * 0.2 * 16),
        ("stdp", K * 34 + 16 * (C + K)),
    ],
)
def test_what_is_kept(name, bits):
    """Of a cell and step a membrane and its derivative, 16 bits each, a spike and a mask."""
    assert state_bits(LAYER, plan_of(name)) == pytest.approx(bits)
