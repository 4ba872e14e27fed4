"""Models of speech: counts, their neuron, padding, signals, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rules import Batch, Health, Trainer
from rules.models.admission import UnfitModel
from sandbox import make_model, scan
from sandbox.networks.along_time import rotated
from sandbox.networks.dense import Dropped
from sandbox.networks.models import spikcommander, spikescr
from sandbox.networks.models.speech import cell
from sandbox.networks.models.spikcommander import Size as Views
from sandbox.networks.models.spikescr import Size as Steps
from sandbox.networks.population import Population

T, B, C = 11, 3, 6
MODELS = {
    "spikescr": lambda depth=2, **options: spikescr((C,), 4, Steps(depth, 16, 2, 2, 5), **options),
    "spikcommander": lambda depth=2, **options: spikcommander(
        (C,), 4, Views(depth, 16, 2, 2, (5, 3), True, 2, 5), **options
    ),
}
all_models = pytest.mark.parametrize("name", MODELS)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lively(name, seed=0, **options):
    """A model in float64 with gains and offsets by which every population fires, and in evaluation mode."""
    model, rng = MODELS[name](**options).double(), torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.8, 1.8, generator=rng)
            nn.init.uniform_(module.bias, 0.3, 0.9, generator=rng)
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight, -0.2, 0.6, generator=rng)
    model(drawn(T, 32, C, seed=seed))  # running statistics
    return model.eval()


def rates(model, x):
    """The share of spikes of each population."""
    found = {}
    handles = [
        part.register_forward_hook(lambda _, x, out, name=name: found.update({name: float(out[0].detach().mean())}))
        for name, part in model.named_modules()
        if isinstance(part, Population)
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize(
    ("make", "classes", "size", "count"),
    [
        (spikescr, 20, "shd", 261_632),
        (spikescr, 35, "ssc", 3_302_400),
        (spikescr, 35, "ssc-1", 1_709_824),
        (spikcommander, 20, "shd", 190_664),
        (spikcommander, 35, "ssc-1", 1_120_368),
        (spikcommander, 35, "ssc-2", 2_127_328),
        (spikcommander, 35, "gsc-1", 1_120_688),
        (spikcommander, 35, "gsc-2", 2_127_968),
    ],
)
def test_counts_are_those_of_the_authors_code(make, classes, size, count):
    assert sum(p.numel() for p in make((140,), classes, size).parameters()) == count


# --- the neuron ---


@pytest.mark.parametrize(
    ("rest", "current", "times"),
    [
        (0.5, 0.49, [1]),  # 0.5 + 0.49 < 1, and from there 0.745 + 0.49
        (0.5, 0.50, [0, 1, 2]),
        (0.5, 0.30, [2, 5, 8]),  # 0.8, 0.95, 1.025
        (0.5, 0.24, []),  # tends to 0.98
        (0.0, 0.30, []),  # tends to 0.6
        (0.0, 1.00, [0, 1, 2]),
        (0.0, 0.60, [2, 5, 8]),  # 0.6, 0.9, 1.05
    ],
)
def test_the_neuron_fires_when_it_should(rest, current, times):
    """SpikingJelly's LIF with this reset, without decay of its input; run once."""
    found, _ = scan(cell(rest), torch.full((300, 1), current, dtype=torch.float64))
    assert found[:, 0].nonzero()[:, 0].tolist()[: len(times)] == times
    assert (found.sum() == 0) == (not times)
    if current == 0.3 and rest:
        assert found.mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize("rest", [0.0, 0.5])
def test_the_slope_at_a_membrane_does_not_depend_on_the_rest(rest):
    """The atan of the papers, 2.5 / (1 + (2.5 pi (v - 1))^2), at v = rest + current."""
    v = torch.tensor([[0.2, 0.9, 1.0, 1.3]], dtype=torch.float64)
    current = (v - rest).requires_grad_()
    scan(cell(rest), current)[0].sum().backward()
    torch.testing.assert_close(current.grad, 2.5 / (1 + (2.5 * np.pi * (v - 1)) ** 2))


# --- what is true of whole models ---


