"""CIFAR-10 is read from either official version, unpacked or not, and nothing that only looks like it is accepted."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sandbox.tasks import cifar10, files
from sandbox.tasks.archives import contents
from sandbox.tasks.cifar10 import (
    BATCHES,
    CIFAR10,
    VERSIONS,
    CIFAR10Head,
    Images,
    parse_binary,
    parse_pickled,
    read_version,
)

ROWS = 3  # images in each of our six files
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, ROWS, 3072), dtype=np.uint8)
LABELS = RNG.integers(0, 10, (6, ROWS))

DATA = os.environ.get("SANDBOX_DATA", "")
FILE = Path(DATA) / "cifar10-head" / "cifar10_head.npz"
needs_file = pytest.mark.skipif(not (DATA and FILE.exists()), reason="SANDBOX_DATA names no folder with cifar10-head/")


def pickled(data, labels):
    """As NumPy 1 wrote it."""
    content = pickle.dumps({b"batch_label": b"one", b"labels": labels, b"data": data, b"filenames": [b"a.png"]}, 2)
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def binary(data, labels):
    return np.column_stack([np.uint8(labels), data]).tobytes()


def batches(name):
    """The files of a version, and one that is none of its batches."""
    if "bin" in name:
        made = [binary(data, labels) for data, labels in zip(PIXELS, LABELS)]
        return {**{f"{batch}.bin": content for batch, content in zip(BATCHES, made)}, "batches.meta.txt": b"airplane"}
    made = [pickled(data, labels.tolist()) for data, labels in zip(PIXELS, LABELS)]
    return {**dict(zip(BATCHES, made)), "batches.meta": b"not read"}


def put(folder, name, found):
    """A version in a folder, packed if its name ends in .tar.gz."""
    path = folder / name
    if not name.endswith(".tar.gz"):
        path.mkdir(parents=True)
        for file, content in found.items():
            (path / file).write_bytes(content)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for file, content in found.items():
            member = tarfile.TarInfo(f"cifar-10-batches/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data folder but the one that a test names."""
    monkeypatch.delenv(files.VARIABLE, raising=False)
    monkeypatch.setattr(files, "user_cache_dir", lambda app: str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_gives_the_same_images(name, tmp_path):
    read = read_version(put(tmp_path, name, batches(name)), ROWS)
    for batch, pixels, labels in zip(read, PIXELS, LABELS, strict=True):
        assert torch.equal(batch.x, torch.from_numpy(pixels.reshape(ROWS, 3, 32, 32)))
        assert (batch.x.dtype, batch.y.dtype) == (torch.uint8, torch.int64)
        assert batch.y.tolist() == labels.tolist()


def test_colours_come_first_and_rows_before_columns():
    pixels = np.zeros((1, 3072), dtype=np.uint8)
    pixels[0, 1024 + 2 * 32 + 5] = 9  # green, row 2, column 5
    x = parse_binary(binary(pixels, [0]), "f", 1).x
    assert x.nonzero().tolist() == [[0, 1, 2, 5]]
    assert torch.equal(parse_pickled(pickled(pixels, [0]), "f", 1).x, x)


@pytest.mark.parametrize("name", VERSIONS)
def test_a_missing_batch_is_named(name, tmp_path):
    found = batches(name)
    gone = next(file for file in found if file.startswith("data_batch_3"))
    del found[gone]
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / name} lacks {gone}; wanted data_batch_1")):
        read_version(put(tmp_path, name, found), ROWS)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\x00"])
def test_a_binary_batch_of_another_length_is_named(change, tmp_path):
    found = batches("bin")
    found["test_batch.bin"] = change(found["test_batch.bin"])
    path = put(tmp_path, "cifar-10-batches-bin", found)
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"{path}/test_batch.bin holds {len(found['test_batch.bin'])} bytes; "
            "wanted 9219, 3 records of 3073: it is truncated"
        ),
    ):
        read_version(path, ROWS)


@pytest.mark.parametrize("label", [10, 255])
def test_a_class_out_of_range_in_a_binary_batch_is_named(label):
    with pytest.raises(ValueError, match=f"f has classes from 4 to {label}; wanted 0 to 9: it is corrupted"):
        parse_binary(binary(PIXELS[0][:2], [4, label]), "f", 2)


