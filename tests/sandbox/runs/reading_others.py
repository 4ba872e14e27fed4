"""Run every reader over folders of others, in a process of its own whose audit hook notes what happens.

Arguments: a folder of ordinary folders, by which everything is imported first, one of hostile folders, and the file to
write what was seen to.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import pytest

if __name__ != "__main__":
    pytest.skip("this file is a script", allow_module_level=True)
ordinary, hostile, answer = map(Path, sys.argv[1:])
sys.path.insert(0, str(hostile))  # as if the other's folder were where the user works
os.chdir(hostile)

import sandbox  # noqa: E402
from sandbox.cli import main  # noqa: E402
from sandbox.cli.options import COMMANDS  # noqa: E402
from sandbox.report import pages  # noqa: E402

pages.png = lambda figure: b""  # drawing reads no configuration, and takes a second
READERS = [name for name in ("report", "table", "verify") if name in COMMANDS]
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
seen: list[list[str]] = []
codes: dict[str, int] = {}
here = ""
watching = True


def note(event, given):
    if not watching:
        return
    if event in FORBIDDEN or event in ("pickle.find_class", "socket.connect"):
        seen.append([here, event, repr(given)[:200]])
    elif event == "import" and str(given[0]).split(".")[0] in ("canary", "package"):
        seen.append([here, event, str(given[0])])
    elif event == "exec" and str(hostile) in str(getattr(given[0], "co_filename", "")):
        seen.append([here, event, given[0].co_filename])
    elif event == "open" and isinstance(given[0], (str, bytes)):
        path, mode, flags = os.fsdecode(given[0]), given[1] or "", given[2] or 0
        if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            seen.append([here, "write", path])


def read(place):
    """Read everything below a folder with every reader."""
    global here
    folders = sorted(path.parent for path in place.rglob("config.yaml"))
    for folder in folders:
        for name in READERS:
            here = f"{name} {folder.relative_to(place)}"
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
                codes[here] = main([name, str(folder)])
            assert "Traceback" not in said.getvalue()
        here = f"load {folder.relative_to(place)}"
        with contextlib.suppress(ValueError):
            sandbox.load(folder)
    here = "list"
    with contextlib.redirect_stdout(io.StringIO()):
        main(["list", "runs", "--out", str(place)])


read(ordinary)
codes.clear()
sys.addaudithook(note)
read(hostile)
watching = False
answer.write_text(json.dumps({"seen": seen, "codes": codes}))
