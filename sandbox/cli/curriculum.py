"""The subcommand that runs a curriculum over time steps, and continuing one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.cli.comparisons import tracked_by
from sandbox.cli.options import OK
from sandbox.cli.printing import Bar, begin, percent, say
from sandbox.config.curriculum import Curriculum
from sandbox.machine.files import read_mapping
from sandbox.machine.text import command
from sandbox.measures import NAMES
from sandbox.runs.curriculum import NAME, broken_stages, load_curriculum, run_curriculum

HEAD = ("stage", "bin", "steps", "validation", "test", "SOPs a sample", "time")


def curriculum(given: Any) -> int:
    """Run the stages of a curriculum, one after the other."""
    made: Curriculum = given.made
    return _run(made, Path(given.out) / made.identity, given)


def carry_on(folder: Path, given: Any) -> int:
    """Continue the curriculum in a folder."""
    return _run(load_curriculum(folder), folder, given)


def show(folder: Path, given: Any) -> int:
    """Print the table of a finished curriculum.

    Raises:
        ValueError: for one that is not finished, or whose stages have other numbers.
    """
    if not (folder / NAME).exists():
        raise ValueError(f"{folder} is not finished, so it has no table: `{command('resume', folder)}` first")
    if wrong := broken_stages(folder):
        raise ValueError(f"{folder} is damaged: {'; '.join(wrong)}")
    found = read_mapping(folder / NAME)
    say(given, found, text_of(found))
    return OK


def _run(made: Curriculum, folder: Path, given: Any) -> int:
    with Bar(given.json) as bar:
        found = run_curriculum(
            made,
            begin(given, folder),
            data_dir=given.data_dir,
            progress=bar,
            trackers=tracked_by(given),
            accept_changes=given.accept_changes,
        )
    say(given, {"folder": str(folder), **found}, f"{text_of(found)}\nfolder: {folder}")
    return OK


def text_of(found: dict[str, Any]) -> str:
    """Return the table of a curriculum: a line for each stage, and how much less the last one needs than the first.

    >>> stage = {"bin": 1, "steps": 40, "validation": 0.5, "test": 0.4, "sops": 1200.0, "seconds": None}
    >>> stages = [{**stage, "measure": "accuracy"}, {**stage, "measure": "accuracy", "steps": 20, "sops": 600.0}]
    >>> print(text_of({"task": "fsdd", "seed": 0, "stages": stages, "fewer": {"steps": 0.5, "sops": 0.5}}))
    fsdd, seed 0: accuracy of each stage
    stage  bin  steps  validation  test     SOPs a sample  time
    1      1    40     50.00 %     40.00 %  1,200          -
    2      1    20     50.00 %     40.00 %  600            -
    the last stage has 50.0 % fewer steps than the first, and 50.0 % fewer SOPs
    """
    rows = [HEAD, *(_cells(number, each) for number, each in enumerate(found["stages"], start=1))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    noun, fewer = NAMES[found["stages"][0]["measure"]], found["fewer"]
    lines.insert(0, f"{found['task']}, seed {found['seed']}: {noun} of each stage")
    if len(found["stages"]) > 1:
        lines.append(
            f"the last stage has {100 * fewer['steps']:.1f} % fewer steps than the first, and "
            f"{100 * fewer['sops']:.1f} % fewer SOPs"
        )
    return "\n".join(lines)


def _cells(number: int, stage: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a stage's line."""
    time = "-" if stage["seconds"] is None else f"{stage['seconds']:.0f} s"
    tested = percent(stage["validation"]), percent(stage["test"])
    return (str(number), str(stage["bin"]), str(stage["steps"]), *tested, f"{stage['sops']:,.0f}", time)