@pytest.mark.parametrize("labels", [[-1, 3], [0, 10]])
def test_a_class_out_of_range_in_a_pickle_is_named(labels):
    with pytest.raises(ValueError, match=f"f has classes from {labels[0]} to {labels[1]}; wanted 0 to 9"):
        parse_pickled(pickled(PIXELS[0][:2], labels), "f", 2)


@pytest.mark.parametrize("labels", [[1], [1, 2, 3], [1, 2.0], [1, True], (1, 2), None])
def test_labels_that_are_no_list_of_numbers_are_named(labels):
    with pytest.raises(ValueError, match="f holds labels that are not a list of 2 whole numbers: fetch it again"):
        parse_pickled(pickled(PIXELS[0][:2], labels), "f", 2)


@pytest.mark.parametrize(("data", "shape"), [(PIXELS[0][:1], "(1, 3072)"), (PIXELS[0][:2, :9], "(2, 9)"), ([1], None)])
def test_data_of_another_shape_are_named(data, shape):
    message = f"f holds data of shape {shape}; wanted (2, 3072): fetch it again"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_pickled(pickled(data, [1, 2]), "f", 2)


def test_a_pickle_without_its_keys_is_named():
    with pytest.raises(ValueError, match=re.escape("f lacks [b'labels']; it holds [\"b'data'\"]: fetch it again")):
        parse_pickled(pickle.dumps({b"data": PIXELS[0]}, 2), "f", ROWS)


def test_a_harmful_batch_is_refused_without_running(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    found = {**batches("py"), "data_batch_2": pickle.dumps({b"data": Harm()}, 2)}
    path = put(tmp_path, "cifar-10-python.tar.gz", found)
    with pytest.raises(ValueError, match=re.escape(f"{path}/data_batch_2 is refused: it contains the global")):
        read_version(path, ROWS)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "change",
    [lambda content: content[:-100], lambda content: b"", lambda content: b"<html>"],
    ids=["truncated", "empty", "another"],
)
def test_an_archive_that_cannot_be_read_is_named(change, tmp_path):
    path = put(tmp_path, "cifar-10-binary.tar.gz", batches("bin"))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(
        ValueError, match=re.escape(f"{path} cannot be read (") + ".*truncated or not a tar archive; remove"
    ):
        read_version(path, ROWS)


