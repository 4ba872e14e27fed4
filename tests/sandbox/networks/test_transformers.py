"""Spiking transformers: what their weights see, what blocks are, causality, samples, energy, and what learning does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from rules.metering import pairs
from rules.synapses import counted
from sandbox import NEURONS, make_model
from sandbox.ledger.energy import inference
from sandbox.networks.attention import Attention, SaccadicGate, SelfAttention
from sandbox.networks.feed_forward import GroupMean, Repeated
from sandbox.networks.models.qkformer import qkformer
from sandbox.networks.models.snn_vit import snn_vit
from sandbox.networks.models.spikformer import Size, spikformer
from sandbox.networks.models.spikingformer import spikingformer, spikingformer_cml
from sandbox.networks.models.svformer import svformer
from sandbox.networks.network import Layer
from sandbox.networks.over_time import TimeNorm
from sandbox.networks.parts import Joined, Stack
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
    "spikformer": lambda: spikformer(SHAPE, 10),
    "spikformer cml": lambda: spikformer(SHAPE, 10, cml=True, bias=True),
    "spikingformer": lambda: spikingformer(SHAPE, 10),
    "spikingformer each": lambda: spikingformer(SHAPE, 10, around="each"),
    "spikingformer_cml": lambda: spikingformer_cml(SHAPE, 10),
    "qkformer": lambda: qkformer(SHAPE, 10),
    "qkformer channel": lambda: qkformer(SHAPE, 10, gate="channel"),
    "snn_vit": lambda: snn_vit(SHAPE, 10),
    "snn_vit 1": lambda: snn_vit(SHAPE, 10, version="1"),
}
WHOLE = {"svformer": lambda: svformer(SHAPE, 10)}
EVERY = CAUSAL | WHOLE
PLAIN = ("spikformer", "spikingformer", "spikingformer_cml", "qkformer", "snn_vit", "svformer")
BITS = {0.0, 1.0}


def awake(name):
    """Return a lively model; where three sums of currents follow each other, with lower offsets, or all neurons fire."""
    return lively(EVERY[name](), low=0.2 if name == "spikingformer each" else 0.4)


def firing(model):
    """Let every neuron fire at every step: offsets of normalisations are large."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.constant_(module.bias, 50.0)
    return model.eval()


# --- what holds for every model ---


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_learns_from_the_loss(name):
    assert require_finite_gradients(EVERY[name]()).shape == ((T if name in CAUSAL else 1), B, 10)


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


@pytest.mark.parametrize("name", EVERY)
def test_without_input_and_offsets_nothing_fires(name):
    require_silence(EVERY[name]())


@pytest.mark.parametrize("name", ["spikformer", "spikingformer", "qkformer"])
def test_an_input_that_is_constant_in_time_gives_what_its_copies_give(name):
    model, x = lively(CAUSAL[name]()).double(), drawn(1, B, *SHAPE, seed=1).double().expand(T, B, *SHAPE)
    torch.testing.assert_close(model(x).output, model(x.contiguous()).output)


@pytest.mark.parametrize("name", EVERY)
def test_all_neurons_of_a_lively_model_fire_and_rest(name):
    """So that the tests of what weights see are of signals that vary."""
    model, rates = awake(name), {}
    for where, module in model.named_modules():
        if isinstance(module, Population):
            module.register_forward_hook(lambda _, inputs, out, where=where: rates.update({where: out[0].mean()}))
    model(drawn(T, 16, *SHAPE))
    assert [where for where, rate in rates.items() if not 0 < rate < 1] == []


# --- what weights see ---


def test_weights_of_spikformer_see_integers_up_to_two_more_with_each_block():
    """All neurons fire: 2 behind the embedding, 2 + 2 l behind block l, and 17 in front of the last of 8 parts."""
    model = firing(spikformer((1, 8, 8), 10, Size(8, 16, 2, (False, False, True, True))))
    x = drawn(T, B, *SHAPE)
    tops = [out.max() for out in outputs(model, x, Joined).values()]
    assert tops == [2.0, *range(3, 19)]
    values = seen(model, x)
    assert max(values["parts.22.branch.0.synapse.0"]) == 17
    assert "parts.23.module.2" not in values  # the read-out is dense, and no convolution comes later


@pytest.mark.parametrize("name", ["spikformer", "spikformer cml", "qkformer", "qkformer channel"])
def test_weights_of_models_that_add_spikes_see_integers(name):
    first, *others = seen(awake(name), drawn(T, B, *SHAPE)).values()
    assert not first <= {float(n) for n in range(9)}
    assert set().union(*others) <= {float(n) for n in range(9)}
    assert max(set().union(*others)) > 1


@pytest.mark.parametrize(
    ("name", "graded"),
    [("spikingformer", 1), ("spikingformer_cml", 1), ("spikingformer each", 1), ("snn_vit", 2), ("snn_vit 1", 2)],
)
def test_weights_of_models_that_add_currents_see_bits_but_for_the_first(name, graded):
    """Of the first stage of SNN-ViT there are two convolutions."""
    values = list(seen(awake(name), drawn(T, B, *SHAPE)).values())
    assert all(len(each) > 2 for each in values[:graded])
    assert all(each == BITS for each in values[graded:])


