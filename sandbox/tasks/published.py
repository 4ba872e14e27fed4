"""Whether a set has as many recordings as published."""

from __future__ import annotations

import warnings
from pathlib import Path

import yaml

from sandbox.tasks.files import card_folder


def require_count(name: str, part: str, found: int, path: Path) -> None:
    """Warn of another number of recordings than the card of a set has: accuracies are then not those of the set."""
    card = yaml.safe_load((card_folder(name) / "card.yaml").read_text())
    published = card["recordings"][part]
    if found not in published:
        warnings.warn(
            f"{path} has {found} recordings for {part}, and {card['name']} has {published[0]}: accuracies are not "
            "those of the set",
            stacklevel=2,
        )
