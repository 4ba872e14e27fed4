"""Losses, scores and gradients of half precision beside the same in float64, over hundreds of steps."""

from __future__ import annotations

import pytest
import torch

from rules.contract import Batch, Run, Trace
from rules.objectives import OBJECTIVES, REGULARISERS, Sum
from rules.objectives.fitted import Fitted
from rules.objectives.output_error import BinaryCrossEntropy
from rules.objectives.readout import CountError, SumCrossEntropy
from rules.objectives.spike_timing import first_spike

HALF = [torch.bfloat16, torch.float16]
STEPS, SAMPLES, CLASSES = 600, 4, 3
EVERY = {name: kind for name, kind in {**OBJECTIVES, **REGULARISERS}.items() if kind.teaches}


def case(dtype, objective):
    """Bits of 600 steps, of which every dtype holds the same, and a batch that fits the objective."""
    rng = torch.Generator().manual_seed(0)
    spikes = torch.rand(STEPS, SAMPLES, CLASSES, generator=rng) < torch.tensor([0.9, 0.4, 0.02])
    output = spikes.to(dtype)
    if isinstance(objective, BinaryCrossEntropy):
        output = output / 2 + 0.25  # probabilities, whose logarithms have finite slopes
    output.requires_grad_()
    traces = tuple(Trace(f"{n}.weight", output, output, output) for n in range(2))
    y = torch.tensor([0, 1, 0, 1])
    if isinstance(objective, Fitted):
        y = torch.rand(SAMPLES, CLASSES, generator=rng).bfloat16().float()
    return Run(output, traces=traces), Batch(output, y)


def made(name):
    options = {"head": "none"} if name == "temporal_contrast" else {}
    return EVERY[name](**options)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", [name for name in EVERY if name != "siamese_temporal_contrast"])
def test_every_loss_of_half_precision_is_that_of_float64(name, dtype):
    """The inputs are equal in every dtype, so only the reduction may differ: by float32's rounding of 600 steps."""
    found = {}
    for kind in (dtype, torch.float64):
        objective = made(name)
        run, batch = case(kind, objective)
        loss = objective(run, batch)
        (gradient,) = torch.autograd.grad(loss, run.output)
        found[kind] = loss.detach(), objective.scores(run).detach(), gradient
    (loss, scores, gradient), (true, evidence, slope) = found[dtype], found[torch.float64]
    assert (loss.dtype, scores.dtype, gradient.dtype) == (torch.float32, torch.float32, dtype)
    assert float(loss) == pytest.approx(float(true), rel=1e-4)
    torch.testing.assert_close(scores.double(), evidence, rtol=1e-5, atol=1e-5)
    # the gradient itself is rounded to the dtype: 8 bits in bfloat16, 11 in float16, and 6e-8 at least
    torch.testing.assert_close(gradient.double(), slope, rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("dtype", HALF)
def test_counts_of_400_and_401_do_not_tie(dtype):
    spikes = torch.ones(401, 1, 2, dtype=dtype)
    spikes[400, 0, 0] = 0
    assert SumCrossEntropy().scores(Run(spikes)).tolist() == [[400.0, 401.0]]
    assert SumCrossEntropy().scores(Run(spikes)).argmax(1).tolist() == [1]


@pytest.mark.parametrize("dtype", HALF)
def test_first_spikes_keep_their_steps(dtype):
    at = torch.tensor([0, 256, 257, 299, 300, 399])
    spikes = (torch.arange(400)[:, None] == at).to(dtype)[:, None].requires_grad_()
    first = first_spike(spikes)
    assert (first.dtype, first[0].tolist()) == (torch.float32, [float(t) for t in at])
    first.sum().backward()
    assert torch.equal(spikes.grad, -spikes.detach())


def test_targets_of_counts_are_those_of_whole_numbers():
    """floor(100 * 0.29) of floats is 28: 0.29 spikes a step for 100 steps are 29."""
    spikes = torch.zeros(100, 1, 2)
    spikes[:29, 0, 0] = 1
    batch = Batch(spikes, torch.tensor([0]))
    assert float(CountError(on=0.29)(Run(spikes), batch)) == 0.0


def test_a_sum_of_terms_is_wide():
    run, batch = case(torch.bfloat16, SumCrossEntropy())
    assert Sum((SumCrossEntropy(), REGULARISERS["rate_l1"]()))(run, batch).dtype == torch.float32


def test_van_rossum_is_not_rounded_by_autocast():
    run, batch = case(torch.float32, None)
    plain = EVERY["van_rossum"]()(run, batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(EVERY["van_rossum"]()(run, batch).detach()) == float(plain.detach())
