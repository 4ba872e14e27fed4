"""Models of text: attention and neurons as their formulas say, causality to the bit, streams, padding and mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Batch, Meter, Trainer, make
from rules.credit.bptt import BPTT
from rules.forward import run_model
from rules.objectives.readout import RateCrossEntropy
from rules.optional import offers
from sandbox import make_model, scan
from sandbox.inspection import operands
from sandbox.networks.language import Size
from sandbox.networks.models.bispikclm import bispikclm, lif_with_late_reset
from sandbox.networks.models.transformer import transformer
from sandbox.networks.models.winner_take_all import wd_spikingformer, we_spikingformer
from sandbox.networks.streamed import Streamed

L, B, V = 9, 3, 11
SMALL = Size(2, 16, 2, 2, context=16)
CAUSAL = {
    "bits": lambda **o: bispikclm((), V, SMALL, **o),
    "integers": lambda **o: bispikclm((), V, SMALL, form="integers", **o),
    "ilif": lambda **o: bispikclm((), V, SMALL, neuron="ilif", **o),
    "wta": lambda **o: wd_spikingformer((), V, SMALL, **o),
    "top_k": lambda **o: wd_spikingformer((), V, SMALL, attention="top_k", top=2, **o),
    "sparsemax": lambda **o: wd_spikingformer((), V, SMALL, attention="sparsemax", **o),
    "softmax": lambda **o: wd_spikingformer((), V, SMALL, attention="softmax", **o),
    "raw": lambda **o: wd_spikingformer((), V, SMALL, attention="raw", **o),
    "lif": lambda **o: wd_spikingformer(
        (), V, SMALL, neuron={"name": "lif", "options": {"tau_mem": 2.0}}, spike_steps=3, **o
    ),
    "transformer": lambda **o: transformer((), V, SMALL, **o),
}


def text(seed=0, steps=L):
    return torch.randint(V, (steps, B), generator=torch.Generator().manual_seed(seed))


def late_reset(current, beta, threshold):
    """U[t] = I[t] + beta U[t-1] - threshold S[t-1], as the spec writes it."""
    u = fired = np.zeros(current.shape[1:])
    spikes = []
    for now in current:
        u = now + beta * u - threshold * fired
        fired = (u >= threshold).astype(float)
        spikes.append(fired)
    return np.stack(spikes)


@settings(deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 0.95), st.floats(0.3, 2.0))
def test_the_reset_of_the_neuron_is_not_leaked(seed, beta, threshold):
    current = np.random.default_rng(seed).normal(0.4, 0.5, (12, 20))
    shown, _ = scan(lif_with_late_reset(beta, threshold), torch.tensor(current))
    np.testing.assert_array_equal(shown, late_reset(current, beta, threshold))


def reference(model, x):
    """A BiSpikCLM block by block in NumPy, by the equations of the docstring; its last block's attention, and scores."""
    p = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    steps, heads = model.spike_steps, model.blocks[0].attention.heads
    sn = lambda current: late_reset(current, 0.9, 0.7)  # noqa: E731
    dense = lambda z, name: z @ p[f"{name}.weight"].T + p[f"{name}.bias"]  # noqa: E731
    stream = np.stack([p["tokens.weight"][x] + p["places.weight"][: len(x), None]] * steps)  # [S, L, B, D]
    for number in range(len(model.blocks)):
        at = f"blocks.{number}"
        entered = sn(stream)
        q, k, v = (sn(dense(entered, f"{at}.attention.sources.{n}.0.synapse")) for n in ("query", "key", "value"))
        mixed = np.zeros_like(q)
        d = q.shape[-1] // heads
        for b in range(x.shape[1]):
            for h in range(heads):
                part = slice(h * d, (h + 1) * d)
                scores = q[:, :, b, part] @ k[:, :, b, part].transpose(0, 2, 1)
                assert scores.max() <= d
                fires = late_reset(np.tril(scores), 0.9, np.sqrt(d) / 2)
                mixed[:, :, b, part] = fires @ v[:, :, b, part]
        assert (mixed <= np.arange(1, len(x) + 1)[:, None, None]).all()
        last = len(model.blocks[number].attention.behind) - 1
        stream = stream + sn(dense(sn(mixed) if last else mixed, f"{at}.attention.behind.{last}.synapse"))
        inner = sn(dense(sn(stream), f"{at}.feed.1.synapse"))
        stream = stream + sn(dense(inner, f"{at}.feed.2.synapse"))
    mean = stream.mean(0)
    centred = (mean - mean.mean(-1, keepdims=True)) / np.sqrt(mean.var(-1, keepdims=True) + 1e-5)
    return (centred * p["norm.weight"] + p["norm.bias"]) @ p["tokens.weight"].T


