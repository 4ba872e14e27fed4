"""The page of each library: its code runs, in one process, as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from rules.models.peers import PEERS
from tests.conftest import ROOT
from tests.peers.zoo import present


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_its_code_runs(name):
    if not present(name):
        pytest.skip(f"{name} is not installed: make peers")
    page = (ROOT / f"docs/peers/{name}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert blocks
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout


def test_every_library_has_a_page():
    assert {path.stem for path in (ROOT / "docs/peers").glob("*.md")} == set(PEERS)
