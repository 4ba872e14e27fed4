"""Recordings of event cameras: readers of their file formats, and frames counted from events. Imports NumPy.

`Events` are what every reader returns; `read` finds the reader by the suffix of a file. Readers of formats that another
library decodes import it when they are called.
"""

from sandbox.cameras.events import Events, events_of
from sandbox.cameras.frames import by_number, by_time, in_windows
from sandbox.cameras.reading import SUFFIXES, read

__all__ = ["SUFFIXES", "Events", "by_number", "by_time", "events_of", "in_windows", "read"]
