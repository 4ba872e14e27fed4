"""Long fuzzes with fixed seeds, in process."""

from __future__ import annotations

import pytest

from tests.sandbox.config.fuzz import configurations
from tests.sandbox.kernels import fuzz as kernels
from tests.sandbox.kernels import fuzz_networks as networks
from tests.sandbox.reference import fuzz, fuzz_synapses

pytestmark = pytest.mark.slow


def test_two_thousand_mutated_configurations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configurations(2000, seed=11, folder=tmp_path) > 100


def test_twenty_thousand_equations():
    assert fuzz.front(20_000, seed=12) > 1000


def test_equations_through_the_whole_compiler():
    assert fuzz.whole(2000, seed=13) > 30


def test_two_thousand_synapses_through_the_whole_compiler():
    assert fuzz.synapses(2000, seed=14) > 50


def test_sixty_synapses_of_a_grammar_against_brian2():
    assert fuzz_synapses.compared(60, seed=15) > 40


def test_kernels_against_the_plain_loop(tmp_path, monkeypatch):
    """The library, user-written steps and equations; a case in fifty may magnify a single rounding as much."""
    monkeypatch.setenv("SANDBOX_KERNEL_CACHE", str(tmp_path))
    agreed, ties = kernels.compared(structures=12, cases=44, seed=1)
    assert agreed + ties == 528
    assert ties <= 10


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["recurrent", "circuit"])
def test_recurrent_cells_and_circuits_against_the_plain_loop(kind, tmp_path, monkeypatch):
    """With second derivatives, several errors at once, no cells, no steps and half precision, which kernels refuse."""
    monkeypatch.setenv("SANDBOX_KERNEL_CACHE", str(tmp_path))
    found = networks.compared(kind, cases=40, seed=1)
    assert found.agreed >= 22
    assert 0 < found.refused <= 18
    assert found.ties <= 2
