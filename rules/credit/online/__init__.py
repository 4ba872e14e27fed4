"""Online credit: traces of the past times learning signals of the present. Imports sites, metering and local."""

from rules.credit.online.online import Online
from rules.credit.online.spatial import Spatial

__all__ = ["Online", "Spatial"]
