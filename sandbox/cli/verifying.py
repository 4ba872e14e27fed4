"""The subcommand that says what of a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.cli.options import FOUND_WRONG, OK
from sandbox.cli.printing import say
from sandbox.comparisons.verify import Findings
from sandbox.comparisons.verify import verify as verified
from sandbox.runs.verify import FAILS


def verify(given: Any) -> int:
    """Print a line for each thing that holds or does not."""
    found = verified(Path(given.folder), given.data_dir)
    wrong = sum(finding.state == FAILS for findings in found.values() for finding in findings)
    facts = {name: [finding._asdict() for finding in findings] for name, findings in found.items()}
    say(given, {"holds": wrong == 0, "folders": facts}, text_of(found, wrong))
    return FOUND_WRONG if wrong else OK


def text_of(found: Findings, wrong: int) -> str:
    """Return the findings as text, folder by folder, and a sentence at the end."""
    lines = []
    for name, findings in found.items():
        lines.append(name)
        lines += [f"  {finding.state:<5}  {finding.what}: {finding.why}" for finding in findings]
    count = "1 thing does not hold" if wrong == 1 else f"{wrong} things do not hold"
    return "\n".join([*lines, "all that can be checked holds" if wrong == 0 else count])
