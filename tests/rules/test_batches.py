"""Whatever a loader yields becomes a batch, or is refused in words that say what to yield."""

from __future__ import annotations

import re
from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, Dataset

import rules
from rules import Batch, Run
from rules.batches import as_batch, fitted

X = torch.rand(5, 3, 2, generator=torch.Generator().manual_seed(0))  # [T, B, features]
Y = torch.tensor([0, 1, 1])


def same(one, other):
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.y, other.y)


@pytest.mark.parametrize(
    "item",
    [
        Batch(X, Y),
        (X, Y),
        [X, Y],
        (X.numpy(), Y.numpy()),
        (X.numpy(), Y.tolist()),
        (X, Y.int()),
        (X, Y.to(torch.uint8)),
        {"x": X, "y": Y},
        {"x": X, "label": Y},
        UserDict({"x": X, "labels": Y}),
        (X.to_sparse(), Y),
    ],
    ids=["Batch", "pair", "list", "NumPy", "list of labels", "int32", "uint8", "x y", "label", "mapping", "sparse"],
)
def test_all_say_the_same(item):
    same(as_batch(item), Batch(X, Y))


@pytest.mark.parametrize("key", ["y", "label", "labels", "target", "targets"])
def test_the_rest_of_a_dict_is_what_the_model_gets(key):
    batch = as_batch({"input_ids": torch.zeros(5, 3).long(), "mask": torch.ones(5, 3).bool(), key: Y})
    assert list(batch.x) == ["input_ids", "mask"]
    assert (batch.x["input_ids"].dtype, batch.x["mask"].dtype) == (torch.int64, torch.float32)
    assert torch.equal(batch.y, Y)


def test_images_in_bytes_are_scaled_and_bits_become_floats():
    image = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    torch.testing.assert_close(as_batch(image).x, torch.tensor([[0.0, 0.2, 1.0]]))
    assert torch.equal(as_batch(torch.tensor([[True, False]])).x, torch.tensor([[1.0, 0.0]]))
    assert as_batch(torch.tensor([[3, 4]], dtype=torch.int16)).x.dtype == torch.int64


def test_floats_get_the_dtype_of_the_model():
    given = as_batch((X.double(), torch.rand(3).double()))
    model = nn.Linear(2, 2)
    batch = fitted(given, model, model.weight)
    assert (batch.x.dtype, batch.y.dtype) == (torch.float32, torch.float32)
    assert fitted(batch, model, model.weight) is batch
    mixed = nn.Sequential(model, nn.Linear(2, 2).double())
    assert fitted(given, mixed, model.weight).x.dtype == torch.float64  # nobody knows which it wants


def test_ragged_and_packed_sequences_are_padded():
    sequences = [torch.rand(n, 2, generator=torch.Generator().manual_seed(n)) for n in (2, 5, 3)]
    as_list, as_arrays = as_batch((sequences, Y)), as_batch(([s.numpy() for s in sequences], Y))
    packed = as_batch((pack_sequence(sequences, enforce_sorted=False), Y))
    for batch in (as_list, as_arrays, packed):
        assert batch.lengths.tolist() == [2, 5, 3]
        for number, sequence in enumerate(sequences):
            assert torch.equal(batch.x[: len(sequence), number], sequence)
            assert not batch.x[len(sequence) :, number].any()


@pytest.mark.parametrize("answers", [torch.zeros(5, 3).long(), torch.zeros(5, 3), torch.zeros(5, 3, 4)])
def test_answers_of_steps_are_targets(answers):
    batch = as_batch((X, answers))
    assert batch.y is None
    assert torch.equal(batch.targets, answers)


@pytest.mark.parametrize("answers", [torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, 5)])
def test_answers_of_samples_are_not(answers):
    batch = as_batch((X, answers))
    assert batch.targets is None
    assert torch.equal(batch.y, answers)


