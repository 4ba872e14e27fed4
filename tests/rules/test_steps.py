"""Padded sequences give what each sequence gives alone."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from rules.steps import counted, largest, last, length, mean, power_of_two, rows, total, whole, wide_dtype

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


@pytest.mark.parametrize("over_time", [mean, total, largest, last])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", [None, torch.tensor([401, 400])])
def test_half_precision_is_reduced_as_float32_and_learns_in_its_own_dtype(over_time, dtype, lengths):
    spikes = torch.ones(401, 2, 3, dtype=dtype, requires_grad=True)
    found = over_time(spikes, lengths)
    assert found.dtype == wide_dtype(spikes)
    assert torch.equal(found.double(), over_time(spikes.detach().double(), lengths))  # whole numbers and ones: exact
    found.sum().backward()
    assert spikes.grad.dtype == dtype


def test_whole_steps_are_those_of_fractions():
    for hundredths in range(1, 200):
        for steps in (10, 30, 100):
            assert whole(steps * (hundredths / 100)) == Fraction(hundredths, 100) * steps // 1
    assert whole(2.998) == 2


def test_powers_of_two_divide_without_rounding():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.linspace(-37, 37, 1000)
    power = power_of_two(x)
    assert ((x / power).abs() >= 1).all()
    assert ((x / power).abs() < 2).all()
    assert torch.equal(x / power * power, x)
    assert [math.log2(p) % 1 for p in power.tolist()] == [0.0] * 1000


@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_the_length_of_a_vector_follows_its_scale(factor):
    x = torch.randn(50, generator=torch.Generator().manual_seed(0))
    want = float(x.double().norm()) * factor
    assert float(length(x * factor)) == pytest.approx(want, rel=1e-6)  # float32
    assert float(length(torch.zeros(3))) == float(length(torch.zeros(0))) == 0.0
