"""Run many jobs on several processes or machines. Imports only machine: a job brings the code that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rules.lazy import face

if TYPE_CHECKING:
    from sandbox.executors.base import Executor as Executor
    from sandbox.executors.making import EXECUTORS as EXECUTORS
    from sandbox.executors.making import make as make

HOMES = {
    "EXECUTORS": "sandbox.executors.making",
    "Executor": "sandbox.executors.base",
    "make": "sandbox.executors.making",
}
__getattr__, __dir__ = face(__name__, HOMES)