def test_answers_of_tokens():
    assert as_batch((torch.zeros(5, 3).long(), torch.zeros(5, 3).long())).targets.shape == (5, 3)
    assert as_batch((torch.rand(5, 3), torch.rand(5, 3))).y.shape == (5, 3)  # features without time


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        ("batch", TypeError, "a loader must yield (x, y), rules.Batch(x, y), a dict such as {'x': x, 'y': y}"),
        ((X, X, Y), TypeError, "the loader yielded 3 parts, and which are inputs is not known: yield ((x1, x2), y)"),
        ({"y": Y}, TypeError, "a dict with the keys 'y': give the inputs, and one of 'y', 'label'"),
        ({"x": X, "y": Y, "label": Y}, TypeError, "or yield rules.Batch(inputs, y, targets=targets)"),
        ((["a", "b", "c"], Y), TypeError, "an input is a str; let the loader yield tensors or NumPy arrays"),
        (
            (X, (Y, Y)),
            TypeError,
            "y is a tuple; give one tensor, and what each sample or step has of it in its last axis",
        ),
        ((X > 0.5).to(torch.uint8), ValueError, "holds nothing above 1, and uint8 is divided by 255, as images are"),
        (([X[:3, 0]] * 3, Y), TypeError, "yield a tuple, ((x1, x2), y), if these are inputs, and"),
        ((torch.rand(3, 3, 2), torch.rand(3, 3)), ValueError, "whose second axis may be samples or outputs: yield"),
        ((torch.rand(5, 1, 9, 9), torch.rand(5, 1)), ValueError, "rules.Batch(x, y) for those of each sample"),
        (
            Batch(X, Y, lengths=torch.tensor([1, 2])),
            ValueError,
            "do not fit 3 samples of 5 steps: give one whole number",
        ),
        (Batch(X, Y, lengths=torch.tensor([1, 2, 6])), ValueError, "from 1 to 5 for each, as in lengths=torch.tensor("),
    ],
)
def test_what_cannot_be_read_is_refused(item, error, message):
    with pytest.raises(error, match=re.escape(message)):
        as_batch(item)


def test_what_may_be_samples_or_steps_can_be_said():
    square = torch.rand(3, 3)
    assert as_batch(Batch(torch.rand(3, 3, 2), square)).y is square
    assert as_batch(Batch(torch.rand(3, 3, 2), targets=square)).targets is square


class TwoInputs(nn.Module):
    """Takes a tuple, or a dict, of two inputs, one of them a mask."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weigh = nn.Linear(2, 3)

    def forward(self, x):
        signal, mask = x.values() if isinstance(x, dict) else x
        return self.weigh(signal) * mask[..., None]


MASK = (torch.arange(5)[:, None] < torch.tensor([5, 3, 4])).float()


@pytest.mark.parametrize("rule", ["bptt", "spsa", "node_perturbation", "forward_gradient", "evolution_strategy"])
@pytest.mark.parametrize("form", [tuple, list, dict])
def test_a_model_gets_its_inputs_as_they_are(rule, form):
    parts = {"signal": X, "mask": MASK}
    x = parts if form is dict else form(parts.values())
    trainer = rules.Trainer(TwoInputs(), rule, seed=0)
    before = trainer.model.weigh.weight.clone()
    info = trainer.step((x, torch.tensor([0, 1, 2])))
    assert not torch.equal(before, trainer.model.weigh.weight)
    assert info.samples == 3
    assert trainer.evaluate([(x, torch.tensor([0, 1, 2]))])["samples"] == 3


def test_the_gradient_of_a_model_with_two_inputs_is_that_by_hand():
    twin, trainer, y = TwoInputs(), rules.Trainer(TwoInputs(), "bptt"), torch.tensor([0, 1, 2])
    credit = trainer.rule.credit.assign(trainer.model, trainer.rule.objective, Batch((X, MASK), y), (), None)
    nn.functional.cross_entropy(twin((X, MASK)).mean(0), y).backward()
    assert torch.equal(credit.grads["weigh.weight"], twin.weigh.weight.grad)


class Leaky(nn.Module):
    """Takes two inputs and a carry, so that it can run in pieces."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weigh = nn.Linear(2, 3)

    def forward(self, x, carry=None):
        signal, mask = x
        out = [torch.zeros(signal.shape[1], 3) if carry is None else carry]
        for s, m in zip(signal, mask, strict=True):
            out.append(0.5 * out[-1] + self.weigh(s) * m[:, None])
        return Run(torch.stack(out[1:]), out[-1])


def test_two_inputs_are_cut_into_pieces_together():
    batch, y = Batch((X, MASK), torch.tensor([0, 1, 2])), None
    whole, cut = (
        rules.BPTT(checkpoint=c).assign(Leaky(), rules.make("bptt").objective, batch, (), torch.Generator())
        for c in (None, 2)
    )
    torch.testing.assert_close(whole.grads, cut.grads)
    with pytest.raises(
        ValueError, match=r"inputs of shapes .* cannot be cut into pieces of time together: give each as"
    ):
        rules.BPTT(checkpoint=2).assign(
            Leaky(), rules.make("bptt").objective, Batch((X, MASK[:4]), batch.y), y, torch.Generator()
        )


