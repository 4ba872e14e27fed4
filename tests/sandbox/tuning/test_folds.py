"""Searches validate on samples of their own: disjoint as far as there are enough, in the proportions of the classes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from rules.seeds import seeded
from sandbox.tasks import FSDD, Digits, StoreRecall
from sandbox.tasks.dataset import Dataset
from sandbox.tasks.splits import LazySplit, Split
from sandbox.tuning.folds import Dealt, foldable, folded


def numbered(train, validation, classes=2, **more):
    """A data set whose samples are their own numbers, those of validation after those of training."""
    x = torch.arange(float(train + validation))[:, None]
    y = torch.randint(classes, (train + validation,), generator=seeded(train, "classes"))
    parts = [Split(x[rows], y[rows]) for rows in (slice(train), slice(train, None), slice(0))]
    return Dataset(*parts, classes=classes, **more)


def numbers(samples):
    x, _ = samples.take(torch.arange(len(samples)), torch.Generator())
    return x.flatten().tolist()


sizes = st.tuples(st.integers(1, 60), st.integers(1, 20))


@given(sizes, st.integers(0, 200))
@settings(deadline=None, max_examples=50)
def test_samples_are_kept_and_sets_keep_their_sizes(size, search):
    data = numbered(*size)
    found = folded(data, search)
    assert (len(found.train), len(found.validation)) == size
    assert sorted(numbers(found.train) + numbers(found.validation)) == list(range(sum(size)))
    assert found.test is data.test
    for split in (found.train, found.validation):
        labels = torch.cat([data.train.y, data.validation.y])
        assert split.y.tolist() == [int(labels[int(number)]) for number in numbers(split)]
    assert numbers(folded(data, search).validation) == numbers(found.validation)


@given(sizes, st.integers(0, 2))
@settings(deadline=None, max_examples=50)
def test_validation_sets_are_disjoint_until_all_samples_were_in_one(size, deal):
    data, many = numbered(*size), sum(size) // size[1]
    seen = [number for k in range(many) for number in numbers(folded(data, deal * many + k).validation)]
    assert len(set(seen)) == len(seen) == many * size[1]


@given(sizes, st.integers(2, 4), st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_validation_sets_have_the_proportions_of_the_classes(size, classes, search):
    """A stretch holds the share of each class to within one; that of its own length adds as much of the class."""
    data = numbered(*size, classes)
    validation = folded(data, search).validation.y
    first = search < sum(size) // size[1]  # of the first deal, taken from the training samples
    source = data.train.y if first else torch.cat([data.train.y, data.validation.y])
    for label in range(classes):
        share = float((source == label).float().mean())
        assert abs(int((validation == label).sum()) - share * size[1]) < 1 + share * classes


def test_the_first_search_has_the_sets_of_the_task():
    data = Digits().load()
    assert folded(data, 0) is data


def test_another_deal_has_other_sets():
    data = numbered(40, 20)
    sets = [tuple(sorted(numbers(folded(data, search).validation))) for search in range(9)]
    assert len(set(sets)) == 9


def test_trials_that_are_generated_keep_their_streams():
    task = StoreRecall(train=12, validation=4, test=4)
    data = task.load()
    whole = torch.cat(
        [part.take(torch.arange(len(part)), torch.Generator())[0] for part in (data.validation, data.train)]
    )
    found = folded(data, 2)
    x, y = found.validation.take(torch.tensor([3, 0]), torch.Generator())
    assert x.shape[0] == y.shape[0] == 2
    assert found.validation.by_step == data.validation.by_step
    assert all(any(torch.equal(one, other) for other in whole) for one in x)
    assert (len(found.train), len(found.validation)) == (12, 4)


def test_sets_that_are_read_when_needed_are_dealt_by_numbers():
    data = numbered(30, 10)
    lazy = data._replace(
        train=LazySplit(TensorDataset(*data.train)), validation=LazySplit(TensorDataset(*data.validation))
    )
    found = folded(lazy, 1)
    assert not isinstance(found.train, Split)
    assert sorted(numbers(found.train) + numbers(found.validation)) == list(range(40))
    assert set(numbers(found.validation)).isdisjoint(numbers(data.validation))
    rows = torch.tensor([5, 0, 7])
    x, y = found.train.take(rows, torch.Generator())
    assert y.tolist() == [int(torch.cat([data.train.y, data.validation.y])[int(at)]) for at in x.flatten()]


def test_samples_come_in_the_order_that_is_asked_for():
    """Also from both sets at once, as after the disjoint validation sets are used up."""
    mixed = Dealt(folded(numbered(30, 10), 0)[:2], torch.tensor([35, 2, 30, 17, 39, 0]))
    rows = torch.tensor([4, 0, 5, 2, 1, 3])
    x, _ = mixed.take(rows, torch.Generator())
    assert x.flatten().tolist() == [39.0, 35.0, 0.0, 30.0, 2.0, 17.0]


def sequences(count, steps, lengths=None, labels=None):
    return Split(torch.rand(count, steps, 2), torch.zeros(count, steps).long(), lengths, by_step=True, labels=labels)


def test_lengths_and_labels_go_with_their_samples():
    labels = [torch.arange(12) % 3, torch.arange(6) % 3]
    train = sequences(12, 5, torch.arange(12) % 5 + 1, labels[0])
    data = Dataset(train, sequences(6, 5, None, labels[1]), train.first(0), classes=3, sequence=True)
    found = folded(data, 1)
    counted = torch.cat([found.train.lengths, found.validation.lengths])
    assert sorted(counted.tolist()) == sorted([*train.lengths.tolist(), *[5] * 6])
    assert found.validation.labels.bincount().tolist() == [2, 2, 2]
    place = [torch.equal(one, found.validation.x[0]) for one in train.x].index(True)
    assert found.validation.lengths[0] == train.lengths[place]


def test_voices_that_are_held_out_stay_so():
    assert foldable(FSDD())
    assert not foldable(FSDD(split="speakers"))
    assert foldable(object())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: folded(numbered(4, 2), -1), "search=-1: give the number of a search, from 0"),
        (
            lambda: folded(Dataset(sequences(4, 5), sequences(4, 6), sequences(1, 5), 2, sequence=True), 1),
            r"shape \[5, 2\] and validation samples of shape \[6, 2\] cannot be dealt anew: pad the shorter",
        ),
    ],
)
def test_what_cannot_be_dealt_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
