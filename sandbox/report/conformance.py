"""One HTML page for all validated neurons, in a single file that works offline."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from sandbox.machine.files import write_atomically
from sandbox.reference.conformance.figures import png
from sandbox.reference.conformance.report import ConformanceReport, short
from sandbox.report.templating import environment, inline

LIBRARIES = ("brian2", "torch", "scipy", "numpy")


def write_page(reports: Mapping[str, ConformanceReport], path: Path) -> Path:
    """Write the tables and figures of all reports, given by name, to an HTML file; return its path."""
    agree = sum(report.passed for report in reports.values())
    tiers = tuple(dict.fromkeys(tier for report in reports.values() for tier in report.tiers))
    pages = environment()
    pages.filters.update(short=short, passes=_passes, largest=_largest)
    html = pages.get_template("conformance.html").render(
        title=f"{agree} of {len(reports)} neurons agree with Brian2 and SciPy",
        tiers=f"Tiers: {', '.join(tiers)}",
        tier_names=tiers,
        reports=reports,
        figures={name: inline(png(report.plot())) for name, report in reports.items()},
        versions=", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, html)
    return path


def _passes(report: ConformanceReport, tier: str) -> str:
    """Count the checks of a tier that passed, among those that apply."""
    checks = [check for check in report.checks if check.tier == tier and check.passed is not None]
    return f"{sum(bool(check.passed) for check in checks)} of {len(checks)}"


def _largest(report: ConformanceReport) -> str:
    """Return the largest difference from Brian2 under the same scheme; a dash where nothing was compared."""
    values = [
        c.value
        for c in report.checks
        if c.tier in ("same_scheme", "step") and c.name.partition(",")[0] in report.differences and c.value is not None
    ]
    return f"{max(values):.1e}" if values else "-"