@pytest.mark.parametrize("rule", ["hzo", "layerwise_zo"])
def test_layered_rules_refuse_several_inputs(rule):
    trainer = rules.Trainer(nn.Sequential(nn.Linear(2, 3)), rule)
    with pytest.raises(
        ValueError, match=r"works on one input tensor \[T, B, ...\], and this batch has a tuple of 2: join"
    ):
        trainer.step(((X[0], X[1]), Y))


def test_a_bad_number_is_found_in_any_part():
    bad = MASK.clone()
    bad[1, 2] = torch.nan
    with pytest.raises(rules.NonFinite, match=r"the input holds nan at index \[1, 2\] of \(5, 3\)"):
        rules.Trainer(TwoInputs(), "bptt").step(((X, bad), torch.tensor([0, 1, 2])))
    with pytest.raises(rules.NonFinite, match=r"y holds inf at index \[0\] of \(3,\)"):
        rules.Trainer(nn.Linear(2, 1), rules.make("bptt", objective="mse")).step((X, torch.tensor([torch.inf, 0, 0])))


class Rows(Dataset):
    """A data set as researchers write them: NumPy, bytes, dicts."""

    def __init__(self, row):
        self.row = row

    def __len__(self):
        return 8

    def __getitem__(self, n):
        return self.row(n)


@pytest.mark.parametrize(
    "row",
    [
        lambda n: (np.full(4, n, np.float64), np.int32(n % 2)),
        lambda n: (np.full(4, 30 * n, np.uint8), n % 2),
        lambda n: {"x": np.full(4, n, np.float32), "label": n % 2},
        lambda n: (np.arange(4) > n, n % 2),
    ],
    ids=["float64", "uint8", "dict", "bool"],
)
def test_a_data_loader_of_anything_trains(row):
    trainer = rules.Trainer(nn.Sequential(nn.Linear(4, 2)), "bptt", seed=0)
    infos = list(trainer.fit(DataLoader(Rows(row), batch_size=4)))
    assert [info.samples for info in infos] == [4, 4]
    assert "accuracy" in trainer.evaluate(DataLoader(Rows(row), batch_size=3))


def test_tokens_reach_an_embedding():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    tokens = np.arange(12, dtype=np.int16).reshape(4, 3) % 5
    assert rules.Trainer(model, "bptt").step((tokens, Y)).samples == 3


@pytest.mark.parametrize("y", [["cat", "dog"], np.array(["cat", "dog"])], ids=["list", "array"])
def test_names_of_classes_are_to_be_numbered(y):
    with pytest.raises(
        TypeError, match=r"y holds str_? and cannot be made a tensor: number the classes, .*names.index"
    ):
        as_batch((torch.ones(2, 3), y))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.rand(5, 3, 4), torch.tensor(1), r"y is a single number, without an axis of samples: .*, y\[None\]"),
        (torch.tensor(1.0), torch.tensor([1]), "x is a single number, without an axis of samples"),
        (torch.rand(5, 3, 4, device="meta"), None, "x is on the device 'meta', and has a shape but no numbers"),
        (torch.rand(5, 3, 4), torch.zeros(3, device="meta"), "y is on the device 'meta'"),
    ],
)
def test_tensors_without_numbers_or_axes_are_refused(x, y, message):
    with pytest.raises((TypeError, ValueError), match=message):
        as_batch((x, y))


def test_sparse_labels_become_dense():
    assert as_batch((torch.rand(5, 3, 4), torch.tensor([0, 1, 2]).to_sparse())).y.tolist() == [0, 1, 2]


def test_a_sample_that_goes_on_may_have_ended_before():
    """Where answers are by step, none of its steps counts; a first window, or one answer a sample, needs a step."""
    x, lengths = torch.zeros(3, 2, 1), torch.tensor([0, 3])
    targets = torch.zeros(3, 2)
    assert as_batch(Batch(x, targets=targets, carry=(), lengths=lengths)).lengths.tolist() == [0, 3]
    with pytest.raises(ValueError, match="whole number from 1 to 3 for each"):
        as_batch(Batch(x, targets=targets, lengths=lengths))
    with pytest.raises(ValueError, match="whole number from 1 to 3 for each"):
        as_batch(Batch(x, torch.tensor([0, 1]), carry=(), lengths=lengths))
