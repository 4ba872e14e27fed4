"""S2M-Former: counts, attention, gates and tokens against loops, what exchanging branches changes, and mistakes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from rules import Batch, Health, Trainer
from rules.synapses import Product
from sandbox import make_model
from sandbox.networks.channel_attention import ChannelAttention
from sandbox.networks.channel_mixer import gated
from sandbox.networks.eeg_embeddings import spatial, tokens
from sandbox.networks.inputs import joined
from sandbox.networks.kinds import kind_of
from sandbox.networks.models import s2m_former
from sandbox.networks.models.s2m_former import Size
from sandbox.networks.models.speech import cell
from sandbox.networks.network import through
from sandbox.networks.parts import Stateless
from sandbox.networks.population import Population
from sandbox.networks.segments import Segments
from sandbox.networks.token_mixer import TokenMixer, guided, pooled
from sandbox.neurons import CPLIF

T, B = 4, 3
SHAPE = ((6, 16), (5, 8, 8))
SMALL = Size(4, 8, 4)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views(count=B, seed=0):
    return tuple(drawn(T, count, *shape, seed=seed + n) for n, shape in enumerate(SHAPE))


def lively(seed=0, **options):
    """A model in float64 with gains and offsets by which every population fires, and in evaluation mode."""
    model, rng = s2m_former(SHAPE, 2, **{"size": SMALL, "seed": seed, **options}).double(), torch.Generator()
    rng.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.8, 1.8, generator=rng)
            nn.init.uniform_(module.bias, 0.4, 1.2, generator=rng)
        if isinstance(module, Population) and isinstance(module.neuron, CPLIF):  # of many channels they fire seldom
            nn.init.uniform_(module.learned.values["bias"], 0.1, 0.5, generator=rng)
    model(views(8, seed=seed))  # running statistics
    return model.eval()


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parts_have_as_many_parameters_as_those_of_the_authors():
    model = make_model("s2m_former", "paper")
    _, embedding, *block, readout = model.parts
    assert {name: count(parts) for name, parts in embedding.branches.items()} == {"spatial": 41_280, "frequency": 7_984}
    assert sum(map(count, block)) == 10_528
    assert (count(readout.dense), count(readout.cells)) == (18, 16)
    assert count(model) == 59_826
    found = [module for module in model.modules() if isinstance(module, Population) and module.learned]
    assert len(found) == 9  # four in front of branches, four around the mixers, one in the read-out
    for each in found:
        leaks = torch.softmax(each.present().weight, 0)
        assert leaks.shape == (8,)
        torch.testing.assert_close(leaks.sum(), torch.tensor(1.0))
        assert bool((leaks < 1).all())


# --- attention ---


def attention(heads, width=3):
    """Attention whose queries, keys and values are thirds of the channels of its input, and whose neurons are a copy."""
    sources = {name: [Stateless(Third(n, width))] for n, name in enumerate(("query", "key", "value"))}
    return ChannelAttention(sources, heads, Currents())


class Third(nn.Module):
    def __init__(self, number, width):
        super().__init__()
        self.cut = slice(number * width, (number + 1) * width)

    def forward(self, x):
        return x[:, self.cut]


class Currents(nn.Module):
    """In place of neurons: what drives them."""

    def forward(self, currents, carry=None, record=False):
        return currents, carry, None


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_is_that_of_loops_over_tokens(heads):
    """`(q k') v`, with a score for each pair of tokens of a block, summed one by one in NumPy."""
    x = (drawn(2, B, 9, 8) < 0.4).double()
    found = attention(heads)(x).numpy()
    q, k, v = (each.numpy() for each in x.split(3, 2))
    size = 8 // heads
    wanted = np.zeros_like(found)
    for t, b, n, m in np.ndindex(2, B, 8, 8):
        if n // size == m // size:
            wanted[t, b, :, n] += (q[t, b, :, n] * k[t, b, :, m]).sum() * v[t, b, :, m] / np.sqrt(size)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert found.any()


def test_work_of_attention_is_linear_in_the_tokens():
    def pairs(count, heads):
        found, part = [], attention(heads, width=8)
        for module in part.modules():
            if isinstance(module, Product):
                module.register_forward_hook(lambda m, inputs, output: found.append(m.pairs(inputs, output)))
        part(torch.ones(1, 1, 24, count))
        return sum(found)

    assert pairs(64, 4) == pairs(64, 1) == 2 * 64 * 8**2
    assert pairs(128, 4) == 2 * pairs(64, 4)


@pytest.mark.parametrize(("heads", "same"), [(1, True), (4, False)])
def test_a_permutation_of_tokens_permutes_attention_in_one_block(heads, same):
    x, order = (drawn(2, B, 9, 8) < 0.4).double(), torch.randperm(8, generator=torch.Generator().manual_seed(0))
    part = attention(heads)
    assert torch.allclose(part(x[..., order]), part(x)[..., order]) is same


# --- gates and tokens ---


def test_the_mixer_gates_with_a_count():
    """The weight behind the gate sees `a k`: with neurons that always fire, the number of channels."""
    cells, between = kind_of({"name": "lif", "options": {"v_threshold": 1e-9}}, cell()), kind_of(None, CPLIF())
    parts = gated(4, 12, cells, between)
    for part in parts[3].modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.constant_(part.bias, 5.0)
    out = through(parts[2:4], torch.zeros(2, B, 12, 7)).output
    assert torch.equal(out, torch.full((2, B, 6, 7), 6.0))


@pytest.mark.parametrize(("count", "pool"), [(8, 3), (7, 3), (8, 1)])
def test_tokens_are_mixed_as_in_loops(count, pool):
    """The first half hears the fusion vector, the second its own mean; pooled tokens follow."""
    x, fused = 2 * drawn(1, 1, 3, count), drawn(1, 1, 3, seed=1)
    mixer = TokenMixer([Stateless(Fused(fused))], {"a": Population(cell(), 1.0)}, [count], pool)
    found = mixer(x)[0, 0].numpy()
    spikes, wanted = (x[0, 0] >= 1).double().numpy(), []
    for d in range(3):
        row = [
            spikes[d, n] * (float(fused[0, 0, d]) if n < count // 2 else sum(spikes[d]) / count) + float(x[0, 0, d, n])
            for n in range(count)
        ]
        for n in range(0, count, 2 if pool == 3 else 1):
            around = range(max(0, n - pool // 2), min(count, n + pool // 2 + 1))
            row.append(max(float(x[0, 0, d, m]) for m in around))
        wanted.append(row)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert found.shape[-1] == pooled(count, pool) == (2 * count if pool == 1 else count + (count + 1) // 2)


class Fused(nn.Module):
    """In place of a mixer: tokens with a given mean."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean[0]

    def forward(self, x):
        return self.mean[..., None].expand(len(x), -1, x.shape[-1])


