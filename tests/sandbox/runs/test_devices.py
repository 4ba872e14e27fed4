"""A run on another device starts from the same weights and draws the same numbers as on the CPU.

Where there is no GPU, the other device is `tests.elsewhere`, whose arithmetic is the CPU's: the bits must be equal.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from rules import RULES, make
from sandbox import kernels
from sandbox.config.experiment import NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import devices
from sandbox.runs.preparing import evaluation, own_process, prepare
from sandbox.runs.run import fit_read_out, run
from sandbox.runs.seal import write_seal
from tests.elsewhere import DEVICE, Places
from tests.sandbox.runs.test_run import TINY

HIDDEN = "forward-mode autograd calls an operation that does not see what tests.elsewhere holds"
SHAPED = "torch gives no shape to a lazy parameter of tests.elsewhere"
XFAIL = {"forward_gradient": HIDDEN, **dict.fromkeys(("tcl", "stcl", "supcon_per_step"), SHAPED)}
BITS = {"network": NetworkConfig(hidden=[10], neuron=Choice("stochastic_binary"), readout=Choice("stochastic_binary"))}
CHAINED = {"network": NetworkConfig(model=Choice("perceptron", {"hidden": [6]})), "encoder": Choice("still")}
DENDRITES = {"network": NetworkConfig(hidden=[10], readout=Choice("two_compartment", {"reset": "none"}))}
POISSON = Choice("poisson", {"steps": 4})
IMAGES = Choice("mnist_sample")


def suited(name):
    """The network of a rule, where it is another one than all others have."""
    needs = make(name).needs
    return BITS if "binary" in name else CHAINED if "chain" in needs else DENDRITES if "dendrites" in needs else {}


CASES = {
    **{name: replace(TINY, rule=RuleConfig(name), **suited(name)) for name in RULES},
    "read noise": replace(TINY, rule=RuleConfig("spsa"), network=NetworkConfig(hidden=[10], readout_noise=0.1)),
    "escape noise": replace(TINY, network=NetworkConfig(hidden=["10r"], neuron=Choice("escape_lif"))),
    "poisson": replace(TINY, task=IMAGES, encoder=POISSON, network=NetworkConfig(hidden=["4c3bp2", "4x3"])),
    "latency": replace(TINY, encoder=Choice("latency", {"steps": 4}), augment=Choice("vector", {"noise": 0.5})),
    "updates": replace(TINY, schedule=Choice("cosine"), clip=0.1, accumulate=2),
    "still": replace(TINY, network=NetworkConfig(model=Choice("perceptron")), encoder=Choice("still")),
}


def learned(experiment):
    """The weights after two steps, and what an evaluation gives."""
    data = experiment.load()
    with own_process(experiment), kernels.using("plain"):
        trainer, train = prepare(experiment, data)
        assert {p.device.type for p in trainer.model.parameters()} == {experiment.device}
        losses = [trainer.step(batch).loss for batch, _ in zip(train, range(2), strict=False)]
        fit_read_out(trainer, evaluation(experiment, data.train, "read-out"))
        found = trainer.evaluate(evaluation(experiment, data.validation, "validation"))
        return {name: p.cpu() for name, p in trainer.model.state_dict().items()}, losses, found


def marked(name):
    return pytest.mark.xfail(reason=XFAIL[name], raises=RuntimeError, strict=True) if name in XFAIL else ()


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
@pytest.mark.parametrize("name", [pytest.param(name, marks=marked(name)) for name in CASES])
def test_another_device_gives_the_bits_of_the_cpu(name, monkeypatch):
    monkeypatch.setattr(devices, "NAMED", re.compile("cpu|meta"))
    here = learned(CASES[name])
    with Places():
        there = learned(replace(CASES[name], device="meta"))
    assert here[1:] == there[1:]
    assert all(torch.equal(here[0][key], there[0][key]) for key in here[0])


def test_the_other_device_of_these_tests_is_as_strict_as_cuda():
    """What it is for: tensors on two devices, and a generator of the wrong one, raise."""
    with Places():
        there = nn.Linear(2, 2).to(DEVICE)
        with pytest.raises(RuntimeError, match="tensors on different devices"):
            there(torch.ones(3, 2))
        with pytest.raises(RuntimeError, match="a generator of the CPU"):
            there.weight.data.normal_(generator=torch.Generator())
        assert there(torch.ones(3, 2).to(DEVICE)).device == DEVICE


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:1", 1)])
def test_a_device_that_is_not_here_is_refused_before_anything_is_written(device, count, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    have = "'cpu'" + "".join(f", 'cuda:{index}'" for index in range(count))
    message = rf"device='{device}': torch \S+ has no such device here; it has {have}. Set device: cpu"
    with pytest.raises(ValueError, match=message):
        run(replace(TINY, device=device), tmp_path / "r")
    with pytest.raises(ValueError, match=message):
        replace(TINY, device=device).check()
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_finished_is_read_without_its_device(tmp_path, monkeypatch):
    done = run(TINY, tmp_path / "r")
    config = (tmp_path / "r" / "config.yaml").read_text()
    (tmp_path / "r" / "config.yaml").write_text(config.replace("device: cpu", "device: cuda"))
    write_seal(tmp_path / "r")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(replace(TINY, device="cuda"), tmp_path / "r") == done
