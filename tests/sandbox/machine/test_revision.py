"""Git is asked once in a process."""

from __future__ import annotations

import subprocess

from sandbox.machine import revision as module
from sandbox.machine.revision import revision


def test_git_is_asked_once(monkeypatch):
    asked = []

    def run(words, **how):
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "abc\n" if "HEAD" in words else " M file\n", "")

    monkeypatch.setattr(module.subprocess, "run", run)
    revision.cache_clear()
    try:
        assert [revision() for _ in range(3)] == ["abc+"] * 3
        assert len(asked) == 2
    finally:
        revision.cache_clear()


def test_outside_of_git(monkeypatch):
    def fail(words, **how):
        raise OSError("no git")

    monkeypatch.setattr(module.subprocess, "run", fail)
    revision.cache_clear()
    try:
        assert revision() == "unknown"
    finally:
        revision.cache_clear()
