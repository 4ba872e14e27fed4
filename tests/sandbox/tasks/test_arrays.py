"""Tasks made of arrays and of loaders: what kind of answer they find, how they split, and what they refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from rules import Batch
from sandbox import Dataset, Task
from sandbox.tasks.checked import checked

RNG = np.random.default_rng(0)
X = RNG.random((50, 4))
CLASSES = np.arange(50, dtype=np.int32) % 3
VALUES = X.sum(1)
LABELS = X > 0.5


def rows(data: Dataset) -> np.ndarray:
    """All samples of a data set, in the order of the splits."""
    return torch.cat([data.train.x, data.validation.x, data.test.x]).numpy()


@pytest.mark.parametrize(
    ("y", "options", "target", "outputs", "dtype"),
    [
        (CLASSES, {}, "classes", 3, torch.int64),
        (CLASSES, {"classes": 5}, "classes", 5, torch.int64),
        (CLASSES > 0, {}, "classes", 2, torch.int64),
        (torch.tensor(CLASSES), {}, "classes", 3, torch.int64),
        (CLASSES, {"target": "values"}, "values", 1, torch.float32),
        (VALUES, {}, "values", 1, torch.float32),
        (np.stack([VALUES, VALUES], 1), {}, "values", 2, torch.float32),
        (LABELS, {}, "labels", 4, torch.float32),
        (LABELS.astype(float), {}, "labels", 4, torch.float32),
        (np.eye(3)[CLASSES], {"target": "labels"}, "labels", 3, torch.float32),
    ],
)
def test_the_kind_of_answer_follows_from_y(y, options, target, outputs, dtype):
    data = checked(Task.from_arrays(X, y, **options).load(), "mine")
    assert (data.target, data.outputs, data.train.y.dtype, data.train.x.dtype) == (
        target,
        outputs,
        dtype,
        torch.float32,
    )


def test_every_sample_is_in_one_split_with_its_answer():
    data = Task.from_arrays(X, VALUES, test=0.3, validation=5).load()
    assert [len(split) for split in data[:3]] == [30, 5, 15]
    assert sorted(map(tuple, rows(data))) == sorted(map(tuple, X.astype(np.float32)))
    for split in data[:3]:
        torch.testing.assert_close(split.x.sum(1), split.y)  # float32 sums of four


def test_the_order_depends_on_the_seed_alone():
    torch.manual_seed(1)
    one = Task.from_arrays(X, VALUES).load()
    torch.manual_seed(2)
    assert Task.from_arrays(X, VALUES).load().checksum == one.checksum
    assert Task.from_arrays(X, VALUES, seed=1).load().checksum != one.checksum


def test_splits_of_ones_own():
    data = Task.from_arrays(X, CLASSES, test=(X[:7], CLASSES[:7]), validation=0.5).load()
    assert [len(split) for split in data[:3]] == [25, 25, 7]
    assert np.array_equal(data.test.x.numpy(), X[:7].astype(np.float32))


def test_sequences_of_different_length_are_padded():
    sequences = [RNG.random((n, 2)) for n in (3, 5, 4, 2, 6, 5, 3, 4, 5, 6)]
    data = Task.from_arrays(sequences, np.arange(10) % 2).load()
    assert (data.sequence, data.shape) == (True, (2,))
    found = {}
    for split in data[:3]:
        for x, n in zip(split.x, split.lengths.tolist(), strict=True):
            found[n, float(x[0, 0])] = x[:n].numpy()
            assert not x[n:].any()
    for sequence in sequences:
        np.testing.assert_array_equal(found[len(sequence), float(np.float32(sequence[0, 0]))], np.float32(sequence))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([1, 2, 3] * 10), r"labels run from 1 to 3, and 3 of them occur: number them from 0.*classes=4"),
        (np.array([0, 100, 5000] * 10), r"labels run from 0 to 5000, and 3 of them occur.*return_inverse=True"),
        (np.zeros((30, 4), int) + np.arange(4), r"whole numbers of shape \[30, 4\]: say by_step=True for a class at"),
    ],
)
def test_answers_that_could_be_something_else_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        Task.from_arrays(np.random.rand(30, 4, 2).astype(np.float32), y, sequence=True).load()


def test_a_loader_is_read_once():
    pairs = TensorDataset(torch.tensor(X), torch.tensor(CLASSES))
    one = Task.from_loader(DataLoader(pairs, batch_size=8)).load()
    assert one.checksum == Task.from_arrays(X, CLASSES).load().checksum
    two = Task.from_loader(DataLoader(pairs, batch_size=8), test=DataLoader(pairs, batch_size=9), validation=0.1).load()
    assert np.array_equal(two.test.x.numpy(), X.astype(np.float32))


def test_a_loader_of_sequences_with_targets():
    x = torch.rand(6, 10, 3)  # time first, as for a trainer
    loader = [Batch(x[:, :4], targets=x[:, :4, 0]), Batch(x[:, 4:], targets=x[:, 4:, 0])]
    data = checked(Task.from_loader(loader, time_first=True, by_step=True).load(), "mine")
    assert (data.sequence, data.train.by_step, data.target, data.outputs, data.shape) == (True, True, "values", 1, (3,))
    assert torch.equal(data.train.x[..., 0], data.train.y)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Task.from_arrays(X, CLASSES[:9]), "x has shape [50, 4] and y [9]; samples come first, with an answer"),
        (lambda: Task.from_arrays(X, np.eye(3)[CLASSES]), "has a single 1: for one-hot classes give y.argmax(-1)"),
        (lambda: Task.from_arrays(X, CLASSES, test=0.6, validation=0.5), "leave none of 50 samples to learn from"),
        (
            lambda: Task.from_arrays(X, CLASSES, test=0.001),
            "test=0.001 of 50 samples: give a share between 0 and 1 that",
        ),
        (
            lambda: Task.from_arrays(X, CLASSES, test=0),
            "test=0 of 50 samples: give a share between 0 and 1 that has a sample, a",
        ),
        (lambda: Task.from_arrays(X, CLASSES, validation=2.0), "validation=2.0 of 50 samples: give a share between"),
        (lambda: Task.from_arrays(X, CLASSES, target="clases"), "unknown target 'clases'; nearest: 'classes'"),
        (lambda: Task.from_arrays({"a": X}, CLASSES), "a task has one input: join the arrays, x=np.concatenate("),
        (lambda: Task.from_arrays(X, CLASSES, by_step=True), "with an answer for each step of each"),
        (lambda: Task.from_loader([]), "the loader yields nothing: it is empty, or was read once already"),
        (
            lambda: Task.from_loader([torch.rand(3, 2)]),
            "the loader yields no answers, and a task has one input and one",
        ),
        (
            lambda: Task.from_loader([(torch.rand(3, 2), torch.arange(3)), (torch.rand(3, 4), torch.arange(3))]),
            "the loader yields samples of shapes [2], [4]: pad all to one length, and let it yield rules.Batch(x, y, le",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


def test_no_answers_at_all():
    with pytest.raises(ValueError, match="y is None, and what was learned is judged by labels: give -100 for samples"):
        Task.from_arrays(np.zeros((8, 2)), None)
