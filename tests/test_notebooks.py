"""The notebooks run from top to bottom, and their committed outputs are there."""

from __future__ import annotations

import ast
import importlib.util

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_twenty():
    assert len(NOTEBOOKS) == 20


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_outputs_are_committed(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert any(output.get("data", {}).get("image/png") for cell in cells for output in cell.outputs)
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_imports_is_there(path):
    """Faster than running it: names that have moved."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = "\n".join(cells).splitlines()
    tree = ast.parse("\n".join(each for each in lines if not each.lstrip().startswith(("%", "!"))))
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in taken if node.module.split(".")[0] in ("rules", "sandbox")]
    for node in ours:
        exec(f"from {node.module} import {', '.join(alias.name for alias in node.names)}", {})


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, monkeypatch):
    """An assertion in a cell that fails, fails the test; loops run as a reader's do, by kernels where they can."""
    text = path.read_text()
    peers = ("snntorch", "spikingjelly", "norse", "sinabs")
    if absent := [name for name in peers if name in text and not importlib.util.find_spec(name)]:
        pytest.skip(f"{', '.join(absent)} not installed: make peers")
    monkeypatch.setenv("SANDBOX_KERNELS", "auto")
    notebook = nbformat.read(path, as_version=4)
    ran = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert all(cell.execution_count for cell in ran.cells if cell.cell_type == "code")