@all_models
def test_all_populations_fire_in_these_tests(name):
    """Without which the tests below would say little; and none fires always."""
    found = rates(lively(name), drawn(T, 20, C, seed=1))
    assert len(found) > 25
    assert all(0.01 < rate < 0.99 for rate in found.values()), found


@all_models
def test_samples_do_not_depend_on_their_batch(name):
    """To rounding in float64; spikes do not depend on it."""
    model, x = lively(name), drawn(T, B, C, seed=1)
    together = model(x).output
    for b in range(B):
        torch.testing.assert_close(together[:, b : b + 1], model(x[:, b : b + 1]).output, atol=1e-10, rtol=0)


@all_models
def test_no_state_is_left(name):
    model, x = lively(name), drawn(T, B, C, seed=1)
    before = model(x).output
    model(drawn(T, B, C, seed=2)).output.sum().backward()
    assert torch.equal(model(x).output, before)
    assert "carry" not in model.offers


@all_models
def test_padding_changes_nothing_before_the_end_of_a_sequence(name):
    """What stands behind the end is noise here, and without lengths it is seen."""
    model, x, lengths = lively(name), drawn(T, B, C, seed=1), torch.tensor([T, 7, 2])
    padded, seen = model(x, lengths=lengths).output, model(x).output
    for b, end in enumerate(lengths):
        alone = model(x[:end, b : b + 1]).output
        torch.testing.assert_close(padded[:end, b : b + 1], alone, atol=1e-10, rtol=0)
        assert (end == T) == torch.allclose(seen[:end, b : b + 1], alone)


@all_models
def test_weights_learned_at_many_steps_run_at_few(name):
    model, few, x = lively(name).train(), MODELS[name](seed=1).double(), drawn(5, B, C, seed=1)
    before = model.eval()(x).output
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()(drawn(20, B, C)).output.square().mean().backward()
    optimizer.step()
    few.load_state_dict(model.state_dict())
    assert torch.equal(few.eval()(x).output, model.eval()(x).output)
    assert not torch.equal(few(x).output, before)


@all_models
def test_nothing_comes_of_nothing(name):
    model = lively(name)
    for module in model.modules():
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm1d):
            nn.init.zeros_(module.running_mean)
    assert model(drawn(T, B, C)).output.any()
    assert not model(torch.zeros(T, B, C, dtype=torch.float64)).output.any()


@all_models
def test_gradients_reach_all_weights(name):
    model = lively(name).train()
    model(drawn(T, 20, C)).output.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.ndim > 1)


@all_models
def test_signals_are_spikes_and_sums_of_them(name):
    """What enters weights: integers behind residuals, bits elsewhere; the first layers see the input."""
    run = lively(name)(drawn(T, B, C, seed=1), record=True)
    found = {trace.weight: set(trace.pre.unique().tolist()) for trace in run.traces}
    assert len(found) == (26 if name == "spikescr" else 25)
    analogue = [weight for weight, values in found.items() if not all(float(each).is_integer() for each in values)]
    assert analogue == (
        ["parts.0.convolution.weight"]
        if name == "spikescr"
        else [
            "parts.1.convolution.weight",
            *(f"parts.{block}.branch.1.along.weight" for block in (5, 7)),  # behind the weights across heads
        ]
    )
    bits = [weight for weight in found if "convolution" in weight and weight not in analogue]
    bits += [weight for weight in found if ".sources." in weight and (name == "spikcommander" or "parts.3" in weight)]
    assert len(bits) == (8 if name == "spikcommander" else 5)
    assert all(found[weight] == {0.0, 1.0} for weight in bits)


def test_open_gates_hand_on_each_value_at_most_twice():
    """The signal behind the gates is `(local + global) v`, and behind the value's neurons spikes are added."""
    model = lively("spikcommander", dropout=0.0)
    run = model(drawn(T, B, C, seed=1), record=True)
    found = {trace.weight: set(trace.pre.unique().tolist()) for trace in run.traces}
    blocks = [weight for weight in found if ".first." in weight]
    assert len(blocks) == 2
    assert all(found[weight] == {0.0, 1.0, 2.0} for weight in blocks)
    assert all(found[weight.replace("first", "second")] == {0.0, 1.0, 2.0} for weight in blocks)


