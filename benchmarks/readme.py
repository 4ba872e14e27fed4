"""Sections of README.md: each benchmark replaces its own and leaves the others."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

FILE = Path(__file__).with_name("README.md")
HEAD = "# Benchmarks\n\nWritten by `make bench` (`python benchmarks/run.py`); one thread on every side.\n"


def put(title: str, text: str) -> None:
    """Write a section, in place of the one with the same title if there is one, and print it."""
    sections = dict(re.findall(r"^## (.+)\n\n((?:(?!^## ).*\n)*)", FILE.read_text(), re.MULTILINE))
    sections[title] = text.strip() + "\n\n"
    body = "\n".join(f"## {name}\n\n{content.strip()}\n" for name, content in sections.items())
    FILE.write_text(f"{HEAD}\n{body}")
    print(f"## {title}\n\n{text}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def machine(*packages: str) -> str:
    """Describe the machine and the versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{platform.system()} {platform.machine()}, {processor()}, {versions}, Python {platform.python_version()}."


def processor() -> str:
    """Return the name of the processor, if the system provides it."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return names[0] if names else "unknown processor"
