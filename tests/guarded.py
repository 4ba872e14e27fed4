"""A task whose test split may not be looked at, in any process."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.tasks.yinyang import YinYang


class Untouchable:
    """Raises an error for any attribute."""

    def __getattr__(self, name):
        raise AssertionError(f"the test split was asked for {name}")

    def __iter__(self):
        raise AssertionError("the test split was unpacked")

    def __getitem__(self, place):
        raise AssertionError("the test split was indexed")


@dataclass(frozen=True)
class Guarded(YinYang):
    """Yin-Yang whose test split raises."""

    def load(self, data_dir=None):
        return super().load(data_dir)._replace(test=Untouchable())
