"""Tests of graphs need the package nir, which `make peers` installs."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("nir") is None:
    collect_ignore_glob = ["test_*.py"]
