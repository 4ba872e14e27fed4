"""A short fuzz of configurations; the long one is in tests/slow."""

from __future__ import annotations

import pytest

from tests.sandbox.config.fuzz import checked, configurations, watched
from tests.sandbox.config.hostile import examples


def test_the_examples_are_valid():
    from sandbox.config.reading import from_dict

    for kind, content in examples():
        assert watched(lambda k=kind, c=content: checked(from_dict(k, c)), kind)


def test_mutated_configurations_are_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    accepted = configurations(200, seed=1, folder=tmp_path)
    assert 0 < accepted < 100  # most mutations break something, and some do not matter


def test_the_canary_sings():
    import os

    with pytest.raises(AssertionError, match="os.system"):
        watched(lambda: os.system("true"), "a command")
    with pytest.raises(ZeroDivisionError):
        watched(lambda: 1 / 0, "no words")
