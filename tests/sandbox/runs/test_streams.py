"""Every purpose of a run draws from a stream of its own: no two generators start alike, unless one replays the other."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sandbox.config.experiment import MicroscopeConfig, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.runs.run import run
from sandbox.tasks.loader import Loader
from tests.conftest import ROOT
from tests.sandbox.runs.test_run import TINY

THROUGH = ("rules/seeds.py", "rules/generators.py", "rules/untouched.py", "rules/credit/zero_order/sharing.py")
NOISY = NetworkConfig(hidden=[10], neuron=Choice("escape_lif", {"tau_mem": 5.0}), readout_noise=0.1)
LOOKS = MicroscopeConfig(every=2, draws=2)
BUILT = {"sandbox/networks/build.py", "sandbox/networks/calibration.py"}
CASES = {
    "memristors": (
        replace(TINY, rule=RuleConfig("bptt_on_memristor", {"device": "pcm"}), augment=Choice("vector")),
        {"rules/plasticity/memristor/optimizer.py", *BUILT},
    ),
    "two views": (replace(TINY, rule=RuleConfig("stcl")), {"rules/objectives/projection.py", *BUILT}),
    "read-out": (
        replace(TINY, rule=RuleConfig("readout_only"), network=NetworkConfig(model=Choice(f"{__name__}:Headed"))),
        {"rules/models/readout.py", "rules/forward.py"},
    ),
    "read noise": (
        replace(TINY, rule=RuleConfig("spsa"), network=NOISY, microscope=LOOKS),
        {"rules/credit/zero_order/flat/moving.py", *BUILT},
    ),
}
ALWAYS = {
    "sandbox/tasks/loader.py training",
    "sandbox/tasks/loader.py validation",
    "sandbox/tasks/loader.py test",
    "rules/trainer.py",
    "rules/models/questions.py",
}


class Headed(nn.Module):
    """A model whose read-out is found by a pass: it is registered first."""

    def __init__(self, shape, classes, *, seed):
        super().__init__()
        self.head, self.body = nn.Linear(8, classes), nn.Linear(shape[0], 8)

    def forward(self, x):
        return self.head(self.body(x).tanh())


def purpose():
    """The file that asked for a generator, and of a loader also what its batches are for."""
    frame = sys._getframe(2)
    while not (path := Path(frame.f_code.co_filename)).is_relative_to(ROOT) or str(path.relative_to(ROOT)) in THROUGH:
        frame = frame.f_back
    owner = frame.f_locals.get("self")
    return f"{path.relative_to(ROOT)} {owner.purpose if isinstance(owner, Loader) else ''}".strip()


def starts(experiment, folder, monkeypatch):
    """The purposes for which a generator was started, by its first state."""
    found = defaultdict(set)

    class Watched(torch.Generator):
        def manual_seed(self, seed):
            started = super().manual_seed(seed)
            found[self.get_state().numpy().tobytes()].add(purpose())
            return started

    monkeypatch.setattr(torch, "Generator", Watched)
    run(experiment, folder)
    return found


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_no_two_generators_of_a_run_start_alike(name, seed, tmp_path, monkeypatch):
    experiment, own = CASES[name]
    encoder = Choice("still") if experiment.network.model else Choice("poisson", {"steps": 5})
    experiment = replace(experiment, seed=seed, epochs=1, encoder=encoder)
    found = starts(experiment, tmp_path / "r", monkeypatch)
    assert own | ALWAYS <= set.union(*found.values())
    assert [sorted(purposes) for purposes in found.values() if len(purposes) > 1] == []
