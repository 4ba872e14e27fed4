"""Splits that are read when they are needed give what splits in memory give, whatever the number of workers."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

import sandbox
from sandbox.tasks.base import Dataset, LazySplit, Samples, Split
from sandbox.tasks.checked import checked
from sandbox.tasks.encode import Constant
from sandbox.tasks.loader import Loader

X = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 2
WHOLE = Split(X, Y)


class Noisy(TorchDataset):
    """Draws from all three global generators."""

    def __len__(self):
        return 40

    def __getitem__(self, n):
        return X[n] + torch.rand(3) + np.random.rand() + random.random(), int(Y[n])


def batches(split, epoch=0, start=0):
    loader = Loader(split, Constant(2), 8, seed=3)
    loader.set_epoch(epoch)
    return list(loader.iterate(start))


def same(one, other):
    return all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_lazy_split_is_that_in_memory(workers):
    lazy = LazySplit(TensorDataset(X, Y), workers=workers)
    assert same(batches(lazy), batches(WHOLE))
    assert [x.tolist() for x in lazy.first(5).take(torch.tensor([4]), torch.Generator())] == [[X[4].tolist()], [0]]
    assert len(lazy.first(5)) == 5
    assert len(lazy.first(500)) == 40


def test_random_data_repeat_whatever_the_workers_and_the_start():
    torch.manual_seed(1)
    alone, after = batches(LazySplit(Noisy())), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))  # the global generator was left as it was
    torch.manual_seed(2)
    assert same(alone, batches(LazySplit(Noisy(), workers=2)))
    assert same(alone[2:], batches(LazySplit(Noisy()), start=2))
    assert not same(alone, batches(LazySplit(Noisy()), epoch=1))


def test_checksums():
    data = Dataset(WHOLE, WHOLE, WHOLE, 2)
    lazy = [LazySplit(TensorDataset(X, Y))] * 3
    assert Dataset(*lazy, 2).checksum == Dataset(*[LazySplit(TensorDataset(X, Y), workers=2)] * 3, 2).checksum
    assert Dataset(*lazy, 2).checksum != Dataset(*[LazySplit(TensorDataset(X + 1, Y))] * 3, 2).checksum
    named = [Dataset(*[LazySplit(TensorDataset(X, Y), checksum=name)] * 3, 2).checksum for name in ("v1", "v1", "v2")]
    assert named[0] == named[1] != named[2]
    assert data.checksum != data._replace(train=Split(X, Y, torch.ones(40, dtype=torch.int64))).checksum


def test_a_split_is_still_a_pair():
    x, y = WHOLE
    assert (x is X, y is Y, len(WHOLE), len(WHOLE.first(3))) == (True, True, 40, 3)


class Squares(Samples):
    """Samples of one's own, which are in no memory."""

    def __len__(self):
        return 60

    def take(self, rows, rng):
        return rows[:, None].float().expand(-1, 4) / 60, (rows % 2).long()


class Large(sandbox.Task):
    """A task whose splits are computed."""

    def load(self, data_dir=None):
        return Dataset(Squares(), Squares().first(20), Squares().first(10), 2)


def test_a_run_learns_from_samples_of_ones_own(tmp_path):
    experiment = sandbox.Experiment(task=Large, epochs=1)
    result = sandbox.run(experiment, tmp_path / "run")
    assert (result["train"]["samples"], result["test"]["samples"], result["steps"]) == (60, 10, 2)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: LazySplit(iter([1])), TypeError, "has no __len__, so its samples cannot be taken by number: give a"),
        (lambda: LazySplit(TensorDataset(X), workers=-1), ValueError, "workers=-1: give the number of processes"),
        (
            lambda: LazySplit([{"a": X, "b": Y}]).take(torch.arange(1), torch.Generator()),
            TypeError,
            "return (x, y), or",
        ),
        (
            lambda: checked(Dataset(LazySplit(TensorDataset(X, Y + 1)), WHOLE, WHOLE, 2), "mine"),
            ValueError,
            "task 'mine', train: labels run from 1 to 2, with classes=2",
        ),
        (
            lambda: checked(Dataset(LazySplit([]), WHOLE, WHOLE, 2), "mine"),
            ValueError,
            "task 'mine', train: it has no samples",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(build, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build()
