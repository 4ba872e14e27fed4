"""Reports: the table, figures and costs of a folder as one HTML page that works offline.

Imports comparisons, ledger, microscope, reference, runs and statistics.
"""

from sandbox.report.pages import Report, write_report

__all__ = ["Report", "write_report"]
