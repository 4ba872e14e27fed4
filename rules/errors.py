"""Error messages that contain what is needed to correct the mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, valid: Iterable[str]) -> ValueError:
    """Return an error that lists the valid names and the nearest, whatever its case.

    >>> print(unknown("rule", "bpt", ["bptt", "readout_only"]))
    unknown rule 'bpt'; nearest: 'bptt'; valid: bptt, readout_only
    >>> print(unknown("option of executor 'local'", "lease", []))
    unknown option of executor 'local' 'lease'; there are none
    """
    names = list(valid)
    if not names:
        return ValueError(f"unknown {kind} {name!r}; there are none")
    folded = {entry.lower(): entry for entry in reversed(names)}
    near = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.4)
    hint = f"nearest: {folded[near[0]]!r}; " if near else ""
    return ValueError(f"unknown {kind} {name!r}; {hint}valid: {', '.join(names)}")
