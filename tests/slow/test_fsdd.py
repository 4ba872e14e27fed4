"""A recurrent spiking network hears spoken digits."""

from __future__ import annotations

import os

import pytest

from rules import Trainer, make
from sandbox import calibrate
from sandbox.networks.models import recurrent
from sandbox.tasks import TASKS
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.loader import Loader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("SANDBOX_DATA"), reason="needs the recordings: set SANDBOX_DATA"),
]


def test_a_recurrent_network_learns_spoken_digits():
    """Three epochs; chance is 10 %, and the margin is wide because training is short."""
    data = TASKS["fsdd"]().load()
    train = Loader(data.train, AsRecorded(), 50)
    network = recurrent(data.shape, data.classes, (64,))
    calibrate(network, next(iter(train)).x, rate=0.1)
    trainer = Trainer(network, make("bptt", lr=0.02))
    for _ in trainer.fit(train, epochs=3):
        pass
    found = trainer.evaluate(Loader(data.validation, AsRecorded(), 300, shuffle=False), steps=[16, 32, 64])
    print({name: round(value, 4) for name, value in found.items()})
    assert found["accuracy"] > 0.5
    assert found["accuracy_at_64"] == found["accuracy"] > found["accuracy_at_16"]
