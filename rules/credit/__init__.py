"""Who is responsible: one file a member, each looks at a model and returns what should change.

Imports the contract, spikes, diagnostics and metering; never another credit, but through the contract's `Holding`.
"""
