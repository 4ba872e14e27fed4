"""Digits and MNIST-1D are what their packages return, in a fixed split, and leave the global generators unchanged."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from sandbox.tasks import TASKS
from sandbox.tasks.digits import Digits, images
from sandbox.tasks.mnist1d import MNIST1D


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture(scope="module")
def mnist1d():
    return MNIST1D().load()


def sizes(data):
    return [len(split.y) for split in data[:3]]


def test_digits_are_scikit_learns_each_once(digits):
    from sklearn.datasets import load_digits

    found = load_digits()
    ours = torch.cat([torch.cat([s.x, s.y[:, None].float()], 1) for s in digits[:3]])
    theirs = torch.from_numpy(np.column_stack([found.data / 16, found.target])).float()
    # exact: sixteenths and small integers are representable in float32
    assert sorted(ours.tolist()) == sorted(theirs.tolist())
    assert sizes(digits) == [1200, 200, 397]


def test_digits_are_the_same_bits_with_and_without_scikit_learn(monkeypatch):
    here = images()
    assert [part.dtype for part in here] == [np.dtype(float), np.dtype(int)]
    monkeypatch.setattr("sandbox.tasks.digits.find_spec", lambda name: None)
    assert all(map(np.array_equal, here, images()))


def test_loading_digits_imports_no_scikit_learn():
    code = "import sys; from sandbox.tasks import TASKS; TASKS['digits']().load(); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_mnist1d_is_the_packages_default_set(mnist1d):
    from mnist1d.data import get_dataset_args, make_dataset

    random_state, numpy_state = random.getstate(), np.random.get_state()
    made = make_dataset(get_dataset_args())
    random.setstate(random_state)
    np.random.set_state(numpy_state)
    train, validation, test = mnist1d[:3]
    assert torch.equal(torch.cat([train.x, validation.x]), torch.from_numpy(made["x"]).float())
    assert torch.equal(torch.cat([train.y, validation.y]), torch.from_numpy(made["y"]))
    assert torch.equal(test.x, torch.from_numpy(made["x_test"]).float())
    assert torch.equal(test.y, torch.from_numpy(made["y_test"]))
    assert sizes(mnist1d) == [3500, 500, 1000]


@pytest.mark.parametrize(("name", "shape"), [("digits", (64,)), ("mnist1d", (40,))])
def test_dtypes_shapes_and_classes(name, shape, request):
    data = request.getfixturevalue(name)
    assert (data.shape, data.classes) == (shape, 10)
    for split in data[:3]:
        assert (split.x.dtype, split.y.dtype) == (torch.float32, torch.int64)
        assert split.y.unique().tolist() == list(range(10))


def test_digits_lie_between_0_and_1(digits):
    x = torch.cat([split.x for split in digits[:3]])
    assert (x.min().item(), x.max().item()) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["digits", "mnist1d"])
def test_a_second_load_is_the_same(name, request):
    assert TASKS[name]().load().checksum == request.getfixturevalue(name).checksum


def test_no_global_dice_are_moved():
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    MNIST1D().load()
    Digits().load()
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


@pytest.mark.slow
def test_importing_the_tasks_imports_no_heavy_package():
    heavy = ("sklearn", "mnist1d", "matplotlib", "pandas", "brian2", "requests")
    code = f"import sys, sandbox.tasks; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