def test_exactly_half_of_the_tokens_hear_the_fusion_vector():
    spikes, fused = torch.ones(1, 1, 1, 9), torch.full((1, 1, 1), 0.25)
    assert guided(spikes, fused).flatten().tolist() == [0.25] * 4 + [1.0] * 5


@pytest.mark.parametrize("shape", [(5, 32, 32), (5, 7, 8), (5, 1, 3)])
def test_tokens_of_a_map_are_counted_as_they_are_made(shape):
    model = s2m_former(shape, 2, Size(4, 8, 1), branches=("frequency",))
    assert model.parts[1](torch.zeros(1, 1, np.prod(shape))).shape == (1, 1, 4, tokens(shape))


def test_convolutions_over_time_pad_as_torch_does():
    """An even kernel reaches one sample further ahead."""
    (_, layer, *_) = spatial((6, 16), 4, kind_of(None, cell()))
    padding, convolution, _ = layer.synapse
    x = torch.rand(2, 1, 6, 16)
    wanted = nn.functional.conv2d(x, convolution.weight, convolution.bias, padding="same")
    torch.testing.assert_close(convolution(padding(x)), wanted)


# --- branches ---


def exchanged(model, **options):
    """A model with the weights of the branches exchanged."""
    other, names = lively(**options), {"spatial": "frequency", "frequency": "spatial"}
    state = model.state_dict()
    other.load_state_dict(
        {
            ".".join(names.get(part, part) for part in key.split(".")): value
            for key, value in state.items()
            if not key.startswith("parts.1.")
        },
        strict=False,
    )
    return other