def test_an_archive_with_another_checksum_is_refused(tmp_path):
    path = put(tmp_path, "cifar-10-binary.tar.gz", batches("bin"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(read_version(path, ROWS, sha256=found)) == 6
    with pytest.raises(
        ValueError, match=f"is truncated or corrupted: expected SHA-256 {'0' * 64}, found {found}; remove"
    ):
        read_version(path, ROWS, sha256="0" * 64)


def test_links_in_an_archive_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        for name, kind in (("a.bin", tarfile.SYMTYPE), ("b.bin", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
    assert contents(tmp_path / "links.tar", re.compile(".*")) == {}


def test_nothing_is_extracted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tarfile.open("out.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../a.bin"), io.BytesIO())
    assert contents(tmp_path / "out.tar", re.compile(r"a\.bin")) == {"a.bin": b""}
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar"]


def test_two_files_of_one_name_are_refused(tmp_path):
    with tarfile.open(tmp_path / "two.tar", "w") as archive:
        for name in ("x/a.bin", "y/a.bin"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ValueError, match=r"two.tar holds two files a.bin; wanted one: remove it and fetch it again"):
        contents(tmp_path / "two.tar", re.compile(r"a\.bin"))


@pytest.fixture
def official(monkeypatch):
    """Official files of 1,200 images, brightness and class counting up; the requested part is kept."""
    asked = []

    def read(path, sha256=None, most=None):
        asked.append((path, sha256))
        counted = torch.arange(7200).view(6, 1200)
        return [Images((n % 251).byte().view(-1, 1, 1, 1).expand(-1, 3, 32, 32), n % 10) for n in counted]

    monkeypatch.setattr(cifar10, "read_version", read)
    return asked


def test_validation_is_the_last_5000_training_images(official, nowhere):
    (nowhere / "cifar-10-batches-bin").mkdir()
    data = CIFAR10().load(nowhere)
    numbers = [torch.arange(*bounds) for bounds in ((0, 6000), (1000, 6000), (6000, 7200))]  # 6,000 are below 45,000
    for split, n in zip(data[:3], numbers):
        assert torch.equal(split.x[:, 2, 31, 7], (n % 251).float() / 255)
        assert torch.equal(split.y, n % 10)
    assert (data.shape, data.classes, data.sequence) == ((3, 32, 32), 10, False)


def test_fewer_training_images_leave_the_other_splits(official, nowhere):
    (nowhere / "cifar-10-batches-bin").mkdir()
    all_, fewer = CIFAR10().load(nowhere), CIFAR10(train=20).load(nowhere)
    assert torch.equal(fewer.train.x, all_.train.x[:20])
    assert torch.equal(fewer.validation.y, all_.validation.y)


def test_files_are_looked_for_in_the_documented_places(official, nowhere):
    sums = files.yaml.safe_load((files.card_folder("cifar10") / "card.yaml").read_text())["archives"]
    for place in ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", "cifar10/cifar-10-batches-py"):
        (nowhere / place).mkdir(parents=True)
        CIFAR10(train=1).load(nowhere)
        assert official[-1] == (nowhere / place, sums.get(Path(place).name))


def test_without_files_the_error_says_what_to_put_where(nowhere):
    with pytest.raises(FileNotFoundError) as caught:
        CIFAR10().load(nowhere / "mine")
    for part in (
        *VERSIONS,
        "cifar10/",
        str(nowhere / "mine"),
        str(nowhere / "cache"),
        "cs.toronto.edu",
        "--data-dir",
        "SANDBOX_DATA",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("train", [0, 45_001])
def test_a_training_size_out_of_range_is_refused(train):
    with pytest.raises(ValueError, match=f"train={train}: give a number from 1 to 45000; the last 5000 are for valid"):
        CIFAR10(train=train)


@pytest.mark.slow
def test_files_of_the_official_size_give_the_official_splits(nowhere):
    folder = nowhere / "cifar-10-batches-bin"
    folder.mkdir()
    for batch in BATCHES:
        (folder / f"{batch}.bin").write_bytes(bytes(10_000 * 3073))
    assert [tuple(split.x.shape) for split in CIFAR10().load(nowhere)[:3]] == [
        (n, 3, 32, 32) for n in (45_000, 5_000, 10_000)
    ]


@needs_file
def test_the_head_is_its_file_in_order():
    data = CIFAR10Head().load()
    with np.load(FILE) as file:
        x, y = (np.concatenate([file[f"train_{part}"], file[f"test_{part}"]]) for part in ("images", "labels"))
    assert [len(split.y) for split in data[:3]] == [4500, 500, 1000]
    assert np.array_equal((torch.cat([split.x for split in data[:3]]) * 255).round().byte(), x)
    assert np.array_equal(torch.cat([split.y for split in data[:3]]), y)
    assert (data.shape, data.train.x.dtype, data.train.x.max().item()) == ((3, 32, 32), torch.float32, 1.0)


@needs_file
def test_the_head_validates_on_all_classes_evenly():
    counts = CIFAR10Head().load().validation.y.bincount()
    assert (counts.min().item(), counts.max().item()) == (39, 57)  # as in its docstring


def test_the_head_without_its_file_says_what_to_put_where(nowhere):
    with pytest.raises(FileNotFoundError, match=r"cifar10_head.npz into .*cifar10-head, or into DIR/cifar10-head/"):
        CIFAR10Head().load()


def test_another_head_is_refused(nowhere):
    (nowhere / "cifar10-head").mkdir()
    np.savez(nowhere / "cifar10-head" / "cifar10_head.npz", train_images=np.array([None]))
    with pytest.raises(ValueError, match="cifar10_head.npz is truncated or corrupted: expected SHA-256 17df401e"):
        CIFAR10Head().load(nowhere)
