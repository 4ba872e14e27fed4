"""Device laws against their closed forms: no simulator is needed to know where so many pulses must lead."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.plasticity.memristor import (
    DEVICES,
    ConstantStep,
    DifferentialPair,
    ExponentialStep,
    LinearStep,
    PowerStep,
    SoftBounds,
)

LAWS = {
    "constant": ConstantStep(),
    "linear": LinearStep(gamma_up=0.3, gamma_down=0.6),
    "soft bounds": SoftBounds(),
    "power": PowerStep(gamma=1.5),
    "exponential": ExponentialStep(),
}
NOISE = {
    "dw_min": 0.05,
    "dw_min_dtod": 0.3,
    "dw_min_std": 2.0,
    "up_down_dtod": 0.1,
    "w_max_dtod": 0.2,
    "w_min_dtod": 0.2,
}


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def made(device, w, seed=0):
    rng = dice(seed)
    return device.init(torch.as_tensor(w, dtype=torch.float64), rng), rng


def driven(device, w, *pulses):
    state, rng = made(device, w)
    for n in pulses:
        device.pulse(state, torch.full_like(state["w"], n), rng)
    return device.read(state)


def changed(device, **options):
    return type(device)(**{f.name: getattr(device, f.name) for f in fields(device)} | options)


def test_constant_steps_are_counted_and_stop_at_the_bound():
    w = driven(ConstantStep(dw_min=0.1, w_min=-0.5), [-0.2, 0.0, 0.95], 3)
    torch.testing.assert_close(w, torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64))
    assert float(driven(ConstantStep(dw_min=0.1, w_min=-0.5), [0.0], -7)) == -0.5


@pytest.mark.parametrize("up", [True, False])
def test_soft_bounds_approach_the_bound_geometrically(up):
    """N pulses from the other bound: the distance to the bound, relative to it, is multiplied by (1 - dw / b)^N."""
    device, n = SoftBounds(dw_min=0.02, w_max=1.25, w_min=-0.75), 40
    bound, other = (1.25, -0.75) if up else (-0.75, 1.25)
    w = driven(device, [other], n if up else -n)
    left = (1 - other / bound) * (1 - 0.02 / abs(bound)) ** n
    assert float(1 - w / bound) == pytest.approx(left, rel=1e-12)


def test_linear_steps_follow_their_recursion_and_stop_at_the_bound():
    """w_n = f + (w_0 - f) (1 - dw gamma / b)^n about the fixed point f = b / gamma, which lies beyond the bound."""
    device = LinearStep(dw_min=0.02, gamma_up=0.4, gamma_down=0.8)
    want = 2.5 - 2.5 * (1 - 0.02 * 0.4) ** 30
    assert float(driven(device, [0.0], 30)) == pytest.approx(want, rel=1e-12)
    want = -1.25 + 1.25 * (1 - 0.02 * 0.8) ** 30
    assert float(driven(device, [0.0], -30)) == pytest.approx(want, rel=1e-12)
    assert float(driven(device, [0.0], 500)) == 1.0


def test_power_steps_solve_their_differential_equation():
    """For small steps omega' = -dw / range omega^2: omega_n = 1 / (1 / omega_0 + n dw / range), to order dw."""
    device, n = PowerStep(dw_min=1e-3, gamma=2.0), 2000
    omega = (1 - float(driven(device, [-1.0], n))) / 2
    assert omega == pytest.approx(1 / (1 + n * 1e-3 / 2), rel=2e-3)


def test_exponential_steps_stop_where_the_factor_meets_zero():
    """1 = A exp(gamma zeta) at w = log(1 / A) range / (2 a gamma): from below, no step goes beyond but the last."""
    device = ExponentialStep(dw_min=1e-2, A_up=0.5, gamma_up=2.0, a=0.5, b=0.0)
    stop = torch.tensor(2.0).log() / (2 * 0.5) * 2 / 2
    assert float(driven(device, [0.0], 1500)) == pytest.approx(float(stop), abs=1e-3)
    one = float(driven(device, [0.2], 1)) - 0.2
    assert one == pytest.approx(1e-2 * (1 - 0.5 * torch.tensor(0.2 * 2.0 * 0.5).exp().item()), rel=1e-6)


