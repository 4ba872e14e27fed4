"""Padded sequences give what each sequence gives alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from rules.steps import counted, largest, last, mean, rows, total

LENGTHS = [3, 1, 5]
ALONE = [torch.randn(n, 2, generator=torch.Generator().manual_seed(n)).double() for n in LENGTHS]
PADDED = pad_sequence(ALONE, padding_value=99.0)  # padding that would be seen


@pytest.mark.parametrize("over_time", [mean, total, largest, last])
def test_padding_does_not_count(over_time):
    found = over_time(PADDED, torch.tensor(LENGTHS))
    alone = torch.cat([over_time(sequence[:, None]) for sequence in ALONE])
    torch.testing.assert_close(found, alone, rtol=1e-14, atol=1e-14)  # sums of five float64


def test_rows_are_those_of_all_sequences():
    found = rows(PADDED, torch.tensor(LENGTHS))
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, torch.cat(ALONE).tolist()))


@pytest.mark.parametrize("over_time", [mean, total, largest, last])
def test_a_model_that_answers_once_is_read_once(over_time):
    """A model may return one step for sequences of any length."""
    once = PADDED[:1]
    assert torch.equal(over_time(once, torch.tensor(LENGTHS)), once[0])


def test_counted_by_a_loop():
    wanted = [[t < n for n in LENGTHS] for t in range(5)]
    assert counted(PADDED, torch.tensor(LENGTHS)).tolist() == wanted
