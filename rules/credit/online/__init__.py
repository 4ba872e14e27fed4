"""Online credit: traces of the past times learning signals of the present. Imports models, metering and local."""

from rules.credit.online.online import Online

__all__ = ["Online"]