def test_without_the_neuron_in_front_queries_would_see_numbers():
    """The test above is able to fail."""
    model = awake("spikingformer")
    block = next(part for part in model.parts if isinstance(part, Joined))
    block.branch = block.branch[1:]
    values = seen(model, drawn(T, B, *SHAPE))
    assert any(len(each) > 2 for name, each in values.items() if "query" in name)


def test_weights_of_svformer_see_bits_but_for_those_behind_others():
    model = awake("svformer")
    values = seen(model, drawn(T, B, *SHAPE))
    graded = {name for name, each in values.items() if not each <= BITS}
    inner = {name for name in values if name.endswith(("branch.1.module.1", "branch.1.module.2"))}
    assert graded == {"parts.0.module", *inner, next(name for name in values if name.endswith("shortcut.1.module.1"))}
    assert len(inner) == 4
    assert sum(isinstance(module, Population) for module in model.modules()) == 25
    with torch.device("meta"):
        large = make_model("svformer", "ucf101")
    assert sum(isinstance(module, Population) for module in large.modules()) == 39


def test_sums_of_qkformer_are_bounded():
    """Of the size for large images: 2 behind each embedding; 4, 6 and 16 behind the stages; branches put out bits."""
    from sandbox.networks.models.qkformer import Size as Stages

    model = firing(qkformer((1, 32, 32), 10, Stages((16, 32, 64), (1, 2, 7), 2, scale=1.0, pools_early=True)))
    tops = [float(out.max()) for out in outputs(model, drawn(2, 1, 1, 32, 32), Joined).values()]
    assert tops == [2, 3, 4, 2, 3, 4, 5, 6, 2, *range(3, 17)]
    tiny = lively(qkformer(SHAPE, 10))
    for kind in (Attention, Layer):
        assert all(set(out.unique().tolist()) <= BITS for out in outputs(tiny, drawn(T, B, *SHAPE), kind).values())


# --- blocks ---


@pytest.mark.parametrize("name", ["spikingformer", "spikingformer each"])
def test_blocks_with_inert_ends_are_the_identity(name):
    """Of a feed-forward part with inner shortcuts, both matrices are its ends: the mean undoes the repetition."""
    model = lively(EVERY[name]())
    blocks = [part for part in model.parts if isinstance(part, Joined)]
    for block in blocks:
        ends = [inner.branch[-1] for inner in block.branch if isinstance(inner, Joined)] or [block.branch[-1]]
        if name.endswith("each") and block is not blocks[0] and len(ends) == 2:
            block.branch[1].shortcut[0].module = nn.Sequential(block.branch[1].shortcut[0].module, Nothing())
        for end in ends:
            nn.init.zeros_(end.module[1].weight)
            nn.init.zeros_(end.module[1].bias)
    x = drawn(T, B, 32, 2, 2)
    for block in blocks:
        assert torch.equal(block.run(x).output, x)


class Nothing(nn.Module):
    """Zero, so that the inner shortcut adds nothing."""

    def forward(self, x):
        return torch.zeros_like(x)


def test_repetition_is_undone_by_means_of_groups():
    x = drawn(2, 3, 4, 4)
    assert torch.equal(Repeated(4)(x)[:, 3:6], x)
    assert torch.equal(GroupMean(4)(Repeated(4)(x)), x)
    assert torch.allclose(GroupMean(2)(drawn(2, 6, 1, 1)), (drawn(2, 6, 1, 1)[:, :3] + drawn(2, 6, 1, 1)[:, 3:]) / 2)


@pytest.mark.parametrize("name", ["spikformer", "spikingformer", "snn_vit"])
def test_blocks_do_not_depend_on_the_order_of_tokens(name):
    model = lively(EVERY[name]()).double()
    blocks = [part for part in model.parts if isinstance(part, Joined)][-4:]
    x = (drawn(T, B, 32, 1, 9) * 3).round().double()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    for block in blocks:
        torch.testing.assert_close(block.run(x[..., order]).output, block.run(x).output[..., order])


def test_weights_of_spikformer_fit_into_spikingformer_and_the_outputs_differ():
    one, two = lively(spikformer(SHAPE, 10)), lively(spikingformer(SHAPE, 10))
    shapes = [sorted(tuple(p.shape) for p in model.parameters()) for model in (one, two)]
    assert shapes[0] == shapes[1]
    groups = [
        [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))] for model in (one, two)
    ]
    for a, b in zip(*groups, strict=True):
        b.load_state_dict(a.state_dict())
    x = drawn(T, B, *SHAPE, seed=1)
    assert not torch.allclose(one(x).output, two(x).output)