@pytest.mark.parametrize("form", ["bits", "integers"])
def test_the_network_is_that_of_its_equations(form):
    model = bispikclm((), V, SMALL, form=form, seed=1).double()
    torch.testing.assert_close(model(text()).output, torch.tensor(reference(model, text().numpy())))


def test_attention_computes_with_bits_alone():
    found = {each.layer: each for each in operands(bispikclm((), V, SMALL), Batch(text()))}
    kinds = {
        name: [alphabet.kind for alphabet in each.alphabets] for name, each in found.items() if ".attention." in name
    }
    assert len(kinds) == 2 * 6  # three sources, two products and a projection in each block
    assert {kind for each in kinds.values() for kind in each} == {"binary"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CAUSAL)
def test_no_bit_depends_on_later_tokens(name, training):
    model = CAUSAL[name]().train(training)
    whole = model(text()).output
    for place in (1, 4, L - 1):
        changed = torch.cat([text()[:place], text(seed=1)[place:]])
        after = model(changed).output
        assert torch.equal(after[:place], whole[:place])
        assert not torch.equal(after[place:], whole[place:])


@pytest.mark.parametrize("name", CAUSAL)
def test_a_stream_says_what_the_whole_text_says(name):
    model = CAUSAL[name]().double()
    whole = model(text())
    first = model(text()[:4])
    rest = model(text()[4:], first.carry)
    torch.testing.assert_close(torch.cat([first.output, rest.output]), whole.output)
    torch.testing.assert_close(Streamed(model)(text()).output, whole.output)


def test_neurons_that_learn_are_no_code_for_numbers():
    model = bispikclm((), V, SMALL, neuron="plif")
    assert "code" not in model(text()).internals
    assert not [name for name, _ in model.named_parameters() if name.startswith("code")]
    assert "code" in CAUSAL["bits"]()(text()).internals


def test_raw_attention_remembers_one_matrix_a_head():
    model = CAUSAL["raw"]()
    run = model(text(steps=1))
    for _ in range(5):
        run = model(text(steps=1), run.carry)
    held = sum(part.numel() for part in run.carry.histories[0])
    assert held == 2 * B * 16 + B * 2 * 8 * 8  # one key, one value, and k' v of two heads


@pytest.mark.parametrize("name", [*CAUSAL, "encoder"])
def test_a_sample_does_not_depend_on_its_batch(name):
    model = (CAUSAL[name]() if name != "encoder" else we_spikingformer((), V, SMALL)).double()
    torch.testing.assert_close(model(text()[:, 1:2]).output, model(text()).output[:, 1:2])


@pytest.mark.parametrize("attention", ["wta", "top_k", "sparsemax", "softmax", "raw"])
def test_padding_changes_nothing_before_it(attention):
    model = we_spikingformer((), 4, SMALL, vocabulary=V, attention=attention).double()
    lengths = torch.tensor([L, 5, 2])
    padded = run_model(model, Batch(text(), lengths=lengths)).output
    for b, length in enumerate(lengths):
        alone = model(text()[:length, b : b + 1]).output[:, 0]
        torch.testing.assert_close(padded[:length, b], alone)


def test_the_encoder_sees_the_whole_text_and_cannot_be_continued():
    model = we_spikingformer((), V, SMALL)
    changed = torch.cat([text()[:-1], text(seed=1)[-1:]])
    assert not torch.equal(model(changed).output[0], model(text()).output[0])
    assert "carry" not in offers(model)
    with pytest.raises(ValueError, match="TokenModel cannot be run step by step"):
        Streamed(model)


@pytest.mark.parametrize("name", [name for name in CAUSAL if name != "ilif"])  # whose attention begins saturated
def test_gradients_reach_every_parameter(name):
    model = CAUSAL[name]()
    x = text()
    torch.nn.functional.cross_entropy(model(x[:-1]).output.flatten(0, 1), x[1:].flatten()).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]


@pytest.mark.parametrize("name", ["bits", "wta", "raw"])
def test_pieces_of_a_text_have_the_gradient_of_the_whole(name):
    model = CAUSAL[name]().double()
    batch = Batch(text()[:-1], targets=text()[1:])
    rng = torch.Generator()
    whole, pieces = (
        BPTT(checkpoint=size).assign(model, RateCrossEntropy(), batch, (), rng).grads for size in (None, 3)
    )
    for parameter, grad in whole.items():
        torch.testing.assert_close(pieces[parameter], grad)


