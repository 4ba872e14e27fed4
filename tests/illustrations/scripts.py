"""Scripts of the illustrations, imported from the documentation, which is not a package."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache

import torch

from tests.conftest import ROOT

FOLDER = ROOT / "docs/illustrations"
TIGHT = {"rtol": 1e-12, "atol": 1e-12}  # float64: some hundred sums


@lru_cache
def script(name):
    """Import a script of the documentation."""
    spec = importlib.util.spec_from_file_location(f"illustrations_{name}", FOLDER / f"{name}.py")
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for annotations
    spec.loader.exec_module(found)
    return found


def page(name):
    """Return the text of a page, with single spaces in place of ends of lines."""
    return " ".join((FOLDER / f"{name}.md").read_text().split())


def rng(seed=0):
    return torch.Generator().manual_seed(seed)
