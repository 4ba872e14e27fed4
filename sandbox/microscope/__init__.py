"""A credit microscope: what a rule tells each weight, beside the gradient that it stands for, while it learns.

Imports rules alone.
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