# --- what is refused ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spikescr((1, 8, 8)), r"shape=\(1, 8, 8\): this model takes sequences of channels \[T, B, C\]"),
        (lambda: spikcommander((1, 8, 8)), r"so give \(C,\), such as \(140,\)"),
        (lambda: spikescr((6,), 4, Steps(1, 18, 6, 1, 5)), "width=18, heads=6: give heads with an even number of chan"),
        (lambda: rotated(torch.zeros(4, 2, 3)), "3 channels of a head: rotated positions turn pairs"),
        (lambda: spikescr((6,), 4, Steps(1, 16, 3, 1, 5)), "width=16, heads=3: give a width that is a multiple"),
        (lambda: spikcommander((6,), 4, Views(1, 16, 5, 1, (5, 1))), "width=16, heads=5: give a width that is a mul"),
        (lambda: spikescr((6,), 4, Steps(1, 16, 2, 1, 4)), "kernel=4: give an odd number of steps"),
        (
            lambda: spikcommander((6,), 4, Views(1, 16, 2, 1, (5, 1), context=6)),
            "kernel=6: give an odd number of steps",
        ),
        (lambda: spikcommander((6,), 4, Views(1, 16, 2, 1, (5, 2))), r"kernel=\(5, 2\), reach=20: give .* odd sizes"),
        (lambda: spikcommander((6,), 4, Views(1, 16, 2, 1, (5, 1), reach=-1)), "reach=-1: give .* of at least 0"),
        (
            lambda: spikcommander((6,), 4, views=("globa",)),
            "unknown view 'globa'; nearest: 'global'; valid: local, glo",
        ),
        (lambda: spikcommander((6,), 4, views=()), r"views=\(\), kernel=\(9, 1\), reach=5: give at least one view"),
        (lambda: spikescr((6,), 4, dropout=1.0), "dropout=1.0: give the share of units that are dropped, from 0 to"),
        (lambda: spikcommander((6,), 4, dropout=-0.1), "dropout=-0.1: give the share of units that are dropped"),
        (lambda: spikescr((6,), 4, "shdd"), "unknown size 'shdd'; nearest: 'shd'; valid: tiny, shd, ssc, ssc-1"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@all_models
def test_the_trainer_takes_sequences_of_many_lengths(name):
    """What stands behind the end has no effect on scores."""
    x, lengths = drawn(T, B, C).float(), torch.tensor([T, 7, 2])
    other = x.clone()
    other[7:, 1], other[2:, 2] = 9.0, -3.0
    model = MODELS[name](depth=1)
    trainer = Trainer(model, "bptt", seed=0, health=Health(every=0))
    trainer.step(Batch(x, torch.arange(B), lengths=lengths))
    found = [trainer.evaluate([Batch(each, torch.arange(B), lengths=lengths)]) for each in (x, other)]
    assert found[0] == found[1]
    assert model.keywords >= {"lengths"}


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: spikescr((C,), 4, neuron={"name": "psn", "options": {"steps": T}}), (C,)),
        (lambda: make_model("svformer"), (1, 8, 8)),
    ],
    ids=["cells that look ahead", "normalisations of each step"],
)
def test_padding_is_refused_where_a_part_would_see_it(make, shape):
    model = make()
    steps = T if shape == (C,) else 4
    batch = Batch(drawn(steps, B, *shape).float(), torch.arange(B), lengths=torch.tensor([steps, 3, 2]))
    assert "lengths" not in model.keywords
    with pytest.raises(UnfitModel, match="the batch has lengths, and Stack would see what stands behind the end of a"):
        Trainer(model, "bptt", seed=0).step(batch)


@pytest.mark.parametrize(("name", "count"), [("spikescr", 1 + 2 * 9 + 1), ("spikcommander", 2 + 2 * 8 + 1)])
def test_units_are_dropped_where_the_authors_drop_them(name, count):
    """As many layers of dropout as in their models of two blocks; those take no part in evaluation."""
    model, x = lively(name), drawn(T, B, C)
    assert sum(isinstance(part, Dropped) for part in model.modules()) == count
    assert not any(isinstance(part, Dropped) for part in lively(name, dropout=0.0).modules())
    assert torch.equal(model(x).output, model(x).output)
    assert not torch.equal(model.train()(x).output, model(x).output)
