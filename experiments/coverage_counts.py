"""Write the counts of `coverage json`, read from standard input, to experiments/results/coverage.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from provenance import origin

if __name__ == "__main__":
    report = json.load(sys.stdin)
    total = report["totals"]
    counts = {
        **origin("make evidence-coverage"),
        "rooms": sorted({"/".join(name.split("/")[:2]) for name in report["files"]}),
        "branches": total["num_branches"],
        "branches taken": total["covered_branches"],
        "percent of branches": round(100 * total["covered_branches"] / total["num_branches"], 1),
        "percent of lines and branches": round(total["percent_covered"], 1),
    }
    place = Path(__file__).parent / "results" / "coverage.json"
    place.write_text(json.dumps(counts, indent=1) + "\n")
    print(place.read_text())
