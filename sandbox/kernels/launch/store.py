"""Kernels on disk: a file for each source, versions and processor; written atomically, and never required."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from sandbox.kernels.trace.aten import fused
from sandbox.machine import compiled as compiled_loops
from sandbox.machine import files
from sandbox.machine.private import NotPrivate, require_private

DEVICE = Path(__file__).parents[1] / "device"
LOG = logging.getLogger(__name__)
SIGNATURE = "void(int64, int64, int64, int64, int64, int64, int64, int64[::1], int64)"


def folder() -> Path:
    """Return the folder of the kernels: SANDBOX_KERNEL_CACHE, or the user's cache folder."""
    return compiled_loops.cache_folder(os.environ.get("SANDBOX_KERNEL_CACHE")) / "kernels"


@lru_cache(maxsize=1)
def versions() -> str:
    """Return everything on which the machine code of a kernel depends apart from its source."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba

    shared = Path(compiled_loops.__file__).with_name("bits.py")
    parts = [path.read_text() for path in (DEVICE / "machine.py", DEVICE / "elementary.py", shared)]
    features = llvm.get_host_cpu_features().flatten()
    facts = (sys.version, numba.__version__, llvmlite.__version__, np.__version__, torch.__version__)
    return "\n".join([*facts, llvm.get_host_cpu_name(), features, *parts])


@lru_cache(maxsize=512)
def imported(source: str) -> Any:
    """Import the kernel of a source for Triton, which reads it from a file; a temporary one if the cache fails."""
    name = f"triton_{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    try:
        path = _written(folder() / f"{name}.py", source)
    except OSError as error:
        _tell(error)
        path = _written(Path(_temporary().name) / f"{name}.py", source)
    return _executed(source, path, {}).kernel


@lru_cache(maxsize=1)
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="sandbox-kernels-")


@lru_cache(maxsize=512)
def compiled(source: str, real: Any) -> Any:
    """Compile the kernel of a source, for `numpy.float32` or `numpy.float64`, or load it from disk."""
    digest = hashlib.sha256("\n".join([source, real.__name__, versions()]).encode()).hexdigest()[:32]
    try:
        path = _written(folder() / f"kernel_{digest}.py", source)
        return _load(source, path, real)
    except Exception as error:  # a full disk or a damaged file must not stop a run
        _tell(error)
        return _load(source, None, real)


def _tell(error: Exception) -> None:
    """Log why a kernel is not kept: a warning, once, where others could put code into the folder."""
    if isinstance(error, NotPrivate):
        _warn(str(error))
    else:
        LOG.debug("a kernel is not kept: %s", error)


@lru_cache(maxsize=512)
def _warn(message: str) -> None:
    LOG.warning("kernels are compiled anew in every process: %s", message)


def _written(path: Path, source: str) -> Path:
    """Write a source to a file atomically, unless it is there already; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    require_private(path.parent, [path])
    if not (path.is_file() and path.read_text() == source):
        files.write_atomically(path, source)
    return path


def _load(source: str, path: Path | None, real: Any) -> Any:
    """Compile a source, or load the machine code that numba keeps beside the file.

    Numba looks up the module of a function by its name, so the module has to be in `sys.modules`.
    """
    from numba import njit

    from sandbox.kernels.device.elementary import functions

    module = _executed(source, path, functions(real, fused()))
    found = njit(nogil=True, error_model="numpy", cache=path is not None)(module.kernel)
    if path is not None:
        kept = Path(found._cache.cache_path)  # __pycache__ beside the file, or NUMBA_CACHE_DIR
        require_private(path.parent if kept.parent == path.parent else kept, [kept, *kept.glob(f"{path.stem}.*")])
    found.compile(SIGNATURE)
    found.disable_compile()
    return found


def _executed(source: str, path: Path | None, names: Mapping[str, Any]) -> ModuleType:
    """Execute a source as a module that contains these names."""
    module = ModuleType(f"sandbox_kernel_{path.stem}" if path else "sandbox_kernel")
    module.__dict__.update(names)
    if path:
        sys.modules[module.__name__] = module
    exec(compile(source, str(path) if path else "<kernel>", "exec"), module.__dict__)
    return module
