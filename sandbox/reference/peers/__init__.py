"""Cells of snnTorch, SpikingJelly, Norse and Sinabs as steps, and the equations that they are.

Imports `neurons` and `rules.models`; a library itself only where its examples are made.
"""

from sandbox.reference.peers.known import KNOWN, as_step, equation_of, known, name_of

__all__ = ["KNOWN", "as_step", "equation_of", "known", "name_of"]
