"""The energy of a step: counts first, every constant on the page, and each of them replaceable."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from rules.contract import Cost
from sandbox.ledger.energy import CMOS, MEMRISTOR, UnitEnergies, estimate


def test_an_estimate_is_the_sum_of_counts_times_units():
    cost = Cost(multiplications=10, one_bit_reads=20, adc_conversions=3, pulses=4, forwards=99, synaptic_operations=99)
    assert estimate(cost).joules == pytest.approx(10 * 4e-15 + 20 * 4e-15 + 3 * 2e-12 + 4e-12)
    assert estimate(cost).arithmetic == pytest.approx(10 * 4e-15 + 20 * 4e-15 + 3 * 2e-12)
    assert estimate(cost, CMOS).joules == pytest.approx(10 * 4.6e-12 + 20 * 0.9e-12)


@pytest.mark.parametrize("name", [f.name for f in fields(UnitEnergies)])
def test_every_constant_can_be_replaced_and_is_printed(name):
    cost, units = Cost(**{name: 7}), replace(MEMRISTOR, **{name: 1.25e-9})
    assert estimate(cost, units).joules == pytest.approx(7 * 1.25e-9)
    line = next(line for line in str(estimate(cost, units)).splitlines() if line.startswith(name))
    assert "7  x 1.25e-09 J  = 8.75e-09 J" in line


def test_it_is_called_an_estimate():
    assert str(estimate(Cost())).splitlines()[-1].startswith("estimate, not measured")


def test_negative_energies_are_refused():
    with pytest.raises(ValueError, match="pulses=-1.0: give an energy in joules, 0 or more"):
        UnitEnergies(pulses=-1.0)
