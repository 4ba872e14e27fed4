"""Sections of README.md: each benchmark replaces its own and leaves the others; trend.csv keeps ratios by revision."""

from __future__ import annotations

import csv
import platform
import re
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from sandbox.machine.revision import revision

FILE = Path(__file__).with_name("README.md")
TREND = FILE.with_name("trend.csv")
COLUMNS = ["date", "revision", "section", "row", "column", "value"]
NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
TARGET = re.compile(r"(<=|>=|<|>) (\d+(?:\.\d+)?)(?: (s|ms))?(?: of before)?")
MISSED = ", **missed**"
HERE = Path(__file__).parent

if {"-h", "--help"}.intersection(sys.argv[1:]) and Path(sys.argv[0]).parent.resolve() == HERE:
    print(sys.modules["__main__"].__doc__)  # of any benchmark, before it measures and writes
    raise SystemExit
HEAD = "# Benchmarks\n\nWritten by `make bench` (`python benchmarks/run.py`); one thread on every side.\n"


def put(title: str, text: str, first: bool = False) -> None:
    """Write a section, in place of the one with the same title if there is one, and print it; `first` is the head."""
    sections = sections_now()
    sections = {title: text, **{name: each for name, each in sections.items() if name != title}} if first else sections
    sections[title] = marked(text).strip() + "\n\n"
    body = "\n".join(f"## {name}\n\n{content.strip()}\n" for name, content in sections.items())
    FILE.write_text(f"{HEAD}\n{body}")
    follow(title, text)
    print(f"## {title}\n\n{text}")


def sections_now() -> dict[str, str]:
    """Return the text of each section."""
    return dict(re.findall(r"^## (.+)\n\n((?:(?!^## ).*\n)*)", FILE.read_text(), re.MULTILINE))


def rows(title: str) -> list[dict[str, str]]:
    """Return the rows of the tables of a section, each by its columns; none without such a section."""
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


def marked(text: str) -> str:
    """Return a section with a word at every target that its row misses.

    A target with a unit is held against what is called "now" or "ours", any other against the first ratio of its row.
    """
    lines, head = [], list[str]()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if head and len(cells) == len(head) and "target" in head:
            place = head.index("target")
            cells[place] = cells[place].removesuffix(MISSED)
            cells[place] += MISSED if _missed(dict(zip(head, cells, strict=True))) else ""
            line = f"| {' | '.join(cells)} |"
        head = (head or cells) if cells else []
        lines.append(line)
    return "\n".join(lines)


def _missed(row: dict[str, str]) -> bool:
    wanted = TARGET.fullmatch(row["target"])
    judged = [
        cell for name, cell in row.items() if (name in ("now", "ours") if wanted and wanted[3] else is_ratio(name))
    ]
    number = NUMBER.match(judged[0]) if judged else None
    if wanted is None or number is None:
        return False
    found, limit = float(number[0]), float(wanted[2])
    return {"<=": found > limit, ">=": found < limit, "<": found >= limit, ">": found <= limit}[wanted[1]]


def is_ratio(column: str) -> bool:
    """Return whether a column of a table holds ratios, by its name."""
    return any(word in column for word in ("ratio", " / ", "over ", "faster"))


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
            if cells is not head and number and is_ratio(name):
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
