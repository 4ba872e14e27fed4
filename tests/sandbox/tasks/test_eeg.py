"""Views of an EEG against closed forms: electrodes and maps, bands and entropies, spatial filters, windows."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from sandbox.tasks.attention_eeg import AttentionEEG
from sandbox.tasks.bands import BANDS, band_entropies, band_variances, differential_entropy
from sandbox.tasks.csp import covariance, spatial_filters
from sandbox.tasks.eeg import EEGTask, Trial
from sandbox.tasks.scalp import ELECTRODES, around, distances, interpolation, maps, mirrored, positions, projected


def index(name):
    return ELECTRODES.index(name)


# --- electrodes and maps ---


def test_electrodes_are_where_their_names_say():
    where = positions()
    assert len(set(ELECTRODES)) == 64
    np.testing.assert_allclose(np.linalg.norm(where, axis=1), 1)
    np.testing.assert_allclose(where[index("Cz")], [0, 0, 1], atol=1e-12)
    for name in ELECTRODES:
        np.testing.assert_allclose(where[index(mirrored(name))], where[index(name)] * [-1, 1, 1], atol=1e-12)
        side = 0 if name.endswith("z") else 1 if int(name[-1]) % 2 == 0 else -1
        assert np.sign(np.round(where[index(name), 0], 9)) == side, name
    assert where[index("Fpz"), 1] > 0.99 > -0.99 > where[index("Oz"), 1]
    np.testing.assert_allclose(distances()[index("Cz"), index("C4")], math.radians(46))
    np.testing.assert_allclose(np.linalg.norm(projected()[index("P10")]), math.radians(115))


def test_maps_are_exact_for_planes_and_zero_outside():
    """Clough-Tocher elements reproduce polynomials of the first degree; gradients are estimated to 1e-9."""
    where = projected()
    x, y = maps(where[:, 0]), maps(where[:, 1])
    inside = np.abs(interpolation()).sum(1).reshape(32, 32) > 0
    assert 0.6 < inside.mean() < 0.8
    rows, columns = (
        np.linspace(where[:, 1].max(), where[:, 1].min(), 32),
        np.linspace(where[:, 0].min(), where[:, 0].max(), 32),
    )
    np.testing.assert_allclose(x[inside], np.tile(columns, (32, 1))[inside], atol=1e-6)
    np.testing.assert_allclose(y[inside], np.tile(rows[:, None], (1, 32))[inside], atol=1e-6)
    assert not x[~inside].any()


@pytest.mark.parametrize(("name", "row", "column"), [("Fpz", 3, 16), ("T8", 15, 28), ("Cz", 15, 16), ("Oz", 28, 16)])
def test_a_map_is_seen_from_above_with_the_nose_at_the_top(name, row, column):
    found = maps(around(name, 0.3))
    high = np.unravel_index(found.argmax(), found.shape)
    assert abs(high[0] - row) <= 3
    assert abs(high[1] - column) <= 3
    assert maps(np.ones((2, 5, 64)), 8).shape == (2, 5, 8, 8)


# --- bands ---


@pytest.mark.parametrize("samples", [128, 255])
def test_variances_of_all_frequencies_add_up_to_that_of_the_signal(samples):
    x = np.random.default_rng(0).standard_normal((3, samples))
    found = band_variances(x, 128.0, [(0.1, 20), (20.01, 64)]).sum(-1)
    np.testing.assert_allclose(found, x.var(-1))


def test_entropy_of_white_noise_is_that_of_its_variance():
    """The variance within a band of k frequencies is `v 2 k / n` times a chi-square of 2 k, whose mean logarithm is known."""
    n, v, count = 128, 9.0, 4000
    x = 3 * np.random.default_rng(1).standard_normal((count, n))
    found = band_variances(x, 128.0, list(BANDS.values()))
    entropy = differential_entropy(found)
    for place, (low, high) in enumerate(BANDS.values()):
        k = high - low + 1
        assert found[:, place].mean() == pytest.approx(v * 2 * k / n, rel=5 / math.sqrt(k * count))
        wanted = 0.5 * math.log(2 * math.pi * math.e * v * 2 * k / n) + 0.5 * (digamma(k) - math.log(k))
        assert entropy[:, place].mean() == pytest.approx(wanted, abs=5 * entropy[:, place].std() / math.sqrt(count))
    whole = differential_entropy(band_variances(x, 128.0, [(1, 64)]))
    assert whole.mean() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * v), abs=0.02)  # bias 1 / n, error 1e-3


def test_a_band_without_anything_has_the_least_share_of_its_signal():
    tone = np.sin(2 * np.pi * 10 * np.arange(128) / 128)
    found = band_entropies(np.stack([tone, 1e-6 * tone]), 128.0, [(8, 13), (31, 50)])
    np.testing.assert_allclose(found[:, 0] - found[:, 1], 0.5 * math.log(1e12))
    np.testing.assert_allclose(found[0] - found[1], math.log(1e6))
    with pytest.raises(ValueError, match="a signal has no variance, of which no entropy is finite: leave it out, or"):
        band_entropies(np.stack([tone, 0 * tone]), 128.0, [(1, 3)])


# --- spatial filters ---


def mixed(seed=0, electrodes=6, n=40):
    """Windows of two classes that differ in the variance of two of six sources, and how these are mixed."""
    rng = np.random.default_rng(seed)
    mixing, labels = rng.standard_normal((electrodes, electrodes)), np.arange(n) % 2
    scale = np.ones((n, electrodes, 1))
    scale[labels == 0, 0] = scale[labels == 1, 3] = 4.0
    return mixing @ (scale * rng.standard_normal((n, electrodes, 500))), labels, mixing


def test_filters_solve_the_generalised_eigenvalue_problem():
    x, labels, _ = mixed()
    filters = spatial_filters(x, labels, 6)
    one, two = (covariance(x[labels == k]) for k in (0, 1))
    np.testing.assert_allclose(filters @ (one + two) @ filters.T, np.eye(6), atol=1e-10)
    shares = np.diag(filters @ two @ filters.T)
    np.testing.assert_allclose(filters @ two @ filters.T, np.diag(shares), atol=1e-10)
    assert (np.diff(np.abs(shares - 0.5)) <= 1e-12).all()
    assert (np.abs(filters).max(1) == filters.max(1)).all()


def test_the_first_filters_find_the_sources_that_differ():
    x, labels, mixing = mixed()
    through = spatial_filters(x, labels, 2) @ mixing
    assert set(np.abs(through).argmax(1)) == {0, 3}
    assert (np.abs(through).max(1) > 10 * np.sort(np.abs(through), 1)[:, -2]).all()


def test_loud_windows_count_no_more_than_others():
    x, labels, _ = mixed()
    loud = x * np.where(np.arange(len(x)) < 4, 100.0, 1.0)[:, None, None]
    np.testing.assert_allclose(spatial_filters(loud, labels, 6), spatial_filters(x, labels, 6))


def test_signals_against_an_average_can_be_filtered():
    x, labels, _ = mixed()
    found = spatial_filters(x - x.mean(1, keepdims=True), labels, 6)
    assert np.isfinite(found).all()


# --- windows and views ---


def trials(count=4, samples=300, seed=0):
    rng = np.random.default_rng(seed)
    return [Trial(rng.standard_normal((64, samples)), n % 2) for n in range(count)]


class Made(EEGTask):
    """A task of given trials."""

    def load(self, data_dir=None):
        return self.made((trials(4), trials(2, seed=1), trials(2, seed=2)))


@pytest.mark.parametrize(("window", "overlap", "count"), [(1.0, 0.0, 2), (1.0, 0.5, 3), (0.5, 0.0, 4), (2.0, 0.75, 1)])
def test_windows_are_cut_one_behind_the_other(window, overlap, count):
    task, (trial, *_) = Made(window=window, overlap=overlap), trials()
    found, labels = task.windows([trial, trial._replace(label=1)])
    size = round(128 * window)
    assert found.shape == (2 * count, 64, size)
    step = round(size * (1 - overlap))
    assert all(np.array_equal(found[n], trial.eeg[:, n * step : n * step + size]) for n in range(count))
    assert labels.tolist() == [0] * count + [1] * count


def test_views_have_their_forms_and_hold_the_same():
    data = {view: Made(view=view, components=5).load() for view in ("both", "spatial", "frequency", "sequence")}
    x = {view: each.train.x for view, each in data.items()}
    assert x["spatial"].shape == (8, 1, 5, 128)
    assert x["frequency"].shape == (8, 5, 32, 32)
    assert torch.equal(x["both"], torch.cat([x["spatial"].flatten(1), x["frequency"].flatten(1)], 1))
    assert torch.equal(x["sequence"], x["spatial"][:, 0].mT)
    assert [each.sequence for each in data.values()] == [False, False, False, True]
    assert data["sequence"].shape == (5,)
    assert (Made().memory, Made(view="sequence", window=2.0).memory) == (1, 256)
    assert not Made().exchangeable


def test_views_are_scaled_by_windows_for_training():
    data = Made(components=5, view="spatial").load()
    np.testing.assert_allclose(data.train.x.std((0, 1, 3), correction=0), 1, rtol=1e-5)
    task = Made()
    raw = task.windows(trials())[0]
    entropy = differential_entropy(band_variances(raw, 128, list(BANDS.values()))).transpose(0, 2, 1)
    wanted = maps((entropy - entropy.mean(0)) / entropy.std(0))
    np.testing.assert_allclose(task.frequency([raw])[0], wanted)


@settings(deadline=None, max_examples=15)
@given(st.floats(1e-12, 1e12))
def test_the_unit_of_a_recording_changes_nothing(unit):
    """To 1e-5: entropies move by a logarithm, whose rounding is divided by a deviation, and samples are float32.

    Recordings are in volts, microvolts, or steps of an amplifier; one in volts has variances of 1e-12 and less.
    """
    task = Made(components=5)
    told, other = (
        task.made(tuple([t._replace(eeg=f * t.eeg) for t in trials(n, seed=k)] for k, n in enumerate((4, 2, 2))))
        for f in (1.0, unit)
    )
    for one, two in zip(told[:3], other[:3], strict=True):
        torch.testing.assert_close(one.x, two.x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 5.0])
@pytest.mark.parametrize(
    ("electrodes", "message"),
    [
        (
            [5],
            "S1.mat, trials{3}: electrode F5 (number 6 of 64) has the same value throughout in 1 of 2 windows of 128",
        ),
        (range(64), "S1.mat, trials{3}: electrode Fp1 and 63 more (number 1 of 64) has the same value throughout in 1"),
    ],
)
def test_an_electrode_that_is_still_is_named(electrodes, message, value):
    first, *rest = trials(4)
    first.eeg[list(electrodes), :130] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        Made().made(([first._replace(name="S1.mat, trials{3}"), *rest], trials(2), trials(2)))


def test_one_window_for_training_makes_finite_maps():
    assert np.isfinite(Made().frequency([Made().windows(trials(1, 128))[0]])[0]).all()


def test_nothing_of_other_splits_is_in_the_training_samples():
    class Other(Made):
        def load(self, data_dir=None):
            return self.made((trials(4), [Trial(9 * t.eeg, t.label) for t in trials(2, seed=1)], trials(2, seed=3)))

    one, two = Made(components=5).load(), Other(components=5).load()
    assert torch.equal(one.train.x, two.train.x)
    assert not torch.equal(one.validation.x, two.validation.x)


def test_the_spatial_view_is_within_its_band():
    t = np.arange(1280) / 128
    eeg = np.tile(np.sin(2 * np.pi * 5 * t) + np.sin(2 * np.pi * 20 * t), (64, 1))
    found = Made(band=(1.0, 8.0)).filtered(eeg)
    np.testing.assert_allclose(found[:, 256:-256], np.tile(np.sin(2 * np.pi * 5 * t), (64, 1))[:, 256:-256], atol=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Made(window=3.0).load(), "window=3.0: a window of 384 samples is longer than a trial, of .* has 300"),
        (
            lambda: Made(window=0.005),
            "window=0.005, overlap=0.0: give a length in seconds, and a share from 0 to below",
        ),
        (lambda: Made(window=1 / 128), "share from 0 to below 1; a window has at least 2 of 128 samples a second"),
        (
            lambda: spatial_filters(0 * mixed()[0], mixed()[1], 2),
            "20 of 20 windows do not vary at any electrode: leave",
        ),
        (lambda: Made(window=math.inf), "window=inf"),
        (lambda: Made(overlap=1.0), "window=1.0, overlap=1.0: give"),
        (lambda: Made(components=65), "components=65: give at most 64, the number of electrodes"),
        (lambda: Made(components=0), "components=0: give a whole number, at least 1"),
        (lambda: Made(band=(8.0, 1.0)), r"band=\(8.0, 1.0\): give two frequencies that rise, between 0 and 64 Hz"),
        (lambda: Made(band=(1.0, 64.0)), "give two frequencies that rise"),
        (
            lambda: Made(window=0.1, view="frequency").load(),
            "12 samples at 128 Hz has no frequency from 1 to 3 Hz: make",
        ),
        (
            lambda: spatial_filters(mixed()[0], mixed()[1], 7),
            "components=7: give from 1 to 6, the number of electrodes",
        ),
        (
            lambda: spatial_filters(mixed()[0], 0 * mixed()[1], 2),
            "no window for training has the class 1: spatial filt",
        ),
        (lambda: AttentionEEG(view="maps"), "view"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
