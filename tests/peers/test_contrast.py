"""tcl on an adapted model: the gradient of the loss written out over the library's own loop."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import rules
from rules.objectives.contrast import Contrast
from rules.objectives.temporal_contrast import TemporalContrast
from tests.peers.loops import LOOPS
from tests.peers.zoo import ZOO, present

READOUTS = {  # where the features of the last hidden layer enter the read-out
    "snnTorch tutorial net, returns (spk, mem)": "fc2",
    "snnTorch Sequential, init_hidden, output=True": "2",
    "snnTorch RLeaky": "fc2",
    "SpikingJelly Sequential, step mode m": "2",
    "SpikingJelly Sequential, step mode s": "2",
    "Norse SequentialState": "2",
    "Norse SequentialState of cells": "2",
    "Norse tutorial net": "fc2",
    "Sinabs Sequential": "2",
}
PICKED = [entry for entry in ZOO if entry.name in READOUTS]


@pytest.mark.parametrize("entry", PICKED, ids=lambda entry: entry.name)
def test_the_gradient_is_that_of_the_written_out_loss(entry):
    """To 1e-5 of the largest entry: the sums of the contrast have another order than autograd's."""
    if not present(entry.library):
        pytest.skip(f"{entry.library} is not installed: make peers")
    x, y = entry.data()
    torch.manual_seed(0)
    model = entry.build()
    features = []
    handle = model.get_submodule(READOUTS[entry.name]).register_forward_pre_hook(
        lambda _, args: features.append(args[0])
    )
    output = LOOPS[entry.name](model, x)
    handle.remove()
    seen = torch.stack(features) if len(features) == len(x) else features[0]
    if entry.library == "sinabs":
        seen = seen.transpose(0, 1)
    steps = torch.stack([F.cross_entropy(step, y) for step in output]).mean()
    pull = 1e-3 * ((output - 1) ** 2).mean()
    loss = (1 - 1e-3) * steps + pull + 0.7 * Contrast(temperature=0.2)(seen, y)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    truth = {f"model.{name}": g for name, g in zip(named, slopes, strict=True) if g is not None}

    adapted = rules.adapt(model, **entry.adapt)
    objective = TemporalContrast(0.7, head="none", temperature=0.2)
    credit = rules.BPTT().assign(adapted, objective, rules.Batch(x, y), (), torch.Generator().manual_seed(0))
    assert credit.loss == pytest.approx(loss.item(), rel=1e-5)
    assert credit.grads.keys() == truth.keys()
    for name, g in truth.items():
        torch.testing.assert_close(credit.grads[name], g, rtol=0, atol=1e-5 * float(g.abs().max()) + 1e-9)
    assert any(float(g.abs().max()) > 0 for g in truth.values())
