"""Sections of README.md: each benchmark replaces its own and leaves the others; trend.csv keeps ratios by revision."""

from __future__ import annotations

import csv
import platform
import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from sandbox.machine.revision import revision

FILE = Path(__file__).with_name("README.md")
TREND = FILE.with_name("trend.csv")
COLUMNS = ["date", "revision", "section", "row", "column", "value"]
NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
HEAD = "# Benchmarks\n\nWritten by `make bench` (`python benchmarks/run.py`); one thread on every side.\n"


def put(title: str, text: str, first: bool = False) -> None:
    """Write a section, in place of the one with the same title if there is one, and print it; `first` is the head."""
    sections = sections_now()
    sections = {title: text, **{name: each for name, each in sections.items() if name != title}} if first else sections
    sections[title] = text.strip() + "\n\n"
    body = "\n".join(f"## {name}\n\n{content.strip()}\n" for name, content in sections.items())
    FILE.write_text(f"{HEAD}\n{body}")
    follow(title, text)
    print(f"## {title}\n\n{text}")


def sections_now() -> dict[str, str]:
    """Return the text of each section."""
    return dict(re.findall(r"^## (.+)\n\n((?:(?!^## ).*\n)*)", FILE.read_text(), re.MULTILINE))


def rows(title: str) -> list[dict[str, str]]:
    """Return the rows of the tables of a section, each by its columns; none where there is no such section."""
    found: list[dict[str, str]] = []
    head: list[str] = []
    for line in sections_now().get(title, "").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if head and cells and set(cells) != {"---"}:
            found.append(dict(zip(head, cells, strict=True)))
        head = (head or cells) if cells else []
    return found


def follow(title: str, text: str) -> None:
    """Add the ratios of a section to trend.csv; those of this revision are replaced."""
    before = list(csv.reader(TREND.read_text().splitlines()))[1:] if TREND.exists() else []
    now = revision()
    kept = [line for line in before if line[1:3] != [now, title]]
    found = [[date.today().isoformat(), now, title, *each] for each in ratios(text)]
    with open(TREND, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept, *found])


def ratios(text: str) -> list[tuple[str, str, str]]:
    """Return the row, the column and the value of every ratio in the tables of a section."""
    found: list[tuple[str, str, str]] = []
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if not head or not cells:
            head = cells
        for name, cell in zip(head, cells, strict=False):
            number = NUMBER.match(cell)
            if cells is not head and number and any(word in name for word in ("ratio", " / ", "over ", "faster")):
                found.append((cells[0], name, number[0]))
    return found


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
