"""The file system of a folder, from a table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.machine import mounts
from sandbox.machine.mounts import NETWORK, network_type

TABLE = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local xfs rw 0 0
anna@far:/ /with\\040blank fuse.sshfs rw 0 0
//nas/x /homes cifs rw 0 0
tmpfs /over tmpfs rw 0 0
lustre:/x /over lustre rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc", None),
        ("/home/anna/runs", "nfs4"),
        ("/home", "nfs4"),
        ("/home/local/runs", None),
        ("/homes/x", "cifs"),
        ("/homeless", None),
        ("/with blank/runs", "fuse.sshfs"),
        ("/over/runs", "lustre"),
    ],
)
def test_the_longest_and_latest_mount_counts(path, kind, monkeypatch, tmp_path):
    (tmp_path / "mounts").write_text(TABLE)
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mounts")
    assert network_type(Path(path)) == kind


@pytest.mark.parametrize("kind", NETWORK)
def test_every_network_file_system_is_told(kind, monkeypatch):
    monkeypatch.setattr(mounts, "mounts", lambda: [("/", "ext4"), ("/net", kind)])
    assert network_type(Path("/net/runs")) == kind
    assert network_type(Path("/var")) is None


def test_a_system_without_a_table(monkeypatch, tmp_path):
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "absent")
    assert network_type(tmp_path) is None
