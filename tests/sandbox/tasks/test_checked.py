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
from sandbox.tasks.base import Dataset, Split, Task
from sandbox.tasks.checked import checked

GOOD = Split(torch.rand(6, 4), torch.arange(6) % 3)


def holding(x=GOOD.x, y=GOOD.y, **options) -> Dataset:
    return Dataset(Split(x, y), Split(x, y), Split(x, y), **{"classes": 3, **options})


def trials(labels, y=None):
    """Sequences with a class at each step, asked at the last alone, and labels of the whole."""
    if y is None:
        y = torch.full((6, 5), -100)
        y[:, -1] = GOOD.y
    return Dataset(*[Split(torch.ones(6, 5, 4), y, by_step=True, labels=labels)] * 3, classes=3, sequence=True)


def test_steps_that_are_left_out_are_fine():
    found = checked(trials(GOOD.y), "mine")
    assert torch.equal(found.train.labels, GOOD.y)
    assert found.outputs == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((GOOD, GOOD, GOOD), "load returned a tuple; let it return sandbox.Dataset"),
        (holding()._replace(validation=GOOD.x), "validation: it is a Tensor; give a sandbox.Split(x, y)"),
        (holding(y=[0, 1, 2, 0, 1, 2]), "train: y is a list; give a tensor or a NumPy array, with torch.tensor(y)"),
        (holding(classes=None), "classes=None: give the number of classes, or Dataset(..., target='values')"),
        (holding(target="numbers"), "unknown target 'numbers'; "),
        (holding(target="values"), "classes=3 with target='values': leave classes out"),
        (
            holding(y=GOOD.x, classes=None, target="labels"),
            "labels are neither 0 nor 1; give y > 0, or say target='val",
        ),
        (holding(y=torch.eye(3)[GOOD.y]), "there is one label for each: for one-hot rows give y.argmax(1)"),
        (holding(y=GOOD.y / torch.zeros(6), classes=None, target="values"), "train: y holds NaN or infinity"),
        (holding(GOOD.x.transpose(0, 1)), "train: x has shape [4, 6] and y [6]; samples come first"),
        (holding(y=GOOD.y[:, None]), "y [6, 1]; samples come first, and there is one label"),
        (holding(GOOD.x[:0], GOOD.y[:0]), "train: x has shape [0, 4]"),
        (holding(GOOD.x.log() / 0), "train: x holds NaN or infinity"),
        (
            holding(y=GOOD.y.float()),
            "train: y is torch.float32; give labels as whole numbers, y.long(), or say target='values'",
        ),
        (holding(y=GOOD.y + 1), "train: labels run from 1 to 3, with classes=3"),
        (holding(y=GOOD.y - 1), "train: labels run from -1 to 1"),
        (holding(y=0 * GOOD.y), "train: all labels are equal"),
        (
            Dataset(GOOD, GOOD, Split(GOOD.x[:, :3], GOOD.y), classes=3),
            "test: samples of shape [3], and train has [4]",
        ),
        (holding(GOOD.x + 1j), "train: x is torch.complex64; give real numbers"),
        (holding(GOOD.x.to("meta")), "train: x is on the device 'meta', and has a shape but no numbers"),
        (holding(y=GOOD.y.to("meta")), "train: y is on the device 'meta'"),
        (holding(GOOD.x[:, 0]), "train: x has shape [6]; give [n, *features], as in x[..., None]"),
        (holding(np.array([["a"] * 4] * 6)), "train: x is an array of <U1; give numbers"),
        (holding(np.ma.masked_array(GOOD.x.numpy())), "train: x is a MaskedArray; give a tensor or a NumPy array"),
        (holding(classes=3.0), ": classes=3.0: give a whole number of at most 63 bits or nothing (null)"),
        (holding(classes=1), "classes=1: give the number of classes, from 2 to 10000000"),
        (holding(sequence="yes"), ": sequence='yes': give true or false"),
        (
            Dataset(*[Split(torch.rand(6, 5, 4), GOOD.y, torch.rand(6) + 1)] * 3, classes=3, sequence=True),
            "train: lengths are torch.float32; give whole numbers, lengths.long()",
        ),
        (Dataset(GOOD, GOOD, Split(GOOD.x[:0], GOOD.y[:0]), classes=3), "test: x has shape [0, 4]"),
        (
            Dataset(*[Split(GOOD.x, GOOD.y, by_step=True)] * 3, classes=3),
            "there is an answer for each step, and samples are not sequences: return Dataset(..., sequence=True)",
        ),
        (
            Dataset(
                *[Split(torch.rand(6, 5, 4), GOOD.y, torch.tensor([1, 2, 3, 4, 5, 6]))] * 3, classes=3, sequence=True
            ),
            "lengths of shape [6] do not fit 6 sequences of 5 steps: give one whole number from 1 to 5 for each",
        ),
        (trials(torch.arange(5) % 3), "labels of shape [5] do not fit 6 samples: give one class for each"),
        (trials(torch.rand(6)), "labels are torch.float32; give whole numbers, labels.long()"),
        (trials(torch.full((6,), 3)), "labels run from 3 to 3, with classes=3"),
        (
            Dataset(*[Split(GOOD.x, GOOD.y, labels=GOOD.y)] * 3, classes=3),
            "there are labels beside y, which need a class at each step in y: leave labels out, or return Split(x, y, by",
        ),
        (
            trials(GOOD.y, torch.full((6, 5), -100)),
            "every label is -100, which losses leave out: give classes from 0 to 2",
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


def test_arrays_get_the_dtypes_of_models():
    found = checked(holding(GOOD.x.double().numpy(), GOOD.y.int().numpy()), "mine")
    assert torch.equal(found.test.x, GOOD.x)
    assert torch.equal(found.train.y, GOOD.y)
    for x in (GOOD.x.half(), GOOD.x.to_sparse(), GOOD.x.clone().requires_grad_()):
        plain = checked(holding(x), "mine").train.x
        assert (plain.dtype, plain.layout, plain.requires_grad) == (torch.float32, torch.strided, False)
    images = checked(holding(torch.full((6, 4), 51, dtype=torch.uint8)), "mine").train.x
    torch.testing.assert_close(images, torch.full((6, 4), 0.2))


@pytest.mark.parametrize(
    ("y", "target", "outputs", "measure"),
    [
        (torch.rand(6, dtype=torch.float64), "values", 1, "r2"),
        (torch.rand(6, 2), "values", 2, "r2"),
        (torch.rand(6, 2) > 0.5, "labels", 2, "f1"),
    ],
)
def test_answers_that_are_not_classes(y, target, outputs, measure):
    y[0] = ~y[1] if y.dtype == torch.bool else 2 + y[1]
    found = checked(holding(y=y, classes=None, target=target), "mine")
    assert (found.outputs, found.measure, found.train.y.dtype) == (outputs, measure, torch.float32)


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
