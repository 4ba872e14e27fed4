"""How confident we can be in a few seeds: intervals, paired tests, effect sizes, profiles, seeds needed.

Imports none of the other packages.
"""

from sandbox.statistics.blocks import block_means
from sandbox.statistics.intervals import FEWEST, Interval, bootstrap, interquartile_mean, interval
from sandbox.statistics.pairs import LEVEL, Paired, effect_size, holm, paired, seeds_needed
from sandbox.statistics.profiles import area, profile
from sandbox.statistics.ranks import signed_ranks
from sandbox.statistics.verdicts import FEW, Verdict, enough, every_pair, verdicts

__all__ = [
    "FEW",
    "FEWEST",
    "LEVEL",
    "Interval",
    "Paired",
    "Verdict",
    "area",
    "block_means",
    "bootstrap",
    "effect_size",
    "enough",
    "every_pair",
    "holm",
    "interquartile_mean",
    "interval",
    "paired",
    "profile",
    "seeds_needed",
    "signed_ranks",
    "verdicts",
]