def test_alternating_pulses_find_the_symmetry_point():
    """Up and down in turn ends at w* = (dw+ - dw-) / (dw+ / b_max - dw- / b_min), dw- a size; 2 % as P3.6 has it."""
    device = SoftBounds(dw_min=0.02, w_max=1.25, w_min=-0.75, up_down=0.2)
    up, down = 0.02, 0.02 * 0.8
    star = (up - down) / (up / 1.25 - down / -0.75)
    after_down = driven(device, [-0.6, 0.0, 1.0], *[1, -1] * 300)
    after_up = driven(device, [-0.6, 0.0, 1.0], *[1, -1] * 300, 1)
    middle = (after_down + after_up) / 2
    torch.testing.assert_close(middle, torch.full_like(middle, star), rtol=0.02, atol=0)


def test_a_reference_puts_the_symmetry_point_at_zero():
    device = SoftBounds(dw_min=0.02, dw_min_dtod=0.3, up_down_dtod=0.2, w_max_dtod=0.2, subtract_symmetry_point=True)
    w = driven(device, torch.zeros(500), *[1, -1] * 400)
    assert float(w.abs().max()) < 0.03  # a step or so
    raw = driven(changed(device, subtract_symmetry_point=False), torch.zeros(500), *[1, -1] * 400)
    assert float(raw.std()) > 0.05


def test_a_positive_asymmetry_weakens_the_steps_down():
    device = ConstantStep(dw_min=0.01, up_down=0.25)
    assert float(driven(device, [0.0], 1)) == pytest.approx(0.01)
    assert float(driven(device, [0.0], -1)) == pytest.approx(-0.0075)
    device = ConstantStep(dw_min=0.01, up_down=-0.25)
    assert float(driven(device, [0.0], 1)) == pytest.approx(0.0075)
    assert float(driven(device, [0.0], -1)) == pytest.approx(-0.01)


@pytest.mark.parametrize("law", LAWS)
def test_many_pulses_at_once_are_the_pulses_one_by_one(law):
    """Without noise the same cells come out, to round-off of sums in another order."""
    device = changed(LAWS[law], dw_min=0.03, dw_min_dtod=0.3, w_max_dtod=0.1)
    n = torch.tensor([5.0, -3.0, 0.0, 1.0, -9.0, 2.0], dtype=torch.float64)
    (whole, rng), (piecewise, _) = made(device, torch.zeros(6)), made(device, torch.zeros(6))
    assert device.pulse(whole, n, rng) == 20
    while n.any():
        device.pulse(piecewise, n.sign(), rng)
        n = n - n.sign()
    torch.testing.assert_close(whole["w"], piecewise["w"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_noise_of_pulses_has_the_stated_size(law):
    """A single pulse on 20000 cells: 2 % is four standard errors of a standard deviation, 1 / sqrt(2 N) = 0.5 % each."""
    device = changed(LAWS[law], dw_min=0.01, dw_min_std=0.4)
    quiet = driven(changed(device, dw_min_std=0.0), torch.zeros(1), 1)
    w = driven(device, torch.zeros(20000), 1)
    size = 0.01 if law in ("linear", "soft bounds") else float(quiet)
    assert float(w.std()) == pytest.approx(0.4 * size, rel=0.02)
    assert float(w.mean()) == pytest.approx(float(quiet), abs=4 * 0.4 * size / 20000**0.5)


@pytest.mark.parametrize("lognormal", [False, True])
def test_spread_between_cells_has_the_stated_size(lognormal):
    device = ConstantStep(dw_min=0.01, dw_min_dtod=0.1, dw_min_lognormal=lognormal, w_max_dtod=0.2, w_min_dtod=0.05)
    state, _ = made(device, torch.zeros(20000))
    up = state["step"][0].log() if lognormal else state["step"][0] / 0.01
    assert float(up.std()) == pytest.approx(0.1, rel=0.02)
    assert torch.equal(state["step"][0], -state["step"][1])  # one gain for both directions
    assert float(state["high"].std()) == pytest.approx(0.2, rel=0.02)
    assert float(state["low"].std()) == pytest.approx(0.05, rel=0.02)


def test_the_asymmetry_differs_between_cells():
    state, _ = made(ConstantStep(dw_min=0.01, up_down_dtod=0.1), torch.zeros(20000))
    tilt = state["step"].sum(0) / 2 / 0.01  # step: up, and down with its sign
    assert float(tilt.std()) == pytest.approx(0.1, rel=0.02)


def test_write_noise_is_seen_and_not_kept():
    device = ConstantStep(dw_min=0.01, write_noise=3.0)
    state, rng = made(device, torch.zeros(20000))
    device.pulse(state, torch.ones(20000, dtype=torch.float64), rng)
    assert torch.allclose(device.held(state), torch.full((20000,), 0.01, dtype=torch.float64))
    assert float(device.read(state).std()) == pytest.approx(0.03, rel=0.02)
    shown = device.read(state).clone()
    n = torch.zeros(20000, dtype=torch.float64)
    n[::2] = 1
    device.pulse(state, n, rng)
    assert torch.equal(device.read(state)[1::2], shown[1::2])  # drawn anew only where a pulse came
    assert (device.read(state)[::2] != shown[::2]).all()


def test_drift_goes_to_the_base_as_told():
    device = ConstantStep(decay=0.1, base=0.2)
    state, rng = made(device, [1.0, -0.6, 0.2])
    ahead = device.drifted(state, 5)
    for _ in range(5):
        assert device.tick(state, rng) == 0
    want = (torch.tensor([1.0, -0.6, 0.2], dtype=torch.float64) - 0.2) * 0.9**5 + 0.2
    torch.testing.assert_close(device.read(state), want)
    torch.testing.assert_close(ahead, want)


def test_lifetimes_differ_between_cells():
    state, _ = made(ConstantStep(decay=1e-3, decay_dtod=0.1, base_std=0.05), torch.zeros(20000))
    assert float((1 / (1 - state["keep"])).std()) == pytest.approx(100, rel=0.02)
    assert float(state["base"].std()) == pytest.approx(0.05, rel=0.02)


def test_stuck_cells_take_no_pulse():
    device = ConstantStep(stuck=0.25)
    state, rng = made(device, torch.zeros(20000))
    before = device.read(state).clone()
    device.pulse(state, torch.full((20000,), 5.0, dtype=torch.float64), rng)
    still = device.read(state) == before
    assert float(still.double().mean()) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 20000) ** 0.5)
    assert float(before[still].std()) == pytest.approx(2 / 12**0.5, rel=0.05)  # evenly between the bounds


