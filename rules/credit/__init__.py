"""Credit assignment: each rule looks at a model and returns what should change. One file per rule.

Imports the contract, spikes, diagnostics and metering. A rule uses another only through the contract's `Holding`.
"""

from rules.lazy import face

__getattr__, __dir__ = face(__name__, {})  # `rules.credit.bptt` without an import of its own
