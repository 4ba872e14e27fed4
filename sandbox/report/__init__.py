"""The report of a folder: its table, figures and costs as one HTML page that needs no network.

Imports comparisons, ledger, microscope, reference, runs and statistics.
"""

from sandbox.report.pages import Report, write_report

__all__ = ["Report", "write_report"]
