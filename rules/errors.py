"""Messages that carry what is needed to mend the mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, legal: Iterable[str]) -> ValueError:
    """An error that lists the legal names and the nearest.

    >>> print(unknown("rule", "bpt", ["bptt", "readout_only"]))
    unknown rule 'bpt'; nearest: 'bptt'; legal: bptt, readout_only
    """
    names = list(legal)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f"nearest: {near[0]!r}; " if near else ""
    return ValueError(f"unknown {kind} {name!r}; {hint}legal: {', '.join(names)}")
