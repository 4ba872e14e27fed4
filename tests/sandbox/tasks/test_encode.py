"""Encoders are checked against their closed forms: the rate and spread of the spikes, the step of the first one."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sandbox.config.experiment import Experiment
from sandbox.config.registry import Choice
from sandbox.runs.preparing import prepare
from sandbox.tasks.base import Dataset, Split, split_off
from sandbox.tasks.encode import ENCODERS, AsRecorded, Constant, Latency, Poisson, check_sequence

UNIT = st.floats(0, 1, width=32)
STEPS = st.integers(1, 60)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


TIMED = [name for name, encoder in ENCODERS.items() if getattr(encoder, "timed", True)]


@pytest.mark.parametrize("name", TIMED)
def test_every_encoder_puts_time_first(name):
    time = (9,) if ENCODERS[name].sequence else ()
    out = ENCODERS[name](steps=7)(torch.rand(3, *time, 1, 5, 4, generator=dice()), dice())
    assert (out.shape, out.dtype) == ((7, 3, 1, 5, 4), torch.float32)


def test_constant_repeats_its_input_without_a_copy():
    x = torch.rand(2, 4, generator=dice())
    out = Constant(steps=9)(x, dice())
    assert torch.equal(out, torch.stack([x] * 9))
    assert (out.data_ptr(), out.stride(0)) == (x.data_ptr(), 0)


def test_constant_applies_its_gain_and_takes_any_number():
    x = torch.tensor([[-3.0, 0.5]])
    assert torch.equal(Constant(steps=2, gain=2.0)(x, dice()), torch.tensor([[[-6.0, 1.0]]] * 2))


@pytest.mark.parametrize(("x", "rate", "dt"), [(1.0, 200.0, 1.0), (0.3, 500.0, 0.5), (0.9, 1000.0, 1.0)])
def test_poisson_has_the_mean_and_variance_of_a_bernoulli_sum(x, rate, dt):
    steps, width = 2000, 100
    p = x * rate * dt / 1000
    spikes = Poisson(steps=steps, max_rate=rate, dt=dt)(torch.full((1, width), x), dice())
    counts = spikes.double().sum((1, 2))  # [steps], each binomial(width, p)
    variance = width * p * (1 - p)
    fourth = variance * (1 + 3 * (width - 2) * p * (1 - p))  # central moment of the binomial
    spread = math.sqrt((fourth - variance**2) / steps)  # standard error of the sample variance, to order 1/steps
    # five standard errors: a right sampler fails for one seed in two million, and this seed is fixed
    assert abs(counts.mean() - width * p) < 5 * math.sqrt(variance / steps)
    assert abs(counts.var() - variance) < 5 * spread


def test_poisson_steps_are_independent():
    spikes = Poisson(steps=20_000, max_rate=300.0)(torch.ones(1, 1), dice()).flatten().double()
    centred = spikes - spikes.mean()
    correlation = (centred[1:] * centred[:-1]).mean() / centred.square().mean()
    # five standard errors of a sample autocorrelation of white noise, 1 / sqrt(n)
    assert abs(correlation) < 5 / math.sqrt(20_000)


def test_poisson_at_the_ends_is_certain():
    spikes = Poisson(steps=50, max_rate=1000.0)(torch.tensor([[0.0, 1.0]]), dice())
    assert torch.equal(spikes[:, 0], torch.tensor([[0.0, 1.0]] * 50))


def test_poisson_draws_from_the_dice_it_is_handed():
    encoder, x = Poisson(steps=50), torch.full((2, 3), 0.5)
    assert torch.equal(encoder(x, dice(1)), encoder(x, dice(1)))
    assert not torch.equal(encoder(x, dice(1)), encoder(x, dice(2)))


def test_poisson_without_dice_is_refused():
    with pytest.raises(ValueError, match="Poisson draws random numbers: pass it a torch.Generator"):
        Poisson()(torch.zeros(1, 1))


@pytest.mark.parametrize(("rate", "dt", "p"), [(1001.0, 1.0, "1.001"), (600.0, 2.0, "1.2"), (0.0, 1.0, "0")])
def test_a_rate_that_is_no_probability_is_refused(rate, dt, p):
    message = f"max_rate={rate} Hz at dt={dt} ms is a probability of {p} a step"
    with pytest.raises(ValueError, match=re.escape(message)):
        Poisson(max_rate=rate, dt=dt)


@given(x=UNIT, steps=STEPS)
def test_latency_is_one_spike_at_the_step_of_its_formula(x, steps):
    spikes = Latency(steps)(torch.tensor([[x]]), dice()).flatten()
    at = min(math.floor((1 - Fraction(x)) * steps + Fraction(1, 1000)), steps - 1)  # exact
    expected = [float(x > 0 and step == at) for step in range(steps)]
    assert spikes.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", range(2, 101))
def test_latency_of_quantised_inputs_reaches_every_step_in_order(steps, dtype):
    """x = k / steps is meant for step `steps - k`, counted in whole numbers; each step gets one feature."""
    x = torch.tensor([k / steps for k in range(1, steps + 1)], dtype=dtype)
    spikes = Latency(steps)(x[None])[:, 0]
    assert spikes.argmax(0).tolist() == [steps - k for k in range(1, steps + 1)]
    assert torch.equal(spikes.sum(1), torch.ones(steps, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [5, 15, 51, 255])
def test_latency_of_pixels_uses_all_steps(steps, dtype):
    pixels = torch.arange(1, 256)
    spikes = Latency(steps)((pixels.to(dtype) / 255)[None])[:, 0]
    wanted = (255 - pixels) * steps // 255
    assert torch.equal(spikes.argmax(0), wanted)
    assert torch.equal(spikes.sum(1).long(), torch.bincount(wanted, minlength=steps))
    assert torch.equal(spikes.sum(0), torch.ones(255, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("steps", [300, 3000])
def test_latency_is_one_spike_in_half_precision(steps, dtype):
    x = torch.rand(200, generator=dice()).to(dtype)
    x[0], x[1] = 1.0, 0.0
    spikes = Latency(steps)(x[None])[:, 0]
    assert spikes.dtype == dtype
    assert torch.equal(spikes.float().sum(0), (x > 0).float())
    wanted = [min(math.floor((1 - Fraction(v)) * steps + Fraction(1, 1000)), steps - 1) for v in x.tolist() if v]
    assert spikes.float().argmax(0)[x > 0].tolist() == wanted


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_poisson_meets_small_probabilities_in_every_dtype(dtype):
    """Draws of bfloat16 are multiples of 1/256, which a probability of 0.001 would meet four times too often."""
    spikes = Poisson(steps=2000, max_rate=1.0)(torch.ones(1, 200, dtype=dtype), dice())
    # five standard errors of 400,000 draws, and the rounding of the probability itself to 8 bits
    assert abs(float(spikes.double().mean()) - 0.001) < 5 * math.sqrt(0.001 / 400_000) + 0.001 / 256
    assert spikes.dtype == dtype


@given(x=st.lists(UNIT, min_size=2, max_size=8), steps=STEPS)
def test_latency_never_lets_a_larger_input_wait_longer(x, steps):
    row = torch.tensor(sorted(x))
    spikes = Latency(steps)(row[None], dice())[:, 0]  # [steps, inputs]
    first = spikes.argmax(0)[row > 0].tolist()
    assert first == sorted(first, reverse=True)
    assert torch.equal(spikes.sum(0), (row > 0).float())


@pytest.mark.parametrize("value", [1e-9, 1e-30])
def test_latency_gives_the_smallest_input_the_last_step(value):
    assert Latency(4)(torch.tensor([[value]]), dice()).flatten().tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("encoder", [Poisson(), Latency()], ids=["Poisson", "Latency"])
@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan, math.inf])
def test_features_outside_0_to_1_are_refused(encoder, bad):
    message = f"{type(encoder).__name__} wants features between 0 and 1; these run from"
    with pytest.raises(ValueError, match=message):
        encoder(torch.tensor([[0.5, bad]]), dice())


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("steps", [0, -2])
def test_no_time_steps_are_refused(name, steps):
    with pytest.raises(ValueError, match=re.escape(f"steps={steps}: give a whole number of time steps, from 1 to ")):
        ENCODERS[name](steps=steps)


def test_as_recorded_only_puts_time_first():
    x = torch.rand(3, 9, 5, 4, generator=dice())
    out = AsRecorded()(x, dice())
    assert torch.equal(out, torch.stack([x[:, t] for t in range(9)]))
    assert out.data_ptr() == x.data_ptr()
    assert torch.equal(AsRecorded(steps=2)(x), out[:2])
    assert torch.equal(AsRecorded(steps=9)(x), out)


def test_as_recorded_adds_no_steps():
    with pytest.raises(ValueError, match="steps=10: the samples have 9 time steps; give that or fewer"):
        AsRecorded(steps=10)(torch.zeros(3, 9, 4))


def test_as_recorded_wants_time():
    with pytest.raises(ValueError, match=re.escape("AsRecorded wants [batch, time, *features]; given was [3, 4]")):
        AsRecorded()(torch.zeros(3, 4))


def a_set(sequence):
    x, y = torch.rand(40, *((6, 4) if sequence else (4,)), generator=dice()).round(), torch.arange(40) % 3
    return split_off(x, y, [20, 10, 10], classes=3)._replace(sequence=sequence)


def test_the_shape_of_a_set_leaves_time_out():
    split = Split(torch.zeros(2, 6, 3, 4), torch.zeros(2, dtype=torch.int64))
    assert Dataset(split, split, split, 3).shape == (6, 3, 4)
    assert Dataset(split, split, split, 3, sequence=True).shape == (3, 4)


def test_a_set_of_sequences_is_learned_from_as_recorded():
    trainer, train = prepare(Experiment(encoder=Choice("as_recorded")), a_set(sequence=True))
    batch = next(iter(train))
    assert batch.x.shape == (6, 20, 4)
    assert trainer.step(batch).loss > 0


@pytest.mark.parametrize("name", [name for name, encoder in ENCODERS.items() if not encoder.sequence])
def test_sequences_of_sequences_are_refused(name):
    message = f"encoder {ENCODERS[name].__name__} makes sequences of single samples, and those of this task are sequences already: use the encoder as_recorded"
    with pytest.raises(ValueError, match=message):
        prepare(Experiment(encoder=Choice(name)), a_set(sequence=True))


def test_single_samples_as_recorded_are_refused():
    message = "encoder AsRecorded wants samples that are sequences, and those of this task are single: use one of constant, poisson, latency"
    with pytest.raises(ValueError, match=message):
        prepare(Experiment(encoder=Choice("as_recorded")), a_set(sequence=False))


def test_an_encoder_of_ones_own_says_what_it_wants():
    def mine(x, generator):
        return x.transpose(0, 1)

    check_sequence(mine, sequence=False)
    with pytest.raises(ValueError, match="encoder mine makes sequences of single samples"):
        check_sequence(mine, sequence=True)
    mine.sequence = True
    check_sequence(mine, sequence=True)


def test_still_samples_have_no_time():
    x = torch.rand(3, 1, 5, 4, generator=dice())
    assert ENCODERS["still"]()(x, dice()) is x
