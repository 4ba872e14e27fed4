"""Tensors of others are plain data of the size of their file."""

from __future__ import annotations

import os
import zipfile

import pytest
import torch

from sandbox.machine.tensors import read_tensors, require_stored
from sandbox.runs.checkpoint import RunFailed, read_checkpoint


class Evil:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def test_plain_data_is_read(tmp_path):
    content = {"format": 3, "x": [torch.arange(3), "word", 1.5, None]}
    torch.save(content, tmp_path / "a.pt")
    found = read_tensors(tmp_path / "a.pt")
    assert torch.equal(found["x"].pop(0), content["x"].pop(0))
    assert found == content


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_run(tmp_path, zipped):
    for content in (Evil(tmp_path / "proof"), {"format": 3, "trainer": Evil(tmp_path / "proof")}):
        torch.save(content, tmp_path / "checkpoint.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match="it is not loaded" if zipped else "is not a file of torch.save"):
            read_tensors(tmp_path / "checkpoint.pt")
        with pytest.raises(RunFailed, match="holds pickled classes .*it is not loaded" if zipped else "cannot be read"):
            read_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "proof").exists()


def test_compressed_parts_are_refused(tmp_path):
    torch.save({"x": torch.zeros(1 << 18)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as whole,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert (tmp_path / "b.pt").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"b.pt is refused: it holds compressed parts, which torch.save never writes"):
        read_tensors(tmp_path / "b.pt")


@pytest.mark.parametrize("content", [b"", b"PK", b"nonsense" * 100])
def test_anything_else_is_named(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.pt is not a file of torch.save"):
        read_tensors(tmp_path / "a.pt")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    torch.save({"x": [torch.zeros(1).expand(10**12)]}, tmp_path / "a.pt")
    content = read_tensors(tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a tensor of shape \(1000000000000,\) does not fit into the file"):
        require_stored(tmp_path / "a.pt", content)
