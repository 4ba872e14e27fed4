"""The only room where Brian2 is imported: run it, and compare."""

from sandbox.reference.conformance import ConformanceReport, noisy_currents, validate

__all__ = ["ConformanceReport", "noisy_currents", "validate"]