@pytest.mark.parametrize("order", ["qk", "cheaper"])
def test_the_order_of_products_changes_nothing(order):
    one, two = (lively(spikformer(SHAPE, 10, order=each)) for each in ("kv", order))
    x = drawn(T, B, *SHAPE, seed=1)
    assert torch.equal(one(x).output, two(x).output)


@pytest.mark.parametrize("version", ["1", "2"])
def test_new_saccadic_attention_looks_where_a_head_has_fired_now(version):
    """The matrix over time is the identity, and the threshold one spike; with keys, one that any token has answered."""
    model, gates = snn_vit(SHAPE, 10, version=version), 0
    for gate in (module for module in model.modules() if isinstance(module, SaccadicGate)):
        q, v, k = ((drawn(T, B, 4, 8, 5, seed=seed) < 0.1).float() for seed in range(3))
        signals = (q, v) if version == "2" else (q, v, k)
        fired = gate.cells(gate.drive * gate.currents(*signals))[0]
        wanted = (q.sum(3, keepdim=True) > 0) & ((k.sum((3, 4), keepdim=True) > 0) | (version == "2"))
        assert torch.equal(fired, wanted.float())
        gates += 1
    assert gates == 2


def test_later_frames_have_weights_of_their_own_and_the_body_of_svformer_is_causal():
    model, x = lively(svformer(SHAPE, 10)), drawn(T, B, *SHAPE, seed=1)
    for module in model.modules():
        if isinstance(module, TimeNorm):
            nn.init.uniform_(module.norm.bias, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model(x).output, model(x.flip(0)).output)
    body = Stack(list(model.parts)[:-1], SHAPE).eval()
    other = x.clone()
    other[2:] = drawn(2, B, *SHAPE, seed=2)
    assert torch.equal(body(x).output[:2], body(other).output[:2])
    assert "carry" not in model.offers
    assert "sees the whole sequence at once" in model.lacks["carry"]


def test_parameters_of_svformer_are_affine_in_its_steps():
    with torch.device("meta"):
        for steps in (1, 8):
            model = make_model("svformer", "ucf101", steps=steps)
            assert sum(p.numel() for p in model.parameters()) == 130_304 * steps + 11_716_748


# --- neurons ---


@pytest.mark.parametrize("neuron", ["lif", "plif", "ilif", "sliding_psn", "izhikevich", "cplif", "glif"])
def test_models_take_any_neuron(neuron):
    model = spikingformer(SHAPE, 10, neuron=neuron)
    kinds = {type(module.neuron) for module in model.modules() if isinstance(module, Population)}
    assert kinds == {NEURONS[neuron]}
    require_finite_gradients(model)


def test_neurons_that_see_whole_sequences_take_the_carry_away_and_follow_the_seed():
    given = {"name": "psn", "options": {"steps": T}}
    one, two, other = (qkformer(SHAPE, 10, neuron=given, seed=seed) for seed in (1, 1, 2))
    assert "carry" not in one.offers
    learned = [next(p for n, p in m.named_parameters() if "learned.values.weight" in n) for m in (one, two, other)]
    assert torch.equal(learned[0], learned[1])
    assert not torch.equal(learned[0], learned[2])


# --- energy ---


def test_operations_and_energy_of_a_published_size():
    """Spikingformer-8-512 at 224 x 224 and four steps: operations and energy from the log of the authors' tool."""
    rows = {}
    with torch.device("meta"):
        model = spikingformer((3, 224, 224), 1000, Size(1, 512, 8)).eval()
        for name, module in counted(model).items():
            module.register_forward_hook(lambda m, i, o, name=name: rows.update({name: pairs(m, i, o)}))
        model(torch.zeros(4, 1, 3, 224, 224))
    operations = list(rows.values())
    head = operations.pop() // 4 + 1000  # the log counts it once, behind the mean over time, and its biases
    assert operations[:2] == [346_816_512, 3_699_376_128]
    assert head == 513_000
    assert {count for name, count in rows.items() if name.endswith(("inner", "outer"))} == {25_690_112}
    works = [
        rules.diagnostics.work.Work("first", 0, operations[0] + head, 0, 1.0),
        rules.diagnostics.work.Work("others", 0, 0, 6.51754094076244e9, 0.2),
    ]
    assert inference(works) * 1e-9 == pytest.approx(7.463502601886196, rel=1e-12)


def test_operations_of_attention_are_accumulations():
    """One factor of each product is binary; the other, queries aside, a count."""
    model = lively(spikingformer(SHAPE, 10))
    found = {each.layer: each for each in rules.diagnostics.work.work(model, drawn(T, B, *SHAPE))}
    products = [each for name, each in found.items() if name.endswith(("inner", "outer"))]
    assert len(products) == 4
    assert all(each.multiplied == 0 < each.accumulated < each.dense for each in products)


def test_self_attention_of_the_order_that_is_asked_for():
    found = [m.order for m in spikformer(SHAPE, 10, order="qk").modules() if isinstance(m, SelfAttention)]
    assert found == ["qk", "qk"]
