"""Multiscale attention and zoneout: weights, what is replaced, by what, and where errors go."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.networks.models import sma_vgg
from sandbox.networks.multiscale import MultiscaleAttention, regularise
from sandbox.networks.zoneout import AZO, ZONEOUTS, Places, RandomZoneOut, ZoneOut, zoned

T, B, C, SIDE = 8, 3, 8, 5


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def block(seed=0, **options):
    """A block of lively neurons."""
    torch.manual_seed(seed)
    made = MultiscaleAttention(C, T, **options)
    for norm in (scale[1] for scale in made.scales):
        nn.init.constant_(norm.weight, 2.0)
        nn.init.constant_(norm.bias, 1.0)
    return made


@pytest.mark.parametrize(("channels", "count"), [(64, 350_372), (128, 1_398_964), (256, 5_591_252), (512, 22_356_244)])
def test_counts(channels, count):
    with torch.device("meta"):
        made = MultiscaleAttention(channels, 6, time_reduction=1.5)
    assert sum(p.numel() for p in made.parameters()) == count
    c, r, t, k = channels, 4, 6, 4
    convolutions, norms, channel = 84 * c**2 + 4 * c, 8 * c, c * c // r + c // r + 4 * (c * c // r + c)
    assert count == convolutions + norms + channel + t * k + k + 4 * (k * t + t)


def test_weights_form_a_simplex_over_scales():
    made = block()
    time, channel = made.attention(made.features(drawn(T, B, C, SIDE, SIDE)))
    assert time.shape == (4, T, B)
    assert channel.shape == (4, T, B, C)
    for weights in (time, channel):
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]), atol=1e-6, rtol=0)


def test_the_output_is_the_weighed_sum_of_the_formula():
    made, x = block(), drawn(T, B, C, SIDE, SIDE)
    features = made.features(x)
    f = features.sum(0).mean((-2, -1))
    channel = torch.softmax(torch.stack([w(made.channel.inside(f).relu()) for w in made.channel.scales]), 0)
    g = f.mean(2).T  # [B, T]
    time = torch.softmax(torch.stack([v(made.time.inside(g).relu()) for v in made.time.scales]), 0)
    wanted = sum(
        time[i].T[:, :, None, None, None] * channel[i][..., None, None] * features[i] for i in range(len(features))
    )
    y = made(x)
    torch.testing.assert_close(y, wanted)
    assert set(features.unique().tolist()) == {0.0, 1.0}
    assert y.min() >= 0
    assert y.max() <= 1 + 1e-6


def test_with_one_scale_the_output_is_its_features():
    made, x = block(kernels=(3,)), drawn(T, B, C, SIDE, SIDE)
    assert torch.equal(made(x), made.features(x)[0])


def test_equal_logits_give_a_sixteenth_of_each_scale():
    made, x = block(), drawn(T, B, C, SIDE, SIDE)
    for part in (*made.time.scales, *made.channel.scales):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    torch.testing.assert_close(made(x), made.features(x).sum(0) / 16)


def test_rectified_features_have_no_neurons():
    made = block(spiking=False)
    features = made.features(drawn(T, B, C, SIDE, SIDE))
    assert made.fires is None
    assert features.min() == 0
    assert len(features.unique()) > 100


# --- zoneout ---


@pytest.mark.parametrize("name", ZONEOUTS)
def test_in_evaluation_nothing_is_replaced(name):
    made, x = block(zoneout=ZONEOUTS[name]()), drawn(T, B, C, SIDE, SIDE)
    plain = block()
    made(x), plain(x)
    assert torch.equal(made.eval()(x), plain.eval()(x))
    assert not torch.equal(made.train()(x), plain.train()(x))


def test_exactly_the_chosen_slices_become_those_of_the_step_before():
    made, x = block(zoneout=AZO(2, 4)), drawn(T, B, C, SIDE, SIDE)
    features = made.features(x)
    time, channel = made.attention(features)
    weighed = time[..., None, None, None] * channel[..., None, None] * features
    for number, term in enumerate(made.terms(features, time, channel)):
        steps = sorted(range(T), key=lambda t, i=number: float(time[i, t].sum()))[: T // 2]
        sums = channel[number, steps].sum((0, 1))
        channels = sorted(range(C), key=lambda c, sums=sums: float(sums[c]))[: C // 4]
        replaced = 0
        for t in range(T):
            for c in range(C):
                chosen = t in steps and t > 0 and c in channels
                replaced += chosen
                assert torch.equal(term[t, :, c], weighed[number, t - chosen, :, c])
        assert replaced == len(set(steps) - {0}) * len(channels)


def test_the_choice_depends_on_neither_the_order_of_the_batch_nor_chance():
    """Weights are eighths, so that sums of any order are equal to the bit."""
    time, channel = ((8 * drawn(*shape)).floor() / 8 for shape in ((T, B), (T, B, C)))
    first = AZO().places(time, channel)
    order = [2, 0, 1]
    for again in (AZO().places(time, channel), AZO().places(time[:, order], channel[:, order])):
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.steps.shape == (T // 4,)
    assert first.channels.shape == (C // 4,)
    kept = sorted(set(range(T)) - set(first.steps.tolist()))
    assert time[first.steps].sum(1).max() <= time[kept].sum(1).min()


def test_channels_are_weighed_within_the_chosen_steps_alone():
    """Channel 1 has the least attention in step 1, which is chosen, and the most in all steps together."""
    time = torch.tensor([[2.0], [1.0]])
    channel = torch.tensor([[[0.0, 9.0]], [[3.0, 1.0]]])
    assert AZO(steps=2, channels=2).places(time, channel) == Places(torch.tensor([1]), torch.tensor([1]))


def test_errors_go_to_what_is_copied_and_not_to_what_is_overwritten():
    term = drawn(4, 2, 3).requires_grad_()
    given = drawn(4, 2, 3, seed=1)
    zoned(term, Places(torch.tensor([2]), torch.tensor([1]))).backward(given)
    wanted = given.clone()
    wanted[2, :, 1] = 0
    wanted[1, :, 1] += given[2, :, 1]
    assert torch.equal(term.grad, wanted)


def test_adjacent_steps_take_the_values_before_any_replacement():
    term = drawn(4, 2, 3)
    found = zoned(term, Places(torch.tensor([1, 2, 3]), torch.tensor([0, 2])))
    assert torch.equal(found[1:, :, [0, 2]], term[:-1, :, [0, 2]])
    assert torch.equal(found[:, :, 1], term[:, :, 1])


@pytest.mark.parametrize("places", [([0], [1]), ([], [1]), ([1], [])])
def test_a_scale_without_a_step_before_stays_as_it_is(places):
    term = drawn(4, 2, 3)
    assert zoned(term, Places(*(torch.tensor(each, dtype=torch.long) for each in places))) is term


def test_random_zoneout_replaces_as_many():
    torch.manual_seed(0)
    time, channel = drawn(T, B), drawn(T, B, C)
    sets = {tuple(RandomZoneOut().places(time, channel).channels.tolist()) for _ in range(20)}
    assert len(sets) > 1
    assert {len(found) for found in sets} == {len(AZO().places(time, channel).channels)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiscaleAttention(8, 4, kernels=(2, 3)), r"kernels=\(2, 3\): give at least one, all odd"),
        (lambda: MultiscaleAttention(8, 4, kernels=()), "give at least one, all odd"),
        (lambda: MultiscaleAttention(8, 0), "steps=0: give the number of steps"),
        (lambda: MultiscaleAttention(8, 4).run(torch.zeros(3, 1, 8, 2, 2)), "has weights for each of 4 steps, and the"),
        (lambda: MultiscaleAttention(8, 4, reduction=0), "reduction=0, time_reduction=4: give factors of at least 1"),
        (lambda: MultiscaleAttention(8, 4, time_reduction=0.5), "time_reduction=0.5: give factors of at least 1"),
        (lambda: AZO(steps=0), "steps=0"),
        (lambda: AZO(channels=-1), "channels=-1"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_zoneouts_are_made_of_one_base():
    assert all(issubclass(kind, ZoneOut) for kind in ZONEOUTS.values())


def test_a_rule_regularises_attention_by_name():
    """`regularisers: [azo]` of a configuration sets the zoneout of the model; a model without attention is refused."""
    config = RuleConfig("bptt", regularisers=[Choice("azo", {"steps": 2}), Choice("rate_l1", {"weight": 0.1})])
    (zoneout,) = config.zoneouts()
    assert zoneout == AZO(steps=2)
    assert type(config.make().objective).__name__ == "Sum"
    net = sma_vgg((1, 8, 8), 3, steps=4)
    regularise(net, zoneout)
    assert {m.zoneout for m in net.modules() if isinstance(m, MultiscaleAttention)} == {zoneout}
    with pytest.raises(
        ValueError, match="AZO replaces terms of multiscale attention, and Linear has none: models with"
    ):
        regularise(torch.nn.Linear(1, 1), zoneout)


@pytest.mark.parametrize(
    ("zoneout", "message"),
    [
        ({"name": "azo", "optoins": {}}, "unknown key of zoneout 'optoins'"),
        (3, "zoneout=3: give a name of azo, random"),
    ],
)
def test_a_zoneout_that_cannot_be_read_is_refused(zoneout, message):
    with pytest.raises(ValueError, match=message):
        sma_vgg((1, 8, 8), 3, steps=4, zoneout=zoneout)