@pytest.mark.parametrize(
    ("options", "exact"),
    [
        ({"size": Size(4, 8, 4, kernel=1)}, True),
        ({"fusion": False}, True),
        ({"size": Size(4, 8, 4, kernel=3)}, False),
    ],
    ids=["kernels of one token", "without fusion", "kernels of three"],
)
def test_exchanged_branches_exchange_their_tokens(options, exact):
    """Exactly, to rounding of means, unless the mixer's convolutions see tokens of both branches at the seam."""
    model = lively(**options)
    other, tokens = exchanged(model, **options), [2 * drawn(T, B, 4, 16, seed=n) for n in (1, 2)]
    made = [
        through(each.parts[2:-1], torch.cat(x, -1)).output.chunk(2, -1)
        for each, x in ((model, tokens), (other, tokens[::-1]))
    ]
    gaps = [float((a - b).abs().max()) for a, b in zip(made[0], made[1][::-1], strict=True)]
    assert (max(gaps) < 1e-10) is exact
    assert max(float((a - b).mean().abs() / a.mean().abs()) for a, b in zip(made[0], made[1][::-1], strict=True)) < 0.1


@pytest.mark.parametrize("options", [{}, {"fusion": False}, {"size": Size(4, 8, 2, depth=2)}])
def test_samples_do_not_depend_on_their_batch(options):
    """Nor on there being one alone; to rounding in float64."""
    model, x = lively(**options), views(seed=3)
    together = model(x).output
    for b in range(B):
        alone = model(tuple(each[:, b : b + 1] for each in x)).output
        torch.testing.assert_close(together[:, b : b + 1], alone, atol=1e-10, rtol=0)
    assert torch.equal(model(x).output, together)
    assert len({*together.flatten().tolist()}) == 2 * B


def test_gradients_reach_all_parameters():
    model = lively().train()
    model(views(20)).output.square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_several_inputs_are_the_same_as_their_features():
    model, x = lively(), views()
    flat = torch.cat([each.flatten(2) for each in x], -1)
    assert torch.equal(model(x).output, model(flat).output)
    assert torch.equal(joined(x, SHAPE), flat)
    assert not torch.equal(model((x[0], 0 * x[1])).output, model(x).output)
    assert not torch.equal(model((0 * x[0], x[1])).output, model(x).output)


def test_an_input_at_all_steps_is_computed_once():
    model, rows = lively(), []
    first = model.parts[1].branches["spatial"][1].synapse[1]
    first.register_forward_hook(lambda m, inputs, output: rows.append(len(output)))
    constant = tuple(each[:1].expand(T, *each.shape[1:]) for each in views())
    once = model(constant).output
    assert torch.equal(model(tuple(each.contiguous() for each in constant)).output, once)
    assert rows == [B, T * B]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"branches": ("spatial",)}, (6, 16)),
        ({"branches": ("frequency",)}, (5, 8, 8)),
        ({"branches": ("frequency", "spatial")}, SHAPE[::-1]),
        ({"fusion": False}, SHAPE),
        ({"neuron": "if"}, SHAPE),
        ({"components": 6, "maps": (5, 8, 8)}, (6 * 16 + 5 * 8 * 8,)),
    ],
)
def test_variants_learn(options, shape):
    """A step of the trainer changes the first weight of each branch and the last of all."""
    model = s2m_former(shape, 2, SMALL, **options)
    shapes = shape if isinstance(shape[0], tuple) else (shape,)
    x = tuple(drawn(T, 8, *each).float() for each in shapes)
    first = [next(branch.parameters()) for branch in model.parts[1].branches.values()]
    before = [p.clone() for p in (*first, model.parts[-1].dense.weight)]
    trainer = Trainer(model, "bptt", seed=0, health=Health(every=0))
    trainer.step(Batch(x if len(x) > 1 else x[0], torch.arange(8) % 2))
    after = (*first, model.parts[-1].dense.weight)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.offers == {"gradient", "features", "layers"}


