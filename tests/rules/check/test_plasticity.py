"""Each check passes for every plasticity of ours and catches the one that was broken for it, and only that."""

from __future__ import annotations

import pytest

from rules.check.plasticity import CHECKS, check_plasticity
from rules.plasticity import PLASTICITIES, Levels, Magnitude, Sign, SoftThreshold
from rules.plasticity.memristor import DEVICES, Memristor
from tests.rules.check.broken_plasticity import BROKEN, Latent, Recipe, Steps

POSITIONAL = {  # what a device needs of a positional store, where it is not the usual
    "reram_sb": {"base": 64, "digits": 2, "period": 20},  # write noise of 56 steps, and of 75
    "reram_es": {"base": 64, "digits": 2, "period": 20, "reset": True},  # steps too uneven to be taken back
    "pcm": {"period": 20, "reset": True},
    "reram_array_om": {"period": 4},
    "reram_array_hfo2": {"base": 2, "period": 1, "threshold": 8, "reset": True},
}


@pytest.mark.parametrize("name", PLASTICITIES)
def test_every_named_plasticity_keeps_the_contract(name):
    asked = {"soft_threshold": {"mu": 0.1}}  # has no default
    report = check_plasticity(PLASTICITIES[name](**asked.get(name, {})))
    assert report.passed, str(report)
    assert len(report.results) == len(CHECKS) >= 9


@pytest.mark.parametrize("store", ["accumulate_and_carry", "positional"])
@pytest.mark.parametrize("device", DEVICES)
def test_every_device_keeps_it_in_every_store(device, store):
    options = POSITIONAL.get(device, {"period": 10}) if store == "positional" else {}
    report = check_plasticity(Memristor(device, store, store_options=options))
    assert report.passed, str(report)


@pytest.mark.parametrize(
    "plasticity",
    [
        SoftThreshold(final=0.02, steps=20, start=0.1, stop=0.8),
        SoftThreshold(final=0.02, steps=20, schedule="s_lats"),
        SoftThreshold(final=0.02, schedule="fixed"),
        SoftThreshold(mu=0.1, inner="memristor"),
        Levels(bits=1, scale="percentile", per="layer"),
        Levels(bits=8, gradient="scaled"),
        Levels(bits=3, inner="memristor"),
        Sign(inner={"name": "sgd", "options": {"momentum": 0.9}}),
        Sign(inner="memristor"),
        Magnitude(0.5, begin=3, end=9, every=2, scope="global"),
        Magnitude(0.5, inner="memristor"),
        Magnitude(0.5, inner=Levels(bits=4)),
    ],
    ids=str,
)
def test_projections_keep_it_whatever_moves_their_latent_weights(plasticity):
    report = check_plasticity(plasticity)
    assert report.passed, str(report)


def test_pulse_trains_passed_on_at_once_keep_it():
    report = check_plasticity(Memristor("reram_sb", "direct", train=31))
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", [Steps, Latent])
def test_the_good_twin_of_the_broken_ones_keeps_it(kind):
    report = check_plasticity(Recipe(kind))
    assert report.passed, str(report)


@pytest.mark.parametrize(("check", "broken"), [(check, made) for check, all_ in BROKEN.items() for made in all_])
def test_each_check_catches_the_plasticity_broken_for_it(check, broken):
    failed = {r.check: r.message for r in check_plasticity(broken).results if not r.passed}
    assert failed[check]
    assert set(failed) <= {check} | getattr(getattr(broken, "kind", None), "also", set())


def test_every_check_has_a_broken_plasticity():
    assert set(BROKEN) == set(CHECKS)


def test_the_report_prints_a_line_for_each_check():
    assert str(check_plasticity(Recipe())).count("ok  ") == len(CHECKS)
