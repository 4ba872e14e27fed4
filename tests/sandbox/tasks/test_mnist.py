"""MNIST is read from its four original files, and nothing that only looks like them is accepted."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sandbox.tasks.mnist import MNIST, MNISTSample, parse_idx

DATA = os.environ.get("SANDBOX_DATA", "")
HERE = bool(DATA) and (Path(DATA) / "mnist" / "train-images-idx3-ubyte.gz").exists()
needs_files = pytest.mark.skipif(not HERE, reason="SANDBOX_DATA names no folder with mnist/train-images-idx3-ubyte.gz")


def raw(name, offset):
    """The bytes after an IDX header, read without our parser."""
    content = gzip.decompress((Path(DATA) / "mnist" / f"{name}.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=offset)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def mnist():
    return MNIST().load()


@needs_files
def test_validation_is_the_last_5000_training_images(mnist):
    x = torch.from_numpy(raw("train-images-idx3-ubyte", 16).copy()).view(60_000, 1, 28, 28).float() / 255
    y = torch.from_numpy(raw("train-labels-idx1-ubyte", 8).astype(np.int64))
    for split, part in ((mnist.train, slice(0, 55_000)), (mnist.validation, slice(55_000, None))):
        assert torch.equal(split.x, x[part])
        assert torch.equal(split.y, y[part])


@needs_files
def test_test_images_are_the_originals(mnist):
    assert np.array_equal((mnist.test.x * 255).round().byte().flatten(), raw("t10k-images-idx3-ubyte", 16))
    assert np.array_equal(mnist.test.y, raw("t10k-labels-idx1-ubyte", 8))


@needs_files
def test_shapes_and_types(mnist):
    assert [tuple(split.x.shape) for split in mnist[:3]] == [(n, 1, 28, 28) for n in (55_000, 5_000, 10_000)]
    assert (mnist.train.x.dtype, mnist.train.y.dtype) == (torch.float32, torch.int64)
    assert (mnist.train.x.min().item(), mnist.train.x.max().item()) == (0.0, 1.0)
    assert (mnist.classes, mnist.shape) == (10, (1, 28, 28))


@needs_files
def test_the_files_are_the_widely_published_ones():
    content = gzip.decompress((Path(DATA) / "mnist" / "train-images-idx3-ubyte.gz").read_bytes())
    assert hashlib.md5(content).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"


@needs_files
def test_fewer_training_images_leave_the_other_splits(mnist):
    fewer = MNIST(train=100).load()
    assert torch.equal(fewer.train.x, mnist.train.x[:100])
    assert torch.equal(fewer.validation.y, mnist.validation.y)


@needs_files
def test_the_sample_is_the_first_100_training_images_of_each_digit():
    images = raw("train-images-idx3-ubyte", 16).reshape(60_000, 784)
    labels = raw("train-labels-idx1-ubyte", 8)
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:100] for digit in range(10)])
    wanted = sorted((int(labels[i]), images[i].tobytes()) for i in chosen)
    ours = [(int(y), (x * 255).round().byte().numpy().tobytes()) for s in MNISTSample().load()[:3] for x, y in zip(*s)]
    assert sorted(ours) == wanted


def test_the_sample_has_three_splits_and_a_hundred_of_each_digit():
    data = MNISTSample().load()
    assert [len(split.y) for split in data[:3]] == [600, 200, 200]
    assert torch.cat([split.y for split in data[:3]]).bincount().tolist() == [100] * 10
    assert (data.shape, data.classes, data.train.x.max().item()) == ((1, 28, 28), 10, 1.0)


@given(shape=st.one_of(st.tuples(st.integers(0, 9)), st.tuples(*[st.integers(1, 5)] * 3)), seed=st.integers(0, 99))
def test_idx_is_read_back_as_written(shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(parse_idx(idx(array), "f"), array)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x08", b"\x00\x00\x0d\x01\x00\x00\x00\x00", b"\x1f\x8b\x08\x00"])
def test_a_file_of_another_kind_is_named(content):
    with pytest.raises(
        ValueError, match="labels.idx is not an IDX file of bytes: it begins with .*, wanted 00000801 or"
    ):
        parse_idx(content, "labels.idx")


def test_a_header_that_ends_early_is_named():
    with pytest.raises(ValueError, match=re.escape("images.idx ends inside its header: 6 bytes, wanted at least 16")):
        parse_idx(b"\x00\x00\x08\x03\x00\x00", "images.idx")


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\x00"])
def test_a_size_that_is_not_the_announced_one_is_named(change):
    content = change(idx(np.zeros((2, 3, 3), dtype=np.uint8)))
    with pytest.raises(ValueError, match=re.escape("images.idx announces (2, 3, 3) bytes and holds")):
        parse_idx(content, "images.idx")


@pytest.mark.parametrize("train", [0, 55_001])
def test_a_training_size_out_of_range_is_refused(train):
    with pytest.raises(ValueError, match=f"train={train}: give a number from 1 to 55000; the last 5000 are for valid"):
        MNIST(train=train)


def test_a_wrong_file_in_the_named_folder_is_refused(tmp_path):
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(idx(np.zeros((1, 28, 28), dtype=np.uint8))))
    with pytest.raises(
        ValueError, match=re.escape(str(path)) + " is truncated or corrupted: expected SHA-256 ba891046"
    ):
        MNIST().load(tmp_path)
