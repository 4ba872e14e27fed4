"""Answers of associative recall and of copying follow from the sequence alone, by solvers that know its rules only."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.objectives.labels import IGNORED
from sandbox.tasks.checked import checked
from sandbox.tasks.copying import Copying
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.key_value_recall import KeyValueRecall
from sandbox.tasks.loader import Loader

FAST = settings(max_examples=50, deadline=None)
FEW = {"train": 6, "validation": 5, "test": 4}


def everything(split):
    return split.take(torch.arange(len(split)), torch.Generator())


@FAST
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10), st.integers(0, 2**31))
def test_a_value_is_what_followed_its_key(pairs, asked, spare, seed):
    """Looking back from a key for the last time that it was there, the token behind it is its value."""
    length, vocabulary = 2 * (pairs + asked), 2 * (pairs + spare + 1)
    x, y = everything(KeyValueRecall(pairs, length, vocabulary, **FEW, seed=seed).load().train)
    assert x.shape == y.shape == (6, length)
    for tokens, targets in zip(x.tolist(), y.tolist(), strict=True):
        for t, target in enumerate(targets):
            before = [s for s in range(t) if tokens[s] == tokens[t]]
            question = t >= 2 * pairs and t % 2 == 0
            assert (target != IGNORED) == question
            if question:
                assert target == tokens[before[-1] + 1] == tokens[t + 1]
        keys, values = tokens[: 2 * pairs : 2], tokens[1 : 2 * pairs : 2]
        assert len(set(keys)) == pairs
        assert max(keys) < vocabulary // 2 <= min(values)
        assert max(values) < vocabulary


@FAST
@given(st.integers(1, 6), st.integers(1, 12), st.integers(2, 6), st.integers(0, 2**31))
def test_what_is_copied_is_what_stood_before_the_blanks(length, gap, symbols, seed):
    task = Copying(length, gap, symbols, **FEW, seed=seed)
    x, y = everything(task.load().train)
    assert x.shape == (6, 2 * length + gap)
    for tokens, targets in zip(x.tolist(), y.tolist(), strict=True):
        go = tokens.index(symbols + 1)
        assert [token for token in tokens if token < symbols] == tokens[:length] == targets[go + 1 :]
        assert set(targets[: go + 1]) == {IGNORED}
        assert tokens.count(symbols) == len(tokens) - length - 1
    assert task.memory == (go + 1) + 1  # from the first symbol to its answer, both counted


@pytest.mark.parametrize("task", [KeyValueRecall(**FEW), Copying(**FEW)])
def test_splits_share_nothing_and_batches_are_tokens(task):
    data = checked(task.load(), "recall")
    found = {tuple(row) for split in data[:3] for row in everything(split)[0].tolist()}
    assert len(found) == 15
    batch = next(iter(Loader(data.train, AsRecorded(), 4)))
    assert batch.x.dtype == torch.int64
    assert batch.x.shape == batch.targets.shape == (data.train.take(torch.arange(1), None)[0].shape[1], 4)
    assert batch.y is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 16}, "length=16 with pairs=8: give an even number of at least 18, pairs and a question"),
        ({"length": 33}, "length=33 with pairs=8: give an even number of at least 18"),
        ({"vocabulary": 14}, "vocabulary=14 with pairs=8: give an even number of at least 16, so that the keys"),
        ({"vocabulary": 63}, "vocabulary=63 with pairs=8: give an even number"),
        ({"pairs": 0}, "pairs=0: give a whole number, at least 1"),
        ({"seed": -1}, "seed=-1: give a whole number from 0"),
    ],
)
def test_options_of_recall_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        KeyValueRecall(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"symbols": 1}, "symbols=1: give at least 2, or there is nothing to remember"),
        ({"gap": 0}, "gap=0: give a whole number, at least 1"),
        ({"length": 0}, "length=0: give a whole number, at least 1"),
    ],
)
def test_options_of_copying_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Copying(**options)
