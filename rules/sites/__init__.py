"""Layers of cells as places where local rules learn: what enters a weight, who may be asked, what a reward is.

Imports models, objectives and metering.
"""

from rules.sites.site import Site, sites

__all__ = ["Site", "sites"]
