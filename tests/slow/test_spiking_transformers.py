"""Tiny spiking transformers on the digits: far above chance after four epochs, on two cores."""

from __future__ import annotations

import pytest

from sandbox import make_model
from sandbox.networks.models.published import PUBLISHED
from tests.slow.test_spiking_resnets import digits, trained, whole  # noqa: F401 -- a fixture

pytestmark = [pytest.mark.slow(minutes=5), pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]
TRANSFORMERS = ("spikformer", "spikingformer", "spikingformer_cml", "qkformer", "snn_vit", "svformer")


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_tiny_transformer_learns_digits(name, digits):  # noqa: F811
    """Ten classes; a linear classifier of the same images reaches 97 %, so that this shows learning and no more."""
    assert PUBLISHED[name]["tiny"].shape == (1, 8, 8)
    accuracy = trained(make_model(name), digits.train, 0, epochs=4).evaluate(whole(digits.test))["accuracy"]
    print(name, accuracy)
    assert accuracy > 0.5
