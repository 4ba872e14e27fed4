"""Many neurons, each validated in a process of its own turn."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from sandbox.config import Choice
from sandbox.reference.conformance.report import ConformanceReport
from sandbox.reference.conformance.validate import validate


def validate_all(choices: Mapping[str, Choice], jobs: int = 2, **settings: Any) -> dict[str, ConformanceReport]:
    """The report of each neuron, by name; `settings` are those of `validate`, and `jobs` the number of processes."""
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: give a whole number, at least 1")
    if jobs == 1 or len(choices) == 1:
        return {name: validate(choice.make("neuron"), **settings) for name, choice in choices.items()}
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        last_first = reversed([*choices.items()])  # the last of the library take longest
        waiting = {name: pool.submit(_report, choice, settings) for name, choice in last_first}
        return {name: waiting[name].result() for name in choices}


def _report(choice: Choice, settings: dict[str, Any]) -> ConformanceReport:
    return validate(choice.make("neuron"), **settings)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
