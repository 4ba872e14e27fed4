"""The model of a run is read with the weights that the run has learned."""

from __future__ import annotations

import pytest
import torch

from sandbox import Choice, Experiment, NetworkConfig, read_model, run
from sandbox.config.rule import RuleConfig
from sandbox.runs.checkpoint import read_checkpoint

TINY = {
    "task": Choice("yinyang", {"train": 60, "validation": 30, "test": 30}),
    "encoder": Choice("constant", {"steps": 4}),
    "epochs": 1,
}


@pytest.mark.parametrize("plasticity", [None, Choice("sign", {"ends": True})], ids=["plain", "one bit"])
def test_the_model_of_a_run(plasticity, tmp_path):
    """Its tensors are those of the checkpoint; weights of one bit are shown, and not latent."""
    experiment = Experiment(**TINY, network=NetworkConfig(hidden=[8]), rule=RuleConfig(plasticity=plasticity))
    run(experiment, tmp_path / "r", indexed=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()}
    model = read_model(tmp_path / "r")
    kept = read_checkpoint(tmp_path / "r" / "checkpoint.pt")["trainer"]["model"]
    assert not model.training
    assert kept.keys() == model.state_dict().keys()
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    if plasticity is not None:
        assert all(len(row.unique()) <= 2 for row in model.layers[0].synapse.weight)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()}


def test_a_folder_without_a_checkpoint(tmp_path):
    run(Experiment(**TINY, network=NetworkConfig(hidden=[8])), tmp_path / "r", indexed=False)
    (tmp_path / "r" / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"has no checkpoint.pt, so its weights are not known"):
        read_model(tmp_path / "r")
