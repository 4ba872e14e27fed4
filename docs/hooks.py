"""A hook of MkDocs: adds the pages of gallery/, rules/ and neurons/ to the navigation, in the order of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
FOLDERS = {"gallery.md": "gallery/*.ipynb", "rules/index.md": "rules/*.md", "neurons.md": "neurons/*.md"}


def on_config(config: Any) -> Any:
    """Fill the sections of the navigation that begin with a page of `FOLDERS`."""
    fill(config.nav)
    return config


def fill(entries: list[Any]) -> None:
    """Walk the navigation and append the pages of a folder behind its overview."""
    for entry in entries:
        for below in entry.values() if isinstance(entry, dict) else ():
            if isinstance(below, list):
                fill(below)
                if isinstance(below[0], str) and below[0] in FOLDERS:
                    below += pages(below[0])


def pages(overview: str) -> list[dict[str, str]]:
    """Return the pages that an overview stands for, each under a readable name."""
    found = sorted(path.relative_to(DOCS) for path in DOCS.glob(FOLDERS[overview]))
    return [{title(path): path.as_posix()} for path in found if path.as_posix() != overview]


def title(path: Path) -> str:
    """Return what a page is called in the navigation: notebooks without their number, members by their name.

    >>> title(Path("gallery/03_plug_in.ipynb")), title(Path("rules/node_perturbation.md"))
    ('Plug in', 'node_perturbation')
    """
    if path.suffix == ".ipynb":
        return path.stem.split("_", 1)[1].replace("_", " ").replace("brian2", "Brian2").capitalize()
    return path.stem
