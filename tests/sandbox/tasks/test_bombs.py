"""What unpacks to more than a card says is refused after that many bytes, and never held."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import re
import tarfile
import tracemalloc

import pytest

from sandbox.tasks import CIFAR10, FSDD
from sandbox.tasks.archives import contents
from sandbox.tasks.files import MOST, VARIABLE, File, checked, read_card, read_file
from sandbox.tasks.pickled import read_pickle

MEGA = 1 << 20
ANY = re.compile(".*")


@pytest.fixture(scope="module")
def zeros(tmp_path_factory):
    """A gigabyte of zeros in a megabyte of gzip."""
    path = tmp_path_factory.mktemp("bomb") / "zeros.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(1024):
            file.write(bytes(MEGA))
    assert path.stat().st_size < 2 * MEGA
    return path


def peak_of(action):
    """The largest memory of an action; what other tests left is frozen, or the collector would wait for its size."""
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_refused_after_the_size_of_the_card(zeros):
    size = 8 * MEGA

    def attempt():
        with pytest.raises(ValueError, match=rf"zeros.gz is a different file: it unpacks to more than {size} bytes"):
            checked(zeros, "0" * 64, size)

    assert peak_of(attempt) < 4 * size  # a buffer, what it grows into, and the content; a gigabyte without the bound


def test_a_bomb_in_a_data_folder_is_named(zeros, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    name = read_card("mnist").files[1].name
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / name).symlink_to(zeros)
    card = read_card("mnist")
    with pytest.raises(ValueError, match=rf"{name} is a different file: it unpacks to more than 60008 bytes"):
        read_file(card, name, tmp_path)


def test_a_file_that_is_not_packed_is_bounded(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(bytes(1001))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        checked(path, hashlib.sha256(bytes(1001)).hexdigest(), 1000)
    assert checked(path, hashlib.sha256(bytes(1001)).hexdigest(), 1001) == bytes(1001)


def test_every_file_of_a_card_has_its_size():
    for name in ("mnist", "cifar10_head"):
        assert all(file.size < MOST for file in read_card(name).files)
    assert File("a", "b").size == MOST


def archive(path, members, ending=b""):
    with gzip.open(path, "wb", compresslevel=9) as packed:
        with tarfile.open(fileobj=packed, mode="w") as file:
            for name, size in members:
                info = tarfile.TarInfo(name)
                info.size = size
                file.addfile(info, io.BytesIO(bytes(size)))
        packed.write(ending)
    return path


@pytest.mark.parametrize("wanted", [True, False])
def test_an_archive_is_bounded_whether_its_files_are_wanted_or_not(tmp_path, wanted):
    path = archive(tmp_path / "a.tar.gz", [("a.bin", 64 * MEGA), ("b.bin", 10)])
    assert path.stat().st_size < MEGA

    def attempt():
        with pytest.raises(ValueError, match=r"a.tar.gz is a different file: it unpacks to more than 4194304 bytes"):
            contents(path, ANY if wanted else re.compile("b.bin"), 4 * MEGA)

    assert peak_of(attempt) < 12 * MEGA


def test_a_header_cannot_announce_more_than_the_bound(tmp_path):
    """The extended header of a name is read before any member is seen."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(ValueError, match="unpacks to more than"):
        contents(tmp_path / "a.tar", ANY, 4 * MEGA)


@pytest.mark.slow
def test_many_empty_files_take_no_memory(tmp_path):
    path = archive(tmp_path / "a.tar.gz", [(f"{n}.txt", 0) for n in range(8000)])
    assert peak_of(lambda: contents(path, re.compile("none"), 64 * MEGA)) < 4 * MEGA


def test_a_folder_is_bounded(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(100))
    (tmp_path / "b.bin").mkdir()
    assert contents(tmp_path, re.compile(r".*\.bin"), 100) == {"a.bin": bytes(100)}
    with pytest.raises(ValueError, match="have more than 99 bytes"):
        contents(tmp_path, re.compile(r".*\.bin"), 99)


@pytest.mark.parametrize(
    ("task", "place"), [(FSDD(), "fsdd/fsdd.tar.gz"), (CIFAR10(), "cifar10/cifar-10-batches-py/data_batch_1")]
)
def test_tasks_use_the_bound_of_their_card(tmp_path, monkeypatch, task, place):
    monkeypatch.delenv(VARIABLE, raising=False)
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    if place.endswith(".gz"):
        archive(path, [("0_theo_0.wav", 65 * MEGA)])
    else:
        path.touch()
        with open(path, "r+b") as file:
            file.truncate(201_000_000)  # no bytes on disk
    with pytest.raises(ValueError, match="more than (64000000|200000000) bytes"):
        task.load(tmp_path)


@pytest.mark.parametrize("place", [1 << 20, 1 << 31, (1 << 32) - 1])
def test_a_memo_of_a_pickle_is_bounded(place):
    content = b"\x80\x02}r" + place.to_bytes(4, "little") + b"."

    def attempt():
        with pytest.raises(ValueError, match=f"f is refused: it contains the place {place} of a memo"):
            read_pickle(content, "f")

    assert peak_of(attempt) < MEGA
