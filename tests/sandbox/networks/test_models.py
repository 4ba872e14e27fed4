"""Models that a configuration names: what they are made of, what may not be said beside them, and noise in reading."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sandbox import NoisyReadout
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.networks.models import MODELS, normalised, perceptron
from sandbox.networks.models.published import PUBLISHED
from sandbox.runs.preparing import prepare
from sandbox.tasks.base import Dataset, Split


def weights(model):
    return [p for p in model.parameters() if p.ndim > 1]


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights(name):
    known = PUBLISHED[name]["tiny"].shape if name in PUBLISHED else None
    usual = (20,) if known == (140,) or name == "recurrent" else () if known == () else (3, 16, 16)
    shape = ((4, 16), (5, 8, 8)) if name == "s2m_former" else usual
    first, same, other = (MODELS[name](shape, 4, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(weights(first)[0], weights(other)[0])


@pytest.mark.parametrize(("activation", "gain"), [("tanh", 1.0), ("relu", 2**0.5)])
def test_dense_layers_keep_lengths_in_front_of_their_activation(activation, gain):
    *hidden, readout = weights(perceptron((8,), 3, (8, 8), activation=activation))
    for w in hidden:
        torch.testing.assert_close(w.T @ w, gain**2 * torch.eye(8), atol=1e-5, rtol=0)  # of float32
    torch.testing.assert_close(readout @ readout.T, torch.eye(3), atol=1e-5, rtol=0)


def test_a_sample_of_the_normalised_model_does_not_depend_on_its_neighbours():
    model, x = normalised((3, 16, 16), 4), torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x)[:1], model(x[:1]))
    assert all(isinstance(m, (nn.Linear, nn.Conv2d)) for m in model.modules() if [*m.parameters(recurse=False)])


def test_a_configured_model_is_made_for_its_data_and_read_with_noise():
    network = NetworkConfig(model=Choice("perceptron", {"hidden": [6]}), readout_noise=0.1)
    data = Dataset(*[Split(torch.rand(12, 5), torch.arange(12) % 3)] * 3, 3)
    trainer, _ = prepare(Experiment(network=network, encoder=Choice("still"), batch_size=4, seed=3), data)
    assert isinstance(trainer.model, NoisyReadout)
    assert (trainer.model.sigma, trainer.model.seed) == (0.1, 3)
    assert [tuple(w.shape) for w in weights(trainer.model)] == [(6, 5), (3, 6)]


@pytest.mark.parametrize(("rate", "kept"), [(None, True), (0.4, False)])
def test_weights_stay_as_drawn_where_the_rate_is_none(rate, kept):
    network = NetworkConfig(model=Choice("recurrent", {"units": [6]}), rate=rate)
    data = Dataset(*[Split(torch.rand(12, 5), torch.arange(12) % 3)] * 3, 3)
    trainer, _ = prepare(Experiment(network=network, batch_size=4, seed=3), data)
    drawn = network.make((5,), 3, seed=3)
    assert torch.equal(weights(trainer.model)[0], weights(drawn)[0]) is kept


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: NetworkConfig(rate=0.1, model=Choice("recurrent")),
            "'recurrent' brings its own layers: leave out rate",
        ),
        (
            lambda: NetworkConfig([20], model=Choice("perceptron")),
            "'perceptron' brings its own layers: leave out hidden",
        ),
        (lambda: NetworkConfig(model=Choice("perceptrn")).make((4,), 3, 0), "unknown model 'perceptrn'; nearest"),
        (
            lambda: NetworkConfig(model=Choice("perceptron", {"hiden": [4]})).make((4,), 3, 0),
            "unknown option .*'hiden'",
        ),
        (
            lambda: NetworkConfig(readout_noise=-1.0).make((4,), 3, 0),
            "readout_noise=-1.0: give a standard deviation, at least 0",
        ),
        (lambda: perceptron((4,), 3, activation="tan"), "unknown activation 'tan'; nearest: 'tanh'"),
        (lambda: normalised((3, 8, 8), 2, (4, 4), strides=(2,)), "give a stride for each convolution"),
    ],
)
def test_what_cannot_be_made_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
