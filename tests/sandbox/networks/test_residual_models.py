"""Spiking residual networks: counts, what their convolutions see, what their blocks are at first, and their carry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import rules
from sandbox import IF, LIF, MSLIF, PLIF, scan
from sandbox.networks.convolutions import convolved, spiking
from sandbox.networks.joins import JOINS
from sandbox.networks.models import (
    ms_resnet,
    orrc_resnet,
    sew_event_net,
    sew_resnet,
    sma_resnet,
    sma_vgg,
)
from sandbox.networks.models.ms import block as ms_block
from sandbox.networks.models.ms import fires
from sandbox.networks.models.sew import block as sew_block
from sandbox.networks.parts import Joined, Neurons, Stack, Stateless, Whole
from sandbox.networks.population import Population
from tests.sandbox.networks.deep import (
    SHAPE,
    B,
    T,
    drawn,
    lively,
    outputs,
    require_causality,
    require_continuation,
    require_finite_gradients,
    require_independent_samples,
    require_no_state_left,
    require_silence,
    seen,
)

CAUSAL = {
    "sew add": lambda: sew_resnet(SHAPE, 10),
    "sew iand": lambda: sew_resnet(SHAPE, 10, connect="iand"),
    "event": lambda: sew_event_net(SHAPE, 10),
    "ms": lambda: ms_resnet(SHAPE, 10),
    "orrc": lambda: orrc_resnet(SHAPE, 10),
}
WHOLE = {
    "orrc gated": lambda: orrc_resnet(SHAPE, 10, backbone="channel", shortcut="time", steps=T),
    "sma vgg": lambda: sma_vgg(SHAPE, 10, steps=T, zoneout="azo"),
    "sma resnet": lambda: sma_resnet(SHAPE, 10, steps=T),
}
EVERY = CAUSAL | WHOLE


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: sew_resnet(depth=18), 11_689_512),
        (lambda: sew_resnet(depth=34), 21_797_672),
        (lambda: sew_resnet(depth=50), 25_557_032),
        (lambda: sew_resnet(depth=101), 44_549_160),
        (lambda: sew_resnet(depth=152), 60_192_808),
        (lambda: sew_event_net(size="7b"), 130_426),
        (lambda: sew_event_net(classes=10, size="wide_7b"), 1_192_218),
        (lambda: ms_resnet(depth=18), 11_693_736),
        (lambda: ms_resnet(depth=34), 21_801_896),
        (lambda: ms_resnet(depth=104), 77_350_504),
        (lambda: orrc_resnet(size="cifar10"), 11_173_962),
        (lambda: orrc_resnet((1, 28, 28), size="mnist"), 11_172_810),
        (lambda: orrc_resnet((2, 128, 128), size="cifar10_dvs"), 11_173_386),
        (
            lambda: orrc_resnet((2, 128, 128), size="cifar10_dvs", backbone="time", shortcut="time", steps=16),
            11_174_794,
        ),
        (lambda: orrc_resnet((2, 128, 128), 11, "dvs_gesture"), 11_179_019),
        (lambda: sma_vgg((2, 48, 48), 10, "vgg8", 10, attention=False), 15_460_810),
        (lambda: sma_vgg((2, 48, 48), 10, "vgg8", 10), 22_451_014),
        (lambda: sma_vgg((2, 48, 48), 11, "vgg8", 16), 22_452_531),
        (lambda: sma_vgg((2, 48, 48), 101, "vgg8", 14), 22_544_543),
        (lambda: sma_resnet(depth=18, steps=6), 71_087_400),
    ],
)
def test_published_sizes_have_their_number_of_parameters(make, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == count


@pytest.mark.parametrize("make", [lambda: sew_resnet((3, 32, 32), 5, depth=18), lambda: ms_resnet((3, 32, 32), 5, 18)])
def test_a_published_size_runs(make):
    assert make()(drawn(2, 1, 3, 32, 32)).output.shape == (2, 1, 5)


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_learns_from_the_loss(name):
    assert require_finite_gradients(EVERY[name]()).shape == (T, B, 10)


@pytest.mark.parametrize("name", ["sew add", "ms", "orrc", "sma vgg"])
def test_the_trainer_lowers_the_loss(name):
    y = torch.arange(12) % 3
    x = (drawn(3, *SHAPE)[y] + 0.1 * drawn(12, *SHAPE, seed=1)).expand(T, 12, *SHAPE)
    trainer = rules.Trainer(EVERY[name](), rules.make("bptt", lr=0.02), seed=0)
    losses = [trainer.step((x, y)).loss for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", EVERY)
def test_a_sample_does_not_depend_on_its_batch(name):
    require_independent_samples(EVERY[name]())


@pytest.mark.parametrize("name", EVERY)
def test_a_pass_leaves_no_state_behind(name):
    require_no_state_left(EVERY[name]())


@pytest.mark.parametrize("name", CAUSAL)
def test_a_sequence_continues_from_its_carry(name):
    require_continuation(CAUSAL[name]())


@pytest.mark.parametrize("name", CAUSAL)
def test_no_step_sees_a_later_one(name):
    require_causality(CAUSAL[name]())


@pytest.mark.parametrize("name", WHOLE)
def test_models_that_see_the_whole_sequence_say_so(name):
    model = WHOLE[name]()
    assert "carry" not in model.offers
    assert "carry" not in model.keywords
    assert "sees the whole sequence at once" in model.lacks["carry"]
    with pytest.raises(rules.MissingNeed, match="cells: .*is a stack of parts"):
        rules.Trainer(model, rules.make("eprop"), seed=0).step((drawn(T, B, *SHAPE), torch.arange(B)))


@pytest.mark.parametrize("name", [*CAUSAL, "orrc gated"])
def test_without_input_and_offsets_nothing_fires(name):
    require_silence(EVERY[name]())


@pytest.mark.parametrize("name", ["sew add", "ms", "orrc"])
def test_an_input_that_is_constant_in_time_gives_what_its_copies_give(name):
    model, x = lively(CAUSAL[name]()), drawn(1, B, *SHAPE, seed=1).expand(T, B, *SHAPE)
    torch.testing.assert_close(model(x).output, model(x.contiguous()).output, atol=1e-5, rtol=1e-5)


# --- SEW ---


@pytest.mark.parametrize("connect", ["add", "and", "iand", "or"])
def test_values_that_blocks_put_out(connect):
    """ADD: integers up to the number of blocks of the stage plus 1, and those are reached; the others stay binary."""
    model = sew_resnet(SHAPE, 10, connect=connect)
    blocks = [sew_block(8, 8, 1, connect, False, False) for _ in range(3)]
    stage = Stack([spiking(convolved(1, 8, 3), IF()), *blocks], SHAPE)
    for part in (model, stage):
        for module in part.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, 3.0)  # everything fires
    values = [set(each.unique().tolist()) for each in outputs(stage, drawn(T, B, *SHAPE), Joined).values()]
    tops = [{2.0}, {3.0}, {4.0}] if connect == "add" else [set()] * 3
    for found, top in zip(values, tops, strict=True):
        assert top <= found
        assert found <= set(range(int(max(top, default=1)) + 1))
    every = seen(model, drawn(T, B, *SHAPE)).items()
    hidden = set().union(*(found for name, found in every if not name.startswith("parts.0.")))
    assert hidden <= ({0.0, 1.0, 2.0, 3.0} if connect == "add" else {0.0, 1.0})


@pytest.mark.parametrize("connect", ["add", "iand", "and"])
def test_inert_branches_pass_on_the_shortcut(connect):
    """Of an integrate-and-fire neuron a current of 0 never fires, and one of 1 always."""
    block = sew_block(8, 8, 1, connect, deep=False, zero_init=True)
    x = (drawn(T, B, 8, 4, 4) > 0.5).float()
    assert torch.equal(block.run(x).output, x)


def test_the_gradient_passes_inert_blocks_unchanged():
    blocks = Stack([sew_block(8, 8, 1, "add", deep=False, zero_init=True) for _ in range(4)], (8, 4, 4))
    for module in blocks.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False).zero_()  # no error enters the branch
    x = (drawn(T, B, 8, 4, 4) > 0.5).float().requires_grad_()
    given = drawn(T, B, 8, 4, 4, seed=1)
    blocks(x).output.backward(given)
    assert torch.equal(x.grad, given)


# --- MS ---


def test_membrane_shortcuts_are_all_that_new_blocks_do():
    for inputs, halves in ((8, False), (4, True)):
        stride = 2 if halves else 1
        last = Stateless(convolved(8, 8, 3, scale=0.0))
        branch = [fires(), spiking(convolved(inputs, 8, 3, stride), MSLIF()), last]
        block = ms_block(branch, inputs, 8, halves, False)
        x = drawn(T, B, inputs, 4, 4) - 0.5
        wanted = block.shortcut[0].run(x).output if halves else x
        assert torch.equal(block.run(x).output, wanted)


def test_convolutions_of_membrane_branches_see_bits_and_only_stem_and_shortcuts_see_numbers():
    model = lively(ms_resnet(SHAPE, 10))
    for name, values in seen(model, drawn(T, B, *SHAPE)).items():
        graded = name.startswith("parts.0.") or "shortcut" in name
        assert (values <= {0.0, 1.0}) != graded, name


def test_ms_resnet_halves_the_image_in_every_stage():
    shapes = outputs(ms_resnet((3, 32, 32), 5, depth=18), drawn(1, 2, 3, 32, 32), Joined).values()
    assert [each.shape[-1] for each in shapes] == [8, 8, 4, 4, 2, 2, 1, 1]


def test_the_neuron_of_ms_resnet_is_a_lif():
    """LIF with tau = 4/3 in the form without decay of the input: v <- v - v / tau + x; no ties in random input."""
    x = 2 * drawn(50, 200).double() - 0.3
    twin = PLIF(tau_mem=4 / 3, r=4 / 3, v_threshold=0.5)
    spikes, _ = scan(MSLIF(), x)
    assert 0.1 < spikes.mean() < 0.9
    assert torch.equal(spikes, scan(twin, x)[0])


def test_normalisation_pools_its_statistics_over_time():
    """A constant that is added at all steps changes nothing; one that is added at a single step does."""
    part, x = Stateless(convolved(2, 4, 1, scale=0.5)), drawn(T, B, 2, 4, 4)
    before = part.run(x).output
    torch.testing.assert_close(part.run(x + 3).output, before, atol=1e-5, rtol=0)
    shifted = x.clone()
    shifted[0] += 3
    assert not torch.allclose(part.run(shifted).output[1:], before[1:], atol=1e-2)
    assert float(before.detach().std()) == pytest.approx(0.5, abs=0.02)


# --- ORRC ---


@pytest.mark.parametrize("gates", [{}, {"backbone": "time", "shortcut": "time", "steps": T}])
def test_behind_the_stem_every_convolution_sees_bits_with_or_and_integers_with_add(gates):
    found = {}
    for connect in ("or", "add"):
        model = lively(orrc_resnet(SHAPE, 10, connect=connect, **gates))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, 2.0)
            if isinstance(module, nn.Linear) and module.bias is None:
                nn.init.constant_(module.weight, 1.0)  # gates open
        values = seen(model, drawn(T, B, *SHAPE))
        found[connect] = set().union(*(each for name, each in values.items() if not name.startswith("parts.0.")))
    assert found["or"] == {0.0, 1.0}
    assert found["add"] == {0.0, 1.0, 2.0}


def test_networks_without_shortcuts_are_those_with_shut_gates():
    gated = lively(orrc_resnet(SHAPE, 10, shortcut="channel"))
    bare = orrc_resnet(SHAPE, 10, connect="none").eval()
    (block,) = (part for part in gated.modules() if isinstance(part, Joined))
    nn.init.zeros_(block.shortcut[1].weigh[2].weight)
    bare.load_state_dict({name: p for name, p in gated.state_dict().items() if "shortcut" not in name})
    x = drawn(T, B, *SHAPE, seed=1)
    assert torch.equal(gated(x).output, bare(x).output)


# --- joins and parts ---


@pytest.mark.parametrize(
    ("name", "table"), [("add", [0, 1, 1, 2]), ("and", [0, 0, 0, 1]), ("iand", [0, 1, 0, 0]), ("or", [0, 1, 1, 1])]
)
def test_truth_tables(name, table):
    a, b = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 1, 0, 1])
    assert JOINS[name](a, b).tolist() == table


def test_or_is_bounded_by_and_and_add_and_its_derivatives_are_one_minus_the_other():
    a, b = ((drawn(1000, seed=seed) > 0.6).float().requires_grad_() for seed in (0, 1))
    y = JOINS["or"](a, b)
    assert torch.equal(y, 1 - (1 - a) * (1 - b))
    assert torch.equal(y, (a + b).clamp(0, 1))
    assert (JOINS["and"](a, b) <= torch.minimum(a, b)).all()
    assert (torch.maximum(a, b) <= y).all()
    assert (y <= JOINS["add"](a, b)).all()
    da, db = torch.autograd.grad(y.sum(), (a, b))
    assert torch.equal(da, 1 - b)
    assert torch.equal(db, 1 - a)
    (add,) = torch.autograd.grad(JOINS["add"](a, b).sum(), a)
    assert torch.equal(add, torch.ones(1000))


def test_rates_of_an_or():
    """Independent inputs fire together at r_a + r_b - r_a r_b, here to four standard errors of 40,000 draws."""
    a, b = (drawn(40_000, seed=0) < 0.3).double(), (drawn(40_000, seed=1) < 0.2).double()
    rate = JOINS["or"](a, b).mean()
    assert max(a.mean(), b.mean()) <= rate <= min(1, a.mean() + b.mean())
    assert abs(rate - 0.44) < 4 * math.sqrt(0.44 * 0.56 / 40_000)


def test_each_branch_runs_once():
    calls = []

    class Counted(nn.Module):
        def forward(self, x):
            calls.append(x)
            return x

    x = torch.zeros(T, B, 2)
    Joined([Stateless(Counted())], [Stateless(Counted())], JOINS["or"]).run(x)
    assert len(calls) == 2


def test_neurons_alone_are_those_of_a_scan():
    x = drawn(T, B, 5)
    assert torch.equal(Neurons(Population(LIF(tau_mem=2.0), 1.0)).run(x).output, scan(LIF(tau_mem=2.0), x)[0])


def test_integrate_and_fire_adds_up():
    spikes, _ = scan(IF(), torch.full((8, 1), 0.25))
    assert spikes.flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sew_resnet(depth=20), "unknown depth '20'; nearest: .*valid: tiny, 18, 34, 50, 101, 152"),
        (lambda: sew_resnet(connect="orr"), "unknown connect 'orr'; nearest: 'or'; valid: add, and, iand, or"),
        (lambda: sew_resnet((64,)), r"shape=\(64,\): this model takes images \(C, H, W\)"),
        (lambda: sew_event_net(size="8b"), "unknown size '8b'; nearest: '7b'"),
        (lambda: sew_event_net(connect="plus"), "unknown connect 'plus'"),
        (lambda: sew_event_net((2, 64, 64), size="7b"), "7 pools need frames of 128 x"),
        (lambda: ms_resnet(depth=50), "unknown depth '50'; .*valid: tiny, 18, 34, 104"),
        (lambda: orrc_resnet(size="cifar"), "unknown size 'cifar'; nearest: 'cifar10'"),
        (lambda: orrc_resnet(connect="and"), "unknown connect 'and'; .*valid: or, add, none"),
        (lambda: orrc_resnet(backbone="tme", steps=4), "unknown axis of a gate 'tme'; nearest: 'time'"),
        (lambda: orrc_resnet(shortcut="time"), "a gate over time has weights for each step: give the number of steps"),
        (lambda: sma_vgg(size="vgg"), "unknown size 'vgg'; nearest: 'vgg8'"),
        (lambda: sma_vgg((1, 2, 2)), "2 pools need frames of 4"),
        (lambda: sma_vgg(zoneout="az"), "unknown zoneout 'az'; nearest: 'azo'; valid: azo, random"),
        (lambda: sma_vgg(zoneout={"name": "azo", "options": {"step": 2}}), "unknown option .*'step'"),
        (lambda: sma_vgg(steps=0), "steps=0: give the number of steps of a sequence, at least 1"),
        (lambda: sma_resnet(depth=19), "unknown depth '19'"),
        (
            lambda: sma_vgg(SHAPE, steps=4)(drawn(5, 2, *SHAPE)),
            "MultiscaleAttention has weights for each of 4 steps, and the input has 5: build the model with steps=5",
        ),
        (
            lambda: orrc_resnet(SHAPE, shortcut="time", steps=4)(drawn(3, 2, *SHAPE)),
            "Gate has weights for each of 4 steps, and the input has 3",
        ),
        (lambda: sew_resnet(SHAPE)(drawn(2, 3, 1, 4, 4)), r"input has shape \(2, 3, 1, 4, 4\); this network wants"),
        (lambda: Whole(-1), "steps=-1: give the number of steps"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_depth_may_be_a_word_as_on_a_command_line():
    with torch.device("meta"):
        assert len(list(sew_resnet(depth="34").parameters())) == len(list(sew_resnet(depth=34).parameters()))


def test_a_shortcut_around_each_convolution():
    """As many parameters as around pairs; every convolution behind the stem sees zeros and ones, or a shortcut does."""
    counts = {
        (around, depth): sum(p.numel() for p in ms_resnet((1, 16, 16), 10, depth, around=around).parameters())
        for around in ("pair", "each")
        for depth in ("tiny", 18)
    }
    assert counts["pair", "tiny"] == counts["each", "tiny"]
    assert counts["pair", 18] == counts["each", 18]
    net, seen = ms_resnet((1, 8, 8), 10, around="each", seed=1), []
    for part in net.modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
            part.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
    net(torch.rand(4, 3, 1, 8, 8))
    assert len(seen) == 1 + 4
    assert all(set(x.unique().tolist()) <= {0.0, 1.0} for x in seen[1:])
    with pytest.raises(ValueError, match="unknown around 'all'"):
        ms_resnet((1, 8, 8), 10, around="all")


@pytest.mark.parametrize("depth", ["tiny", 18])
def test_without_shortcuts_the_same_convolutions_follow_one_another(depth):
    """Those of the others, behind the stem on zeros and ones, and no block that adds anything."""
    bare, other = (ms_resnet((1, 16, 16), 10, depth, around=around) for around in ("none", "each"))
    assert not [part for part in bare.modules() if isinstance(part, Joined)]
    convolutions = [
        [tuple(p.weight.shape) for p in model.modules() if isinstance(p, nn.Conv2d) and p.kernel_size != (1, 1)]
        for model in (bare, other)
    ]
    assert convolutions[0] == convolutions[1]
    for name, values in seen(lively(ms_resnet(SHAPE, 10, depth, around="none")), drawn(T, B, *SHAPE)).items():
        assert (values <= {0.0, 1.0}) == (not name.startswith("parts.0.")), name
    gains = {p.weight.unique().tolist()[0] for p in bare.modules() if isinstance(p, nn.BatchNorm2d)}
    assert gains == {0.5}
