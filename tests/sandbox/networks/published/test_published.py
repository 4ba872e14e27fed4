"""Spiking transformers against their authors' code: outputs and gradients with the same weights, and names of weights.

`record.py` has run the code, whose text is not used here, and kept logits and norms of gradients in float64. The weights
are those of `formula.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import rules
from sandbox import make_model
from sandbox.networks.models import (
    qkformer,
    s2m_former,
    spikcommander,
    spikescr,
    spikformer,
    spikingformer,
    spikingformer_cml,
    svformer,
)
from sandbox.networks.models.qkformer import Size as Stages
from sandbox.networks.models.s2m_former import Size as Tokens
from sandbox.networks.models.spikcommander import Size as Views
from sandbox.networks.models.spikescr import Size as Steps
from sandbox.networks.models.spikformer import Size
from sandbox.networks.models.svformer import Size as Frames
from sandbox.networks.published_weights import load_published, published_names
from tests.sandbox.networks.published.formula import given, tensors

HERE = Path(__file__).parent
LARGE, EVENTS = Size(2, 64, 4), Size(2, 32, 4)
SMALL = Size(2, 32, 4, (False, False, True, True))
DENSE = Size(2, 32, 4, (False, False, True, True), bias=True)
CASES = {
    "spikingformer_imagenet": lambda shape: spikingformer(shape, 10, LARGE),
    "spikingformer_cifar10": lambda shape: spikingformer(shape, 10, SMALL),
    "spikingformer_dvs": lambda shape: spikingformer(shape, 10, Size(2, 32, 4, tau_mem=1.5)),
    "cml_imagenet": lambda shape: spikingformer_cml(shape, 10, LARGE),
    "cml_cifar10": lambda shape: spikingformer_cml(shape, 10, SMALL),
    "cml_dvs": lambda shape: spikingformer_cml(shape, 10, Size(2, 32, 4, tau_mem=1.75)),
    "cml_spikformer_cifar10": lambda shape: spikformer(shape, 10, DENSE, cml=True),
    "spikformer_imagenet": lambda shape: spikformer(shape, 10, LARGE),
    "spikformer_cifar10": lambda shape: spikformer(shape, 10, DENSE),
    "spikformer_dvs": lambda shape: spikformer(shape, 10, Size(2, 32, 4, scale=0.25)),
    "qkformer_imagenet": lambda shape: qkformer(shape, 10, Stages((16, 32, 64), (1, 2, 1), 4, pools_early=True)),
    "qkformer_cifar10": lambda shape: qkformer(shape, 10, Stages((16, 32, 64), (1, 1, 2), 8, "small")),
    "svformer": lambda shape: svformer(shape, 10, Frames((16, 24, 32, 48), (1, 1, 2, 1), head=8, scale=8**-0.5), 4),
    "qkformer_dvs": lambda shape: qkformer(shape, 10, Stages((64, 128), (1, 1), 16, "events", ratio=1)),
}
SPEECH = {
    "spikescr_shd": lambda shape: spikescr(shape, 5, Steps(1, 16, 2, 1, 7)),
    "spikescr_ssc": lambda shape: spikescr(shape, 5, Steps(2, 16, 2, 4, 7)),
    "spikcommander_shd": lambda shape: spikcommander(shape, 5, Views(1, 16, 2, 1, (9, 1), True, 3, 7)),
    "spikcommander_ssc": lambda shape: spikcommander(shape, 5, Views(2, 16, 2, 4, (7, 1), False, 3, 7)),
    "spikcommander_gsc": lambda shape: spikcommander(shape, 5, Views(1, 16, 2, 4, (9, 3), False, 3, 7)),
}
EEG = {
    "s2m_former_1s": lambda shape: s2m_former(shape, 2, Tokens(8, 32, 4)),
    "s2m_former_short": lambda shape: s2m_former(shape, 2, Tokens(8, 32, 2), pool=1),
}
WHOLE = {
    "spikingformer_4_256": lambda shape: make_model("spikingformer", "4-256"),
    "qkformer_4_384": lambda shape: make_model("qkformer", "4-384"),
}

REPOSITORIES = (
    *("Spikingformer", "Spikingformer-CML", "spikformer", "QKFormer", "SVFormer"),
    *("SpikeSCR", "SCommander", "S2M-Former"),
)


def family(name):
    return name.split("_")[0].replace("cml", "spikformer" if "spikformer" in name else "spikingformer")


def recorded(name):
    """What was recorded, the weights and the input `[T, B, ...]` of a case."""
    with np.load(HERE / f"{name}.npz") as file:
        found = {key: file[key] for key in file.files}
    facts = json.loads(str(found["facts"]))
    x = given(facts["input"], facts["seed"])
    if x.ndim == 3:
        x = x.transpose(0, 1)
    elif x.ndim == 4:
        x = x.expand(facts["arguments"].get("T", 4), *x.shape)
    else:
        x = x.movedim(2, 0) if name == "svformer" else x.transpose(0, 1)
    return found, tensors(facts["shapes"], facts["seed"]), x


@pytest.mark.parametrize("name", [*CASES, *SPEECH, *(pytest.param(name, marks=pytest.mark.slow) for name in WHOLE)])
def test_outputs_and_gradients_are_those_of_the_authors_code(name):
    """In float64, where no spike depends on rounding; theirs sample by sample, ours as one batch.

    Of models of speech at every step, of the others on average over time.
    """
    found, state, x = recorded(name)
    model = (CASES | SPEECH | WHOLE)[name](tuple(x.shape[2:])).double().eval()
    load_published(model, family(name), state)
    batch = rules.Batch(x, torch.arange(x.shape[1]))
    output = model(x).output
    logits = output if name in SPEECH else output.mean(0)
    assert torch.equal(logits.argmax(-1), torch.from_numpy(found["logits"]).argmax(-1))
    np.testing.assert_allclose(logits.detach(), found["logits"], atol=1e-10)
    grads = (
        rules.BPTT(detach_reset=True).assign(model, rules.OBJECTIVES["ce_mean"](), batch, (), torch.Generator()).grads
    )
    ours = published_names(model, family(name), state)
    norms = [norm(grads, ours, theirs) for theirs in found["names"]]
    np.testing.assert_allclose(norms, found["slopes"], rtol=1e-8, atol=1e-14)
    assert len(grads) == len(norms) + 2 * sum("attn.qkv" in each or "attn.norm1" in each for each in found["names"])


def norm(grads, ours, theirs):
    """The norm of the gradient of a tensor of the authors; of time constants, `raw` is minus their `w`."""
    prefix, _, part = theirs.rpartition(".")
    several = prefix.endswith(("attn.qkv", "attn.norm1"))
    names = (
        [f"{prefix}[{n}].{part}" for n in range(3)] if several else [f"{prefix}.raw.tau_mem" if part == "w" else theirs]
    )
    return float(torch.cat([grads[ours[name]].flatten() for name in names]).norm())


@pytest.mark.parametrize("name", EEG)
def test_outputs_and_gradients_of_two_views_are_those_of_the_authors_code(name):
    """In float64; theirs with attention in blocks of tokens, and without rotary embedding (`record_eeg.py`)."""
    with np.load(HERE / f"{name}.npz") as file:
        found = {key: file[key] for key in file.files}
    facts = json.loads(str(found["facts"]))
    state = tensors(facts["shapes"], facts["seed"])
    x = tuple(given(view, facts["seed"]).expand(facts["arguments"]["ts"], *view) for view in facts["input"])
    model = EEG[name](tuple(tuple(each.shape[2:]) for each in x)).double().eval()
    load_published(model, "s2m_former", state)
    np.testing.assert_allclose(model(x).output[0].detach(), found["logits"], atol=1e-10)
    batch, rule = rules.Batch(x, torch.arange(len(found["logits"])) % 2), rules.BPTT(detach_reset=True)
    grads = rule.assign(model, rules.OBJECTIVES["ce_mean"](), batch, (), torch.Generator()).grads
    ours = published_names(model, "s2m_former", state)
    theirs = [each if each in ours else each.replace(".bias", ".values.bias") for each in found["names"]]
    theirs = [f"{each[:-2]}.values.weight" if each.endswith(".w") else each for each in theirs]
    norms = [float(grads[ours[each]].norm()) for each in theirs]
    np.testing.assert_allclose(norms, found["slopes"], rtol=1e-8, atol=1e-14)
    assert len(grads) == len(norms) == 159


def test_recordings_are_small_and_say_where_they_are_from():
    for path in HERE.glob("*.npz"):
        assert path.stat().st_size < 100_000
        facts = json.loads(str(np.load(path)["facts"]))
        assert len(facts["commit"]) == 40
        assert facts["repository"] in REPOSITORIES


def test_names_are_mapped():
    _, state, x = recorded("qkformer_cifar10")
    names = published_names(CASES["qkformer_cifar10"](tuple(x.shape[2:])), "qkformer", state)
    assert names["patch_embed1.proj_conv.weight"] == "parts.0.synapse.0.weight"
    assert names["patch_embed1.proj_res_bn.running_var"] == "parts.1.shortcut.0.synapse.1.running_var"
    assert names["stage3.1.ssa.v_conv.weight"] == "parts.10.branch.0.sources.value.0.synapse.0.weight"
    assert len(names) == len(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("block.0.attn.k_bn.running_mean"),
            "published weights lack block.0.attn.k_bn.running_mean, for parts.11.branch.1.sources.key.0.synapse.1.",
        ),
        (
            lambda state: state.pop("block.0.attn.k_conv.weight"),
            "published weights lack block.0.attn.k_conv or block.0.attn.k_linear, for parts.11.branch.1.sources.key",
        ),
        (
            lambda state: state.update({"block.1.mlp.mlp1_conv.weight": torch.zeros(64, 32, 1, 1)}),
            r"block.1.mlp.mlp1_conv.weight of the published weights has shape \(64, 32, 1, 1\), and parts.14",
        ),
        (
            lambda state: state.update({"head.weight": torch.zeros(5, 32)}),
            r"head.weight of the published weights has shape \(5, 32\), and parts.15.module.2.weight of the model \(10, 32\)",
        ),
        (
            lambda state: state.update({"block.0.attn.gate.weight": torch.zeros(1)}),
            "the model has nothing for block.0.attn.gate.weight of the published weights: see its options",
        ),
        (
            lambda state: state.update({"block.2.attn.q_conv.weight": torch.zeros(1)}),
            "the names of the family 'spikingformer' in these .* tensors are those of a model of 47 convolutions, "
            "normalisations and dense layers, and this model has 35: build it with the size that they are of",
        ),
    ],
)
def test_the_first_mismatch_is_named_and_nothing_is_changed(change, message):
    _, state, x = recorded("spikingformer_cifar10")
    model = CASES["spikingformer_cifar10"](tuple(x.shape[2:]))
    before = [p.clone() for p in model.parameters()]
    change(state)
    with pytest.raises(ValueError, match=message):
        load_published(model, "spikingformer", state)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("wrapped", "message"),
    [
        (lambda state: {"model": state, "epoch": 3}, "'model' is not a tensor but a dict: give what is under 'model'"),
        (lambda state: {"epoch": 3}, "'epoch' is not a tensor but a int: give the tensors alone"),
        (
            lambda state: state | {"head.weight": state["head.weight"].to(torch.int8)},
            "head.weight has dtype torch.int8",
        ),
        (
            lambda state: state | {"head.weight": state["head.weight"] * torch.nan},
            "head.weight holds NaN or infinities",
        ),
        (lambda state: state | {"head.weight": state["head.weight"].to_sparse()}, "head.weight is a torch.sparse_coo"),
        (lambda state: state | {"head.weight": state["head.weight"].to("meta")}, "on meta: give dense ones"),
        (lambda state: {}, "there are no weights: give the tensors by the authors' names"),
        (lambda state: {"net." + name: each for name, each in state.items()}, "the first name here is 'net."),
    ],
)
def test_files_hold_weights_in_other_ways(wrapped, message):
    _, state, x = recorded("spikingformer_cifar10")
    model = CASES["spikingformer_cifar10"](tuple(x.shape[2:]))
    with pytest.raises(ValueError, match=message):
        load_published(model, "spikingformer", wrapped(state))
    load_published(model, "spikingformer", {"module." + name: each for name, each in state.items()})
    assert torch.equal(model.parts[-1].module[2].weight, state["head.weight"].float())


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match="unknown family of published weights 'qkforme'; nearest: 'qkformer'"):
        load_published(make_model("qkformer"), "qkforme", {})


def test_dense_projections_need_biases():
    _, state, x = recorded("spikformer_cifar10")
    with pytest.raises(ValueError, match="the model has nothing for block.0.attn.k_linear.bias .*: see its options"):
        load_published(spikformer(tuple(x.shape[2:]), 10, SMALL), "spikformer", state)


def test_checkpoints_of_spikcommander_have_other_names_than_its_code():
    """The names of `spikcommder.py`, and those of the files under `checkpoints` of the same repository."""
    _, state, x = recorded("spikcommander_ssc")
    models = [SPEECH["spikcommander_ssc"](tuple(x.shape[2:])).double().eval() for _ in range(2)]
    older = {name.replace("see.", "spike_embed.").replace(".scrmlp.", ".mlp."): each for name, each in state.items()}
    assert not any("see" in name or "scrmlp" in name for name in older)
    for model, named in zip(models, (state, older), strict=True):
        load_published(model, "spikcommander", named)
    assert torch.equal(models[0](x).output, models[1](x).output)


def test_rates_of_rotations_are_not_copied_and_have_to_be_ours():
    """As `rotary-embedding-torch` saves them: `1 / 10000^(2 i / d)` for d = 8 channels of a head."""
    _, state, x = recorded("spikescr_ssc")
    model = SPEECH["spikescr_ssc"](tuple(x.shape[2:]))
    rates = torch.tensor([1.0, 0.1, 0.01, 0.001])
    names = [f"blocks.{block}.attn.rotary_emb.freqs" for block in range(2)]
    load_published(model, "spikescr", state | dict.fromkeys(names, rates))
    assert len(published_names(model, "spikescr", state | dict.fromkeys(names, rates))) == len(state)
    with pytest.raises(
        ValueError, match=r"blocks.1.attn.rotary_emb.freqs of .* is \[2.0, 0.2.*turns pairs .*\[1.0, 0.1"
    ):
        load_published(model, "spikescr", state | {names[0]: rates, names[1]: 2 * rates})


@pytest.mark.parametrize("name", ["spikescr_shd", "spikcommander_shd"])
def test_models_of_speech_are_loaded_whole_or_not_at_all(name):
    _, state, x = recorded(name)
    model = SPEECH[name](tuple(x.shape[2:]))
    with pytest.raises(ValueError, match=r"published weights lack blocks.0.attn.k_conv, for parts.\d.branch.*key"):
        load_published(
            model, family(name), {each: t for each, t in state.items() if each != "blocks.0.attn.k_conv.weight"}
        )
    with pytest.raises(ValueError, match="the model has nothing for blocks.0.gate of the published weights"):
        load_published(model, family(name), state | {"blocks.0.gate": torch.zeros(1)})
    with pytest.raises(ValueError, match="and this model has .*: build it with the size that they are of"):
        load_published(SPEECH[name.replace("shd", "ssc")](tuple(x.shape[2:])), family(name), state)
