"""A team of one, and what a team compares."""

from __future__ import annotations

import pytest
import torch

from rules.processes import in_team
from rules.team import ALONE, PeerFailed, Team, digest


def test_alone_nothing_is_exchanged():
    with ALONE.together(), ALONE.alone():
        assert not in_team()
    ALONE.require_same({"seed": "1"})
    assert ALONE.hear(b"word") == b"word"
    assert ALONE.first


def test_alone_an_error_is_raised_as_it_is():
    with pytest.raises(KeyError, match="gone"), ALONE.together():
        raise KeyError("gone")


def test_a_team_needs_processes():
    with pytest.raises(ValueError, match="init_process_group"):
        Team()


def test_an_error_of_a_known_one_is_known():
    team = type(ALONE)()
    cause, other = PeerFailed("lost"), ValueError("other")
    team._told = cause
    wrapped = RuntimeError("stopped")
    wrapped.__cause__ = cause
    assert team.knows(wrapped)
    assert not team.knows(other)


def test_a_digest_sees_every_bit():
    tree = {"a": [torch.zeros(2, dtype=torch.float64), 1], "b": "x"}
    assert digest(tree) == digest({"a": [torch.zeros(2, dtype=torch.float64), 1], "b": "x"})
    least = torch.tensor([0.0, 5e-324], dtype=torch.float64)
    for other in ({**tree, "a": [least, 1]}, {**tree, "b": "y"}, {**tree, "a": [torch.zeros(2), 1]}):
        assert digest(tree) != digest(other)
