"""Two hosts on one machine: commands with a host name, a network, a temporary folder and a home of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from tests.conftest import ROOT

NAMED = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
PLAYED = "import socket, sys; name = sys.argv.pop(1); socket.gethostname = lambda: name; "
MAIN = "from sandbox.cli import main; sys.exit(main(sys.argv[1:]))"


@lru_cache(maxsize=1)
def has_namespaces() -> bool:
    """Whether this machine lets us have a host name and a network of our own."""
    try:
        words = ["unshare", "--uts", "--net", "sh", "-c", NAMED, "tried", "hostname"]
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.strip() == "tried"
    except OSError:
        return False


def on_host(name: str, home: Path, *words: str) -> subprocess.Popen:
    """Start `sandbox` on a host of that name; without namespaces only the name is another one."""
    (home / "home").mkdir(parents=True, exist_ok=True)
    short = tempfile.mkdtemp(prefix=name)  # multiprocessing has sockets there, whose paths have at most 107 bytes
    env = {**os.environ, "TMPDIR": short, "HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}
    if has_namespaces():
        command = ["unshare", "--uts", "--net", "sh", "-c", NAMED, name, sys.executable, "-m", "sandbox"]
    else:
        command = [sys.executable, "-c", PLAYED + MAIN, name]
    return subprocess.Popen(
        [*command, *words, "--json"], cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
