"""Data that cannot be learned from are refused when they are loaded, with the task, the split and what to change."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch

from sandbox.config.experiment import Experiment
from sandbox.config.registry import Choice
from sandbox.tasks import TASKS
from sandbox.tasks.base import Dataset, Split, Task, checked

GOOD = Split(torch.rand(6, 4), torch.arange(6) % 3)


def holding(x=GOOD.x, y=GOOD.y, **options) -> Dataset:
    return Dataset(Split(x, y), Split(x, y), Split(x, y), **{"classes": 3, **options})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((GOOD, GOOD, GOOD), "load returned a tuple; let it return sandbox.Dataset"),
        (holding()._replace(validation=GOOD.x), "validation: it is a Tensor; give a sandbox.Split(x, y)"),
        (holding(GOOD.x.numpy()), "train: x is a ndarray; give a tensor, with torch.from_numpy"),
        (holding(y=[0, 1, 2, 0, 1, 2]), "train: y is a list; give a tensor"),
        (holding(GOOD.x.transpose(0, 1)), "train: x has shape [4, 6] and y [6]; samples come first"),
        (holding(y=GOOD.y[:, None]), "y [6, 1]; samples come first, and there is one label"),
        (holding(GOOD.x[:0], GOOD.y[:0]), "train: x has shape [0, 4]"),
        (holding(GOOD.x.double()), "train: x is torch.float64; give x.float()"),
        (holding(GOOD.x.log() / 0), "train: x holds NaN or infinity"),
        (holding(y=GOOD.y.float()), "train: y is torch.float32; give labels as whole numbers, y.long()"),
        (holding(y=GOOD.y + 1), "train: labels run from 1 to 3, with classes=3"),
        (holding(y=GOOD.y - 1), "train: labels run from -1 to 1"),
        (holding(y=0 * GOOD.y), "train: all labels are equal"),
        (
            Dataset(GOOD, GOOD, Split(GOOD.x[:, :3], GOOD.y), classes=3),
            "test: samples of shape [3], and train has [4]",
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_bad_data_are_named(data, message):
    with pytest.raises(ValueError, match=f"^task 'mine.py:Mine'.*{re.escape(message)}"):
        checked(data, "mine.py:Mine")


def test_undeclared_sequences_are_pointed_out():
    x = torch.rand(6, 5, 4)
    with pytest.warns(UserWarning, match=r"samples of shape \[5, 4\] are taken as features of one moment"):
        checked(holding(x), "mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked(holding(x, sequence=True), "mine")
        checked(holding(x, sequence=True)._replace(test=Split(x[:, :3], GOOD.y)), "mine")  # shorter sequences
        checked(holding((9 * GOOD.x).long()), "mine")  # for a model that embeds them
        checked(holding(), "mine")


class Absent(Task):
    """Its file is missing."""

    def load(self, data_dir=None):
        return np.load("nowhere.npy")


def test_a_missing_file_is_named_with_its_task():
    with pytest.raises(FileNotFoundError, match=r"task 'tests\..*:Absent': .*nowhere.npy"):
        Experiment(task=Choice(f"{__name__}:Absent")).load()


@pytest.mark.parametrize("name", ["yinyang", "digits", "mnist1d"])
def test_our_own_pass(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(checked(TASKS[name]().load(), name), Dataset)