def test_levels_are_kept_and_right_on_average():
    """Steps of 0.03 between levels 0.5 apart: a cell steps one level in 0.06 of the pulses; four standard errors."""
    device, cells = ConstantStep(dw_min=0.03, levels=5), 40000
    w = driven(device, torch.zeros(cells), 1)
    assert set(w.unique().tolist()) == {0.0, 0.5}
    assert float(w.mean()) == pytest.approx(0.03, abs=4 * 0.5 * (0.06 * 0.94 / cells) ** 0.5)
    assert set(driven(device, torch.zeros(2000), 40, -20).unique().tolist()) <= {-1.0, -0.5, 0.0, 0.5, 1.0}


@settings(max_examples=40, deadline=None)
@given(
    law=st.sampled_from(list(LAWS)),
    stream=st.lists(st.integers(-30, 30), min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_weights_never_leave_their_bounds(law, stream, seed):
    device = changed(LAWS[law], **NOISE, stuck=0.1, levels=7 if seed % 2 else None, decay=0.05, base=0.1)
    state, rng = made(device, torch.zeros(50), seed)
    low, high = device.bounds(state)
    for n in stream:
        device.pulse(state, torch.full((50,), float(n), dtype=torch.float64), rng)
        device.tick(state, rng)
        w = device.held(state)
        assert (w >= low - 1e-12).all()
        assert (w <= high + 1e-12).all()


def test_the_seed_decides_everything():
    device = DEVICES["reram_sb"]
    kept = torch.get_rng_state()
    one, two, other = (made(device, torch.zeros(9), seed)[0] for seed in (1, 1, 2))
    assert torch.equal(kept, torch.get_rng_state())
    assert torch.equal(one["step"], two["step"])
    assert not torch.equal(one["step"], other["step"])


def test_push_pull_halves_the_pulses_and_cancels_common_drift():
    pair = DifferentialPair(ConstantStep(dw_min=0.01, decay=0.1, base=-1.0))
    state, rng = made(pair, [0.0, 0.5, -0.5])
    torch.testing.assert_close(pair.read(state), torch.tensor([0.0, 0.5, -0.5], dtype=torch.float64))
    assert pair.pulse(state, torch.ones(3, dtype=torch.float64), rng) == 6
    torch.testing.assert_close(pair.read(state), torch.tensor([0.02, 0.52, -0.48], dtype=torch.float64))
    state, rng = made(pair, [0.0])
    pair.tick(state, rng)
    assert float(state["plus"]["w"]) < -0.05  # each cell drifted
    assert float(pair.read(state)) == 0.0  # their difference did not


def test_a_worn_pair_is_refreshed_and_keeps_its_weight():
    pair = DifferentialPair(ConstantStep(dw_min=0.1, w_max=1.0, w_min=0.0), push_pull=False, refresh=2, above=0.5)
    state, rng = made(pair, [0.0, 0.2, 0.9])
    for n in (7.0, -5.0):
        pair.pulse(state, torch.tensor([n, 0.0, 0.0], dtype=torch.float64), rng)
    before = pair.read(state)
    torch.testing.assert_close(before, torch.tensor([0.2, 0.2, 0.9], dtype=torch.float64))
    assert pair.tick(state, rng) == 0
    assert (
        pair.tick(state, rng) == 2
    )  # a pulse for either cell of the worn pair, none for the one that is large by right
    torch.testing.assert_close(pair.read(state), before)
    torch.testing.assert_close(state["plus"]["w"][0], torch.tensor(0.2, dtype=torch.float64))
    assert float(state["minus"]["w"][0]) == 0.0


def test_a_pair_driven_one_way_only_ever_goes_up():
    pair = DEVICES["pcm"]
    state, rng = made(pair, torch.zeros(50))
    before = state["plus"]["w"] + state["minus"]["w"]
    pair.pulse(state, torch.ones(50, dtype=torch.float64), rng)
    pair.pulse(state, -torch.ones(50, dtype=torch.float64), rng)
    assert float((state["plus"]["w"] + state["minus"]["w"] - before).mean()) > 0.1


@pytest.mark.parametrize("name", DEVICES)
def test_presets_move_where_they_are_driven(name):
    device = DEVICES[name]
    state, rng = made(device, torch.zeros(2000))
    before = device.held(state).clone()
    n = torch.ones(2000, dtype=torch.float64)
    n[1000:] = -1
    for _ in range(3):
        device.pulse(state, n, rng)
    moved = (device.held(state) - before) * n
    assert float(moved.mean()) > 3 * float(moved.std()) / 2000**0.5
    with pytest.raises(FrozenInstanceError):
        device.anything = 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConstantStep(levels=1), "levels=1: a device needs at least 2 levels"),
        (lambda: ConstantStep(w_min=1.0, w_max=-1.0), "w_min=1.0, w_max=-1.0: the lower bound must be below"),
        (lambda: ConstantStep(w_min=0.5), "the range must contain 0"),
        (lambda: ConstantStep(dw_min=0.0), "dw_min=0.0: a pulse must move a cell"),
        (lambda: ConstantStep(dw_min_std=-1.0), "dw_min_std=-1.0: a spread cannot be negative"),
        (lambda: ConstantStep(write_noise=float("nan")), "write_noise=nan: give a finite number"),
        (lambda: ConstantStep(decay=2.0), "decay=2.0: a fraction lies between 0 and 1"),
        (lambda: ConstantStep(stuck=-0.1), "stuck=-0.1: a fraction lies between 0 and 1"),
        (lambda: LinearStep(gamma_up_dtod=-0.1), "gamma_up_dtod=-0.1: a spread cannot be negative"),
        (lambda: LinearStep(gamma_down=0.1, w_min=0.0), "w_min=0: the slope gamma_down=0.1 is relative to it"),
        (lambda: SoftBounds(reference_std=-0.1), "reference_std=-0.1: a spread cannot be negative"),
        (lambda: SoftBounds(w_min=0.0), "a soft bound at 0 would make the step there zero"),
        (lambda: PowerStep(gamma=-1.0), "gamma=-1.0: a step must not grow towards its bound"),
        (lambda: ExponentialStep(dw_min_std_add=-1.0), "dw_min_std_add=-1.0: a spread cannot be negative"),
        (lambda: DifferentialPair(ConstantStep(), push_pull=False), "refresh=0: cells that are only driven up"),
        (lambda: DifferentialPair(ConstantStep(), gain=0.0), "gain=0.0: the difference of two cells"),
        (lambda: DifferentialPair(ConstantStep(), above=0.0), "above=0.0: a fraction of the range"),
    ],
)
def test_bad_settings_are_refused_with_a_way_out(build, message):
    with pytest.raises(ValueError, match=message):
        build()
