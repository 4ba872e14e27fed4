"""Read plain data with tensors that anybody may have written: nothing in it runs, and it outgrows no file."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from sandbox.machine.files import opened


def read_tensors(path: Path) -> Any:
    """Read what `torch.save` wrote of dicts, lists, numbers, words and tensors.

    Raises:
        ValueError: for a file that is not one of `torch.save`, and for one with compressed parts, which it never writes
            and of which a megabyte can stand for a gigabyte; for anything but plain data; and for a pipe or a device.
        Exception: as `torch.load`, for damage.
    """
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                parts = archive.infolist()
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is not a file of torch.save: it is empty, cut off, or something else") from error
        packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
        if packed or sum(part.file_size for part in parts) > path.stat().st_size:
            raise ValueError(f"{path} is refused: it holds compressed parts, which torch.save never writes")
        file.seek(0)
        try:
            return torch.load(file, weights_only=True)
        except pickle.UnpicklingError as error:  # whose own words advise to load it all the same
            raise ValueError(
                f"{path} holds more than plain data and tensors; reading it can run code, so it is not loaded"
            ) from error


def require_stored(path: Path, content: Any) -> None:
    """Raise ValueError for a tensor of more bytes than the file has, such as one number seen a million times."""
    if isinstance(content, torch.Tensor):
        if content.numel() * content.element_size() > path.stat().st_size:
            raise ValueError(f"{path} is refused: a tensor of shape {tuple(content.shape)} does not fit into the file")
    elif isinstance(content, (dict, list, tuple)):
        for part in content.values() if isinstance(content, dict) else content:
            require_stored(path, part)
