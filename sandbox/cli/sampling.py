"""`sandbox sample`: text that the model of a run writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.cli.options import OK
from sandbox.cli.printing import say
from sandbox.runs.sampled import sample_run


def sample(given: Any) -> int:
    """Print the prompt and what the model goes on with, and nothing else."""
    found = sample_run(
        Path(given.folder),
        given.prompt,
        given.length,
        given.temperature,
        given.top_k,
        given.seed,
        given.data_dir,
        given.trust,
    )
    say(given, found.facts(), found.prompt + found.text)
    return OK
