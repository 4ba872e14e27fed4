"""Calling a model: inputs that it does not take are refused with the line that mends them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from rules import Batch, Trainer, run_model

X, Y = torch.rand(9, 5, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3


def perceptron():
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


class Masked(nn.Module):
    """Tokens and a mask, as arguments of their own."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(8, 3)

    def forward(self, tokens, mask):
        return self.head((self.embedding(tokens) * mask[..., None]).mean(1))


class Optional(Masked):
    """The same, the mask optional."""

    def forward(self, tokens, mask=None):
        return super().forward(tokens, torch.ones_like(tokens) if mask is None else mask)


@pytest.mark.parametrize("build", [Masked, Optional])
def test_several_arguments_want_an_adapter(build):
    data = {"tokens": torch.ones(9, 4, dtype=torch.int64), "mask": torch.ones(9, 4)}
    wanted = (
        rf"{build.__name__} cannot be called .*a dict with the keys 'tokens', 'mask': .*model = rules.adapt\(model\)"
    )
    with pytest.raises(TypeError, match=wanted):
        run_model(build(), Batch(data, Y))
    assert Trainer(rules.adapt(build()), "bptt").step(({**data}, Y)).loss > 0
    with pytest.raises(TypeError, match=r"cannot be called with one argument, a tuple: "):
        run_model(build(), Batch((data["tokens"], data["mask"]), Y))


def test_an_argument_that_is_missing():
    with pytest.raises(TypeError, match=r"a Tensor: .*'mask'.*let the loader yield a dict or a tuple of them and y"):
        run_model(Masked(), Batch(torch.ones(9, 4, dtype=torch.int64), Y))


@pytest.mark.parametrize(
    ("change", "remedy"), [(torch.Tensor.long, r"x\.float\(\)"), (torch.Tensor.cfloat, "view_as_real")]
)
def test_whole_and_complex_numbers_in_a_layer_of_fractions(change, remedy):
    with pytest.raises(TypeError, match=rf"x is torch\.\w+64, and Sequential raised .* pass .*{remedy}"):
        Trainer(perceptron(), "bptt").step((change(X), Y))


def test_other_errors_of_a_model_stay_as_they_are():
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run_model(perceptron(), Batch(X[:, :4], Y))

    class Wrong(nn.Linear):
        def forward(self, x):
            raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        run_model(Wrong(5, 3), Batch(X, Y))


def test_labels_that_fit_no_axis():
    with pytest.raises(ValueError, match="for 8 labels: no axis of the input counts as many samples"):
        run_model(perceptron(), Batch(X, Y[:-1]))
    batch_first = nn.Sequential(nn.Linear(5, 3))
    with pytest.raises(
        ValueError, match=r"transpose\(0, 1\), and for .* model = rules.adapt\(model, batch_first=True\)"
    ):
        run_model(batch_first, Batch(X[:, None].expand(9, 6, 5), Y))


def test_a_tuple_is_refused_with_the_way_to_pick():
    with pytest.raises(TypeError, match=r"got tuple: pick the output, as in model = rules.adapt\(model, output=0\)"):
        run_model(nn.LSTM(5, 3), Batch(X[:, None], None))


def test_node_perturbation_says_what_is_wrong_with_the_whole_batch():
    one_hot = nn.functional.one_hot(Y, 3).float()
    with pytest.raises(ValueError, match=r"^labels have shape \(9, 3\)"):
        Trainer(perceptron(), "node_perturbation").step((X, one_hot))


def test_a_batch_without_samples_is_refused_before_anything_is_changed():
    trainer = Trainer(perceptron(), "bptt")
    with pytest.raises(ValueError, match=r"step 1: .* shapes \(0, 5\), without any number: leave empty batches out"):
        trainer.step((X[:0], Y[:0]))
    with pytest.raises(ValueError, match="step 1: the batch has no input, without any number"):
        trainer.step(Batch((), Y))
    assert not trainer.steps