def test_membranes_of_the_readout_are_not_taken_for_silent_neurons():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer = Trainer(s2m_former(SHAPE, 2, SMALL), "bptt", seed=0, health=Health(every=1))
        trainer.step(Batch(tuple(each.float() for each in views(2)), torch.arange(2)))
    found = [str(each.message) for each in said]
    assert any("cells is silent" in each for each in found)  # others are, in front of many channels
    assert not any("parts.6.cells" in each for each in found)


def test_traces_are_those_of_weights_in_front_of_neurons():
    run = lively()(views(), record=True)
    assert run.traces[-1].weight == "parts.6.dense.weight"
    assert torch.equal(run.traces[-1].post, run.output)
    found = {trace.weight: trace for trace in run.traces}
    names = set(lively().state_dict())
    assert set(found) <= names
    key = found["parts.2.branches.spatial.0.branch.2.sources.key.0.synapse.0.weight"]
    assert torch.equal(key.post, (key.u >= 0).double())


# --- what is refused ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: s2m_former(((6, 14), (5, 8, 8)), 2, SMALL),
            "14 tokens, heads=4: heads divide the tokens into blocks, so give a number .* such as 12, or heads=1",
        ),
        (lambda: s2m_former(((6, 16), (5, 6, 6)), 2, SMALL), "9 tokens, heads=4"),
        (lambda: attention(4)(torch.zeros(1, 1, 9, 6)), "6 tokens, heads=4"),
        (
            lambda: s2m_former(branches=("spatial", "spacial")),
            "unknown branch 'spacial'; nearest: 'spatial'; valid: sp",
        ),
        (lambda: s2m_former(branches=()), r"branches=\(\): give 'spatial', 'frequency' or both, each once"),
        (lambda: s2m_former(branches=("spatial", "spatial")), "each once"),
        (
            lambda: s2m_former((6, 16), branches=("frequency",)),
            r"shape=\(6, 16\): give \(bands, height, width\) for branches=\('frequency',\)",
        ),
        (lambda: s2m_former(((6, 16),)), r"give \(components, samples\) and \(bands, height, width\) for branches"),
        (
            lambda: s2m_former((5_150,)),
            r"shape=\(5150,\): behind maps=\(5, 32, 32\) 30 features stay, which are not samples of components=64",
        ),
        (lambda: s2m_former((5_120,)), "0 features stay"),
        (lambda: s2m_former(pool=2), "unknown pool '2'; .*valid: 3, 1"),
        (lambda: s2m_former(size="papers"), "unknown size 'papers'; nearest: 'paper'; valid: tiny, paper"),
        (
            lambda: lively()((drawn(T, B, 5, 16), drawn(T, B, 5, 8, 8))),
            r"inputs have shapes \(4, 3, 5, 16\) and .*; this model wants \[T, B, 6, 16\] and \[T, B, 5, 8, 8\], time",
        ),
        (lambda: lively()((drawn(T, B, 6, 16),)), r"inputs have shapes \(4, 3, 6, 16\); this model wants"),
        (
            lambda: lively()((drawn(T, B, 6, 16), drawn(T, B + 1, 5, 8, 8))),
            "give all as many steps and samples",
        ),
        (lambda: lively()(drawn(T, B, 50)), r"input has shape \(4, 3, 50\); this network wants \[T, B, 416\]"),
        (lambda: Segments({"a": [nn.Identity()]}, [4])(drawn(1, 1, 5)), "a signal of 5 does not divide into 4"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lively()({"spatial": 1}), r"input is a dict; this model wants a tuple of \[T, B, 6, 16\] and"),
        (lambda: lively()(tuple(each.int() for each in views())), "this network wants floating point"),
    ],
)
def test_mistaken_types_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()
