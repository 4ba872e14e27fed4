"""Spiking attention: equal orders of products, gates as their formulas say, cost in tokens, and normalisation over time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules import Meter
from sandbox import MaskedPSN, scan
from sandbox.networks.attention import ChannelGate, SaccadicGate, SelfAttention, TokenGate, decoupled
from sandbox.networks.feed_forward import pointwise
from sandbox.networks.kinds import HALF, kind_of, lif, transformer_neurons
from sandbox.networks.over_time import TimeNorm
from sandbox.networks.parts import Stateless
from sandbox.networks.population import Population
from tests.sandbox.networks.deep import Largest

T, B, H, D = 3, 2, 2, 4


def spikes(*shape, rate=0.4, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def through_as_it_is(*names):
    """Sources that hand on what they get, so that a test chooses the signals."""
    return {name: [Stateless(nn.Identity())] for name in names}


def attention(kind, *names, heads=H, **options):
    cells = transformer_neurons(None)
    return kind(through_as_it_is(*names), heads, cells.attends(heads), **options)


def self_attention(**options):
    return attention(SelfAttention, "query", "key", "value", **options)


def test_both_orders_give_the_integers_of_the_formula():
    """Against loops over heads and tokens; the currents are multiples of 1/8."""
    q, k, v = (spikes(T, B, H, D, 6, seed=seed) for seed in range(3))
    wanted = torch.einsum("tbhdn,tbhdm,tbhem->tbhen", q, k, v)
    for order in ("kv", "qk", "cheaper"):
        assert torch.equal(self_attention(order=order).currents(q, k, v), wanted)
    assert wanted.max() > 3
    assert wanted.max() <= 6 * D


@pytest.mark.parametrize(("order", "power"), [("kv", 1), ("qk", 2)])
def test_operations_grow_with_tokens_as_the_order_says(order, power):
    counts = []
    for tokens in (16, 32, 64, 256):
        part = self_attention(order=order)
        with Meter(part) as meter:
            part.currents(*(torch.zeros(T, B, H, D, tokens) for _ in range(3)))
        counts.append(meter.cost(1, 0).synaptic_operations)
    assert counts[0] == 2 * T * B * H * 16 * D * (D if order == "kv" else 16)
    assert [count / counts[0] for count in counts] == [factor**power for factor in (1, 2, 4, 16)]


@pytest.mark.parametrize(("tokens", "cheaper"), [(D - 1, "qk"), (D + 1, "kv")])
def test_the_cheaper_order_has_fewer_operations(tokens, cheaper):
    found = {}
    for order in ("kv", "qk", "cheaper"):
        part = self_attention(order=order)
        with Meter(part) as meter:
            part.currents(*(torch.zeros(T, B, H, D, tokens) for _ in range(3)))
        found[order] = meter.cost(1, 0).synaptic_operations
    assert found["cheaper"] == found[cheaper] == min(found.values())


def test_the_neuron_behind_attention_fires_at_eight():
    """From rest, with a scale of 1/8 and a threshold of 1/2; the usual one at a current of 2."""
    cells = transformer_neurons(None)
    integers = torch.arange(17.0)[None]
    fired, _ = scan(cells.attending, 0.125 * integers)
    assert torch.equal(fired[0], (integers[0] >= 8).float())
    fired, _ = scan(cells.usual, torch.tensor([[1.99, 2.0]]))
    assert fired.tolist() == [[0.0, 1.0]]


def test_a_given_neuron_fires_behind_attention_at_half_the_current():
    given, own = transformer_neurons(lif()), transformer_neurons(None)
    currents = 0.125 * torch.randint(0, 30, (20, 50), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(scan(given.attending, given.drive * currents)[0], scan(own.attending, currents)[0])
    assert (kind_of(lif(), lif()).drive, given.drive) == (1.0, 1 / HALF)


def test_the_derivative_behind_attention_is_that_of_a_membrane_in_units_of_one():
    """Of the sigmoid, 4 s(4 x) (1 - s(4 x)) with x = v - 1/2, times dv / di = 1/2."""
    i = torch.tensor([[0.2, 0.9, 1.0, 1.3]], dtype=torch.float64, requires_grad=True)
    scan(transformer_neurons(None).attending, i)[0].sum().backward()
    s = torch.sigmoid(4 * (i.detach() / 2 - 0.5))
    torch.testing.assert_close(i.grad, 4 * s * (1 - s) / 2)


def test_token_gates_open_where_any_query_of_the_head_fires():
    q, k = spikes(1, B, H * D, 2, 3, rate=0.2), spikes(1, B, H * D, 2, 3, seed=1)
    part = TokenGate({"query": [Given(q)], "key": [Given(k)]}, H, transformer_neurons(None).attends(H))
    found = part.run(q).output.unflatten(2, (H, D))
    gate = (q.unflatten(2, (H, D)).sum(3, keepdim=True) > 0).float()
    assert 0 < gate.mean() < 1
    assert torch.equal(found, gate * k.unflatten(2, (H, D)))


def test_channel_gates_open_where_any_token_of_the_channel_fires():
    q, k = spikes(1, B, H * D, 2, 3, rate=0.15), spikes(1, B, H * D, 2, 3, seed=1)
    part = ChannelGate({"query": [Given(q)], "key": [Given(k)]}, H, transformer_neurons(None).attends(H))
    gate = (q.sum((-2, -1), keepdim=True) > 0).float()
    assert 0 < gate.mean() < 1
    assert torch.equal(part.run(q).output, gate * k)


@pytest.mark.parametrize("kind", [TokenGate, ChannelGate])
def test_queries_that_always_fire_hand_on_the_keys(kind):
    k = spikes(T, B, H * D, 2, 3)
    part = kind({"query": [Given(torch.ones_like(k))], "key": [Given(k)]}, H, transformer_neurons(None).attends(H))
    assert torch.equal(part.run(k).output, k)


class Given(nn.Module):
    """A part that puts out the same tensor whatever enters."""

    offers = frozenset({"gradient"})

    def __init__(self, signal):
        super().__init__()
        self.signal = signal

    def run(self, x, carry=None, record=False, lengths=None):
        return Stateless(nn.Identity()).run(self.signal)


@pytest.mark.parametrize("kind", ["token", "saccadic", "self", "self by tokens"])
def test_memory_of_gates_is_linear_in_tokens(kind):
    """No array of tokens by tokens, nor one of channels by channels; the other order of self-attention has one."""
    tokens = 100
    signal = spikes(1, 1, D, 1, tokens)
    gates = {
        "token": lambda: attention(TokenGate, "query", "key", heads=1),
        "saccadic": lambda: saccadic("query", "value", steps=1, heads=1),
        "self": lambda: attention(SelfAttention, "query", "key", "value", heads=1),
        "self by tokens": lambda: attention(SelfAttention, "query", "key", "value", heads=1, order="qk"),
    }
    part = gates[kind]()
    with torch.no_grad(), Largest() as largest:
        part.run(signal)
    assert largest.entries == (tokens**2 if kind == "self by tokens" else D * tokens)


# --- saccadic ---


def saccadic(*names, steps=T, heads=H, weight=None, threshold=None):
    weight = torch.eye(steps) if weight is None else weight
    threshold = torch.ones(steps) if threshold is None else threshold
    cells = Population(MaskedPSN(steps, order=steps, weight=weight, v_threshold=threshold), 1.0, None, None, heads)
    return SaccadicGate(through_as_it_is(*names), heads, cells)


def test_row_sums_of_the_cross_attention_are_never_formed():
    """(Q' K'') 1 = Q' sum K', exactly."""
    q, v, k = (spikes(T, B, H, D, 5, seed=seed) for seed in range(3))
    cross = q.sum(3)[..., :, None] * k.sum(3)[..., None, :]  # [T, B, H, N, N]
    assert torch.equal(saccadic("query", "value", "key").currents(q, v, k)[..., 0, :], cross.sum(-1))
    assert torch.equal(saccadic("query", "value").currents(q, v)[..., 0, :], q.sum(3))


@pytest.mark.parametrize("names", [("query", "value"), ("query", "value", "key")])
def test_saccadic_output_is_a_choice_of_tokens_and_does_not_depend_on_their_order(names):
    x = spikes(T, B, H * D, 1, 6, rate=0.2)
    part = saccadic(
        *names, weight=torch.tensor([[1.0, 9, 9], [-0.5, 1, 9], [0.3, 0.2, 1]]), threshold=torch.ones(T) * 2
    )
    found = part.run(x).output
    assert (found <= x).all()
    assert 0 < found.sum() < x.sum()
    assert set(found.unique().tolist()) == {0.0, 1.0}
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(part.run(x[..., order]).output, found[..., order])


def test_a_step_looks_at_no_later_one():
    """Weights above the diagonal have no effect; without the mask they do."""
    x = spikes(T, B, H * D, 1, 6, rate=0.2)
    other = x.clone()
    other[2] = 1 - other[2]
    above = torch.tensor([[1.0, 9, 9], [0, 1, 9], [0, 0, 1]])
    part = saccadic("query", "value", weight=above)
    part.sources["value"] = nn.ModuleList([Given(torch.ones_like(x))])
    assert torch.equal(part.run(x).output[:2], part.run(other).output[:2])
    part.cells.neuron = MaskedPSN(T, order=T, masked=0.0, weight=above, v_threshold=torch.ones(T))
    part.cells.learned = None
    assert not torch.equal(part.run(x).output[:2], part.run(other).output[:2])


def test_decoupled_inference_equals_a_diagonal_matrix_and_not_a_dense_one():
    p = torch.randint(0, 6, (T, 200), generator=torch.Generator().manual_seed(0)).float()
    threshold = torch.tensor([1.0, 2.0, 1.5])
    equal = {}
    for name, weight in (
        ("diagonal", torch.diag(torch.tensor([0.5, 2.0, 1.0]))),
        ("dense", torch.tensor([[1.0, 0, 0], [-0.5, 1, 0], [0.3, -0.4, 1]])),
    ):
        cells = MaskedPSN(T, order=T, weight=weight, v_threshold=threshold)
        equal[name] = torch.equal(scan(cells, p)[0], decoupled(p, weight, threshold))
    assert equal == {"diagonal": True, "dense": False}


# --- normalisation over time ---


def test_normalisation_over_time_is_one_for_each_step():
    norm, single = TimeNorm(3, T), [nn.BatchNorm2d(3) for _ in range(T)]
    x = torch.rand(T, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x[1] += 2
    rng = torch.Generator().manual_seed(1)
    for p in (norm.norm.weight, norm.norm.bias):
        nn.init.uniform_(p, generator=rng)
    for step, each in enumerate(single):
        each.weight.data = norm.norm.weight.detach()[3 * step : 3 * step + 3]
        each.bias.data = norm.norm.bias.detach()[3 * step : 3 * step + 3]
    for training in (True, False):
        norm.train(training)
        wanted = torch.stack([each.train(training)(row) for each, row in zip(single, x, strict=True)])
        torch.testing.assert_close(norm(x), wanted)  # to rounding
    assert sum(p.numel() for p in norm.parameters()) == 2 * 3 * T


def test_attention_continues_from_its_carry():
    cells = transformer_neurons(None)
    torch.manual_seed(0)
    sources = {name: [cells.spiking(pointwise(8, 8, 12.0), 8)] for name in ("query", "key", "value")}
    part = SelfAttention(sources, 2, cells.attends(2), 0.3).eval()  # so that one coincidence is not enough
    x = spikes(6, B, 8, 2, 2)
    whole, first = part.run(x), part.run(x[:3])
    assert whole.output.any()
    assert torch.equal(torch.cat([first.output, part.run(x[3:], first.carry).output]), whole.output)
    assert not torch.equal(part.run(x[3:]).output, whole.output[3:])


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="unknown order 'vk'; nearest: 'qk'; valid: kv, qk, cheaper"):
        self_attention(order="vk")
