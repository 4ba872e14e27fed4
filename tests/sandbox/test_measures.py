"""What a result is judged by."""

from __future__ import annotations

import re

import pytest

from sandbox.measures import MEASURES, NAMES, measured, score


@pytest.mark.parametrize("name", MEASURES.values())
def test_the_measure_of_a_result(name):
    part = {"loss": 0.5, name: 0.25, f"{name}_at_1": 0.1, "samples": 4.0}
    assert (measured(part), score(part)) == (name, 0.25)
    assert name in NAMES


def test_a_result_without_one_is_refused():
    with pytest.raises(
        ValueError, match=re.escape("the objective reports loss, and models are selected by accuracy, R2")
    ):
        measured({"loss": 0.5})
