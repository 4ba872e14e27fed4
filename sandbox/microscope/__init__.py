"""A credit microscope: compares the credit that a rule gives each weight with a gradient, while it learns.

Imports only rules.
"""

from sandbox.microscope.differences import Differences
from sandbox.microscope.journal import read_rows, write_look
from sandbox.microscope.look import Look, Row
from sandbox.microscope.microscope import Microscope
from sandbox.microscope.references import REFERENCES, Backpropagation, CannotRun, Reference
from sandbox.microscope.smoothed import Smoothed

__all__ = [
    "REFERENCES",
    "Backpropagation",
    "CannotRun",
    "Differences",
    "Look",
    "Microscope",
    "Reference",
    "Row",
    "Smoothed",
    "read_rows",
    "write_look",
]
