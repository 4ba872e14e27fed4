"""readout_only moves the read-out of every model, and nothing else; or says why it has none, or several."""

from __future__ import annotations

import warnings

import pytest
import torch

import rules
from rules.models.readout import NotFound
from tests.peers.zoo import ZOO, present

READOUTS = {  # what a reader of each model calls its read-out; "2" and "fc2" where it is not named here
    "snnTorch loop, utils.reset first": "net.2",
    "snnTorch loop, reset forgotten": "net.2",
    "SpikingJelly loop over static x, reset": "net.2",
    "SpikingJelly loop over static x, no reset": "net.2",
    "SpikingJelly convolutional, step mode m": "4",
    "SEW-ResNet18": "fc",
    "Spikformer-ti": "head",
    "Sinabs convolutional, squeezed": "4",
    "buffers, ModuleList": "blocks.1",
    "tied weights": None,  # the decoder is the embedding
}


def readout_of(entry, model):
    if entry.name in READOUTS:
        return READOUTS[entry.name]
    return next(name for name in ("fc2", "head", "out", "2") if name in dict(model.named_children()))


@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.name)
def test_it_moves_the_read_out_alone(entry):
    if not present(entry.library):
        pytest.skip(f"{entry.library} is not installed: make peers")
    torch.manual_seed(0)
    model = rules.adapt(entry.build(), **entry.adapt)
    data = entry.data()
    with torch.no_grad():
        model(data[0])  # gives lazy layers their shape
    readout = readout_of(entry, model.model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rules.HealthWarning)
        trainer = rules.Trainer(model, "readout_only")
        if readout is None:
            with pytest.raises(NotFound, match="is the last weight before the output, and is used before that"):
                trainer.step(data)
            return
        for _ in range(2):
            trainer.step(data)
    own = {f"model.{readout}.{name}" for name, _ in model.model.get_submodule(readout).named_parameters()}
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert set(trainer.parameters) == own
    assert moved
    assert moved <= own
