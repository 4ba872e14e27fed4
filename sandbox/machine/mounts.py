"""Which file system a folder is on, because some lock files for one host alone."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/mounts")
NETWORK = (  # types of file systems that several hosts share (proc(5), mount(8))
    *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "glusterfs", "lustre"),
    *("gpfs", "beegfs", "beegfs_nodev", "pvfs2", "orangefs", "ocfs2", "gfs2", "panfs", "wekafs", "vboxsf", "virtiofs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.beegfs", "fuse.moosefs", "fuse.s3fs"),
    *("fuse.rclone", "fuse.gcsfuse", "fuse.juicefs", "fuse.lustre"),
)


def mounts() -> list[tuple[str, str]]:
    """Return where file systems are mounted and of which type they are; none where the system does not say."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = [line.split(" ") for line in lines]
    # Blanks in paths are written as octal numbers.
    return [(fields[1].replace("\\040", " "), fields[2]) for fields in found if len(fields) > 2]


def network_type(folder: Path) -> str | None:
    """Return the type of the network file system that a path is on; None for a local one, or where nothing is known.

    >>> network_type(Path("/proc")) is None
    True
    """
    path, found = folder.resolve(), ("", "")
    for place, kind in mounts():  # of two mounts on one place the later one is seen
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind)
    return found[1] if found[1] in NETWORK else None
