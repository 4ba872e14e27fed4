"""How confident we can be in a few seeds: intervals, paired tests, effect sizes, profiles, seeds needed.

Imports none of the other packages.
"""

from sandbox.statistics.intervals import FEWEST, Interval, bootstrap, interquartile_mean, interval
from sandbox.statistics.pairs import Paired, Verdict, effect_size, every_pair, holm, paired, seeds_needed, verdicts
from sandbox.statistics.profiles import area, profile

__all__ = [
    "FEWEST",
    "Interval",
    "Paired",
    "Verdict",
    "area",
    "bootstrap",
    "effect_size",
    "every_pair",
    "holm",
    "interquartile_mean",
    "interval",
    "paired",
    "profile",
    "seeds_needed",
    "verdicts",
]