def test_the_teacher_has_the_weights_of_opt():
    with torch.device("meta"):
        count = sum(p.numel() for p in make_model("transformer", "opt-125m").parameters())
    wide, inside, blocks = 768, 3072, 12
    one = 4 * (wide**2 + wide) + 2 * wide * inside + inside + wide + 4 * wide
    assert count == 50_272 * wide + 2_050 * wide + blocks * one + 2 * wide == 125_239_296


def test_the_cost_of_a_stream_is_that_of_the_tokens_so_far():
    model = CAUSAL["bits"]()
    counts = []
    for shown in (model, Streamed(model)):
        with Meter(shown) as meter:
            shown(text())
        counts.append(meter.cost(1, 0).synaptic_operations)
    apart = 2 * 2 * 4 * B * 16 * (L * L - L * (L + 1) // 2)  # blocks, products, spike steps, samples, channels, pairs
    assert counts[0] - counts[1] == apart


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bispikclm((3,), V), r"shape=\(3,\): this model takes tokens \[L, B\], whole numbers, so give \(\)"),
        (lambda: wd_spikingformer((), 1), "classes=1: give the number of tokens, at least 2"),
        (lambda: bispikclm((), V, form="bit"), "unknown form 'bit'; nearest: 'bits'"),
        (lambda: bispikclm((), V, attention_threshold=0.0), "attention_threshold=0.0: give a number of common spikes"),
        (lambda: wd_spikingformer((), V, attention="hard"), "unknown attention 'hard'; valid: wta, top_k, sparsemax"),
        (lambda: wd_spikingformer((), V, "huge"), "unknown size 'huge'"),
        (lambda: lif_with_late_reset(beta=1.0), "beta=1.0: give the share of the membrane that is kept"),
        (lambda: Size(1, 10, 3), "width=10, heads=3: give a width that is a multiple of the heads"),
        (lambda: Size(0, 8, 2), "depth=0: give a whole number, at least 1"),
        (lambda: bispikclm((), V, spike_steps=0), "spike_steps=0: give a whole number, at least 1"),
        (
            lambda: CAUSAL["bits"]()(torch.zeros(17, 1, dtype=torch.int64)),
            "17 tokens, and this model has places for 16: give shorter texts, or build it with context=17",
        ),
        (lambda: CAUSAL["wta"]()(torch.full((2, 1), V)), "tokens run from 11 to 11, and this model knows 0 to 10"),
        (
            lambda: CAUSAL["wta"]()(torch.zeros(2, dtype=torch.int64)),
            r"input has shape \(2,\); this model takes tokens",
        ),
        (lambda: CAUSAL["wta"]()(torch.zeros(0, 1, dtype=torch.int64)), r"input has shape \(0, 1\)"),
        (
            lambda: we_spikingformer((), V, SMALL)(text(), lengths=torch.tensor([0, 1, 2])),
            "lengths begin at 0: a text in which everything is padding",
        ),
    ],
)
def test_what_cannot_be_text_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["bits", "wta", "transformer"])
def test_tokens_of_another_type_are_refused(name):
    model = CAUSAL[name]()
    for kind in (torch.uint8, torch.int16, torch.bool, torch.float64, torch.complex64):
        with pytest.raises(
            TypeError, match=rf"input is {kind}; this model takes tokens .* in torch.int64 or torch.int32$"
        ):
            model(text().to(kind))
    with pytest.raises(TypeError, match=r"input is list; this model takes tokens \[L, B\]"):
        model(text().tolist())
    torch.testing.assert_close(model(text().int()).output, model(text()).output)


def test_bytes_that_were_scaled_as_pictures_are_named():
    """A trainer divides uint8 by 255 before a model sees it."""
    trainer = Trainer(CAUSAL["bits"](), make("bptt", objective="ce_rate"), health=None)
    message = r"input is torch.float32; .* where it was torch.uint8, it has been divided by 255, as pictures are"
    with pytest.raises(TypeError, match=message):
        trainer.step(Batch(text().byte(), targets=text()))
    with pytest.raises(ValueError, match=r"uint8 is divided by 255, .* x.float\(\), and tokens as x.long\(\)"):
        trainer.step(Batch((text() > 3).byte(), targets=text()))


def test_numbers_with_a_fraction_are_no_tokens():
    with pytest.raises(TypeError, match="input is torch.float32; this model takes tokens"):
        CAUSAL["bits"]()(torch.rand(3, 2))
