"""Run the tests of killed processes with twenty kills each, and write what they came to into results/kills.json.

python experiments/kills.py                               # or `make evidence-kills`; CI has six kills of each
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from provenance import origin

from sandbox.machine.files import write_json

KILLS = 20
ROOT = Path(__file__).parent.parent
TESTS = ("test_kill.py", "test_ray.py::test_kills_of_workers", "test_slurm.py::test_kills_of_workers")


class Watch:
    """A plugin that keeps the outcome and the seconds of each test."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, object]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.found[report.nodeid] = {"outcome": report.outcome, "seconds": round(report.duration, 1)}


def main() -> int:
    os.environ["KILLS"] = str(KILLS)
    os.chdir(ROOT)
    watch = Watch()
    code = pytest.main(["-m", "slow", *(f"tests/slow/{name}" for name in TESTS)], plugins=[watch])
    made = {
        **origin("make evidence-kills"),
        "kills of each": KILLS,
        "tests": watch.found,
    }
    write_json(ROOT / "experiments" / "results" / "kills.json", made)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
