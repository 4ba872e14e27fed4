"""Brian2's equation strings as torch neurons: the grammar that text must pass, the tape that runs it.

Imports neurons.
"""
