"""Weights outside of synapses are refused, and what only looks like one is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rules
from rules.credit.feedback.outside import require_inside
from rules.models.admission import UnfitModel
from tests.rules.credit.feedback.nets import MODELS, made


class Between(nn.Module):
    """Two synapses, and something between them that has a weight `w`."""

    def __init__(self, between, *shape, first=None):
        super().__init__()
        self.i, self.o = first or nn.Linear(4, 6), nn.Linear(6, 3)
        self.w, self.between = nn.Parameter(torch.randn(shape) / 3), between

    def forward(self, x):
        return self.o(torch.tanh(self.between(self, torch.tanh(self.i(x)))))


def einsum(s, h):
    return torch.einsum("bi,oi->bo", h, s.w)


REFUSED = {
    "product": Between(lambda s, h: h @ s.w, 6, 6),
    "linear": Between(lambda s, h: F.linear(h, s.w, torch.ones(6)), 6, 6),
    "einsum": Between(einsum, 6, 6),
    "sum of products": Between(lambda s, h: (h[:, None] * s.w).sum(-1), 6, 6),
    "normalised": Between(lambda s, h: h @ (s.w / s.w.norm(dim=0)), 6, 6),
    "low rank": Between(lambda s, h: h @ (s.w @ s.w.T), 6, 2),
    "convolution": Between(lambda s, h: F.conv1d(h[:, None], s.w, padding=1)[:, 0], 1, 1, 3),
    "vector": Between(lambda s, h: (h @ s.w)[:, None].expand(-1, 6), 6),
    "transposed use": Between(lambda s, h: F.linear(F.linear(h, s.o.weight), s.o.weight.T), 1),
    "attention of learned queries": Between(lambda s, h: h + torch.softmax(s.w @ h.T, 1) @ h, 5, 6),
    "bits of the input": Between(lambda s, h: h @ s.w, 6, 6, first=nn.Embedding(9, 6)),
}
ACCEPTED = {
    "gain": Between(lambda s, h: h * s.w, 6),
    "gain of every place": Between(lambda s, h: (h.reshape(-1, 2, 3) * s.w).flatten(1), 2, 3),
    "number": Between(lambda s, h: h * s.w, 1),
    "offset": Between(lambda s, h: h + s.w, 6),
    "attention of signals": Between(lambda s, h: torch.softmax(h @ h.T * s.w, 1) @ h, 1),
    "fixed matrix": Between(lambda s, h: h @ torch.ones(6, 6) * s.w, 6),
    "normalisation": nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)),
}
BATCH = rules.Batch(torch.rand(5, 4, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 3)


@pytest.mark.parametrize("name", REFUSED)
def test_a_weight_outside_of_a_synapse_is_refused(name):
    model = REFUSED[name]
    batch = BATCH._replace(x=torch.arange(5)) if isinstance(model.i, nn.Embedding) else BATCH
    used = "o.weight" if name == "transposed use" else "w"
    words = rf"'{used}' of Between multiplies signals outside of an nn.Linear .* the weight of an nn.Linear"
    with pytest.raises(UnfitModel, match=words):
        require_inside(model, batch, inner=False)


def test_a_bilinear_layer_is_refused_when_training_begins():
    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.i, self.square, self.o = nn.Linear(4, 6), nn.Bilinear(6, 6, 5), nn.Linear(5, 3)

        def forward(self, x):
            h = torch.tanh(self.i(x))
            return self.o(self.square(h, h))

    with pytest.raises(UnfitModel, match=r"'square.weight' of Squared multiplies signals outside"):
        rules.Trainer(Squared(), "fa").step(BATCH)


@pytest.mark.parametrize("name", ACCEPTED)
def test_gains_offsets_and_products_of_signals_are_not(name):
    require_inside(ACCEPTED[name], BATCH, inner=False)


@pytest.mark.parametrize("name", MODELS)
def test_models_made_of_synapses_are_not(name):
    require_inside(*made(name), inner=False)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_weights_inside_of_cells_of_torch_may_stay(kind):
    class Memory(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.memory, self.out = nn.Linear(4, 5), kind(5, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.out(self.memory(self.first(x))[0])

    require_inside(Memory(), rules.Batch(torch.rand(5, 3, 4), torch.arange(3)), inner=True)
