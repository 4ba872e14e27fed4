"""Models by name and size: numbers of parameters as published, what is assumed where nothing is given, and mistakes."""

from __future__ import annotations

import pytest
import torch

from sandbox import make_model
from sandbox.networks.inputs import features
from sandbox.networks.models import MODELS
from sandbox.networks.models.published import PUBLISHED
from sandbox.networks.models.qkformer import Size as Stages
from sandbox.networks.models.qkformer import qkformer
from sandbox.networks.models.spikformer import Size, spikformer
from tests.sandbox.networks.deep import SHAPE, B, T, drawn

TRANSFORMERS = ("spikformer", "spikingformer", "spikingformer_cml", "qkformer", "snn_vit", "svformer")
IMAGE, FRAME, VIDEO = (3, 224, 224), (2, 128, 128), (3, 224, 224)


def parameters(*args, **options):
    with torch.device("meta"):
        return sum(p.numel() for p in make_model(*args, **options).parameters())


@pytest.mark.parametrize(
    ("count", "name", "size", "options"),
    [  # papers, logs of the authors, and counts of their code
        (16_816_024, "spikformer", "8-384", {}),
        (29_689_384, "spikformer", "8-512", {}),
        (66_338_632, "spikformer", "8-768", {}),
        (4_155_178, "spikformer", "4-256", {}),
        (4_152_106, "spikformer", "4-256", {"bias": False}),
        (5_765_050, "spikformer", "2-384", {}),
        (5_762_746, "spikformer", "2-384", {"bias": False}),
        (9_324_730, "spikformer", "4-384", {}),
        (9_320_122, "spikformer", "4-384", {"bias": False}),
        (9_359_380, "spikformer", "4-384", {"classes": 100}),
        (9_354_772, "spikformer", "4-384", {"classes": 100, "bias": False}),
        (2_566_666, "spikformer", "2-256", {}),
        (2_566_923, "spikformer", "2-256", {"classes": 11}),
        (16_816_024, "spikingformer", "8-384", {}),
        (29_689_384, "spikingformer", "8-512", {}),
        (66_338_632, "spikingformer", "8-768", {}),
        (4_152_106, "spikingformer", "4-256", {}),
        (5_762_746, "spikingformer", "2-384", {}),
        (9_320_122, "spikingformer", "4-384", {}),
        (9_354_772, "spikingformer", "4-384", {"classes": 100}),
        (2_566_923, "spikingformer", "2-256", {"classes": 11}),
        (9_320_122, "spikingformer", "4-384", {"around": "each"}),
        (29_689_384, "spikingformer_cml", "8-512", {}),
        (9_320_122, "spikingformer_cml", "4-384", {}),
        (2_566_666, "spikingformer_cml", "2-256", {}),
        (16_473_688, "qkformer", "hst-10-384", {}),
        (29_079_336, "qkformer", "hst-10-512", {}),
        (64_962_760, "qkformer", "hst-10-768", {}),
        (6_706_234, "qkformer", "4-384", {}),
        (6_740_884, "qkformer", "4-384", {"classes": 100}),
        (1_504_138, "qkformer", "2-256", {}),
        (1_504_395, "qkformer", "2-256", {"classes": 11}),
        (1_999_371, "qkformer", "2-256", {"classes": 11, "ratio": 4}),
        (13_801_612, "svformer", "ucf101", {}),
        (13_759_587, "svformer", "ucf101", {"classes": 60}),
        (59_826, "s2m_former", "paper", {}),
        (59_826, "s2m_former", "paper", {"shape": ((64, 256), (5, 32, 32))}),
        (59_826, "s2m_former", "paper", {"shape": ((64, 12), (5, 32, 32)), "pool": 1}),
        (59_826, "s2m_former", "paper", {"shape": (64 * 256 + 5 * 32 * 32,)}),
    ],
)
def test_transformers_have_their_published_number_of_parameters(count, name, size, options):
    assert parameters(name, size, **options) == count


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=[] if name in TRANSFORMERS or size == "tiny" else pytest.mark.slow)
        for name, known in PUBLISHED.items()
        for size in known
    ],
)
def test_the_table_has_what_is_built(name, size):
    """That the residual networks have their published numbers is tested with them."""
    assert parameters(name, size) == PUBLISHED[name][size].parameters


def test_every_size_of_a_model_is_in_the_table():
    for name in PUBLISHED:
        with pytest.raises(ValueError, match="unknown (size|depth) 'none'; .*valid: ") as found:
            MODELS[name](
                **{"depth" if "resnet" in name and "orrc" not in name and "syna" not in name else "size": "none"}
            )
        assert str(found.value).split("valid: ")[1].split(", ") == list(PUBLISHED[name])


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_tiny_transformers_are_small(name):
    assert PUBLISHED[name]["tiny"].parameters < 100_000


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_tiny_model_is_made_for_digits_speech_text_or_an_eeg_where_nothing_is_given(name):
    known = PUBLISHED[name]["tiny"]
    x = drawn(T, B, *features(known.shape)) if known.shape else torch.zeros(T, B, dtype=torch.int64)
    assert known.shape in (SHAPE, (140,), (), ((64, 128), (5, 32, 32)))
    assert make_model(name, seed=2)(x).output.shape[1:] == (B, known.classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in TRANSFORMERS for size in PUBLISHED[name] if size != "tiny"]
)
def test_published_sizes_take_the_data_that_they_are_for(name, size):
    """Shapes alone, without numbers, where nothing that neurons learn has to be looked at."""
    known = PUBLISHED[name][size]
    with torch.device("cpu" if name in ("snn_vit", "svformer") else "meta"), torch.no_grad():
        out = make_model(name, size).eval()(torch.zeros(known.steps, 1, *known.shape)).output
    assert out.shape == (1 if name == "svformer" else known.steps, 1, known.classes)


def test_fewer_steps_than_saccadic_attention_is_built_for():
    model, x = make_model("snn_vit", steps=T).eval(), drawn(T, B, *SHAPE)
    assert torch.equal(model(x[:2]).output, model(x).output[:2])


def test_both_names_of_a_model_are_the_same():
    one, two = make_model("syna_resnet", seed=3), make_model("orrc_resnet", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_sizes_of_ones_own():
    assert spikformer((1, 16, 16), 3, Size(1, 16, 2))(drawn(2, 1, 1, 16, 16)).output.shape == (2, 1, 3)
    stages = Stages((8, 16), (1, 1), 2, "small")
    assert qkformer((1, 6, 6), 3, stages)(drawn(2, 1, 1, 6, 6)).output.shape == (2, 1, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_model("spikformer", classes=0), "classes=0: give the number of outputs, at least 1"),
        (lambda: make_model("spikformer", classes="10"), "classes='10': give the number of outputs"),
        (lambda: make_model("convolutional"), "convolutional has no sizes by name: call sandbox.networks.models.conv"),
        (lambda: make_model("spikeformer"), "unknown model with sizes 'spikeformer'; nearest: 'spikformer'; valid: "),
        (lambda: make_model("spikformer", "8-521"), "unknown size of 'spikformer' '8-521'; nearest: '8-512'; valid: "),
        (lambda: make_model("sew_resnet", 20), "unknown size of 'sew_resnet' '20'; .*valid: tiny, 18, 34"),
        (lambda: make_model("qkformer", steps=0), "steps=0: give the number of steps of a sequence, at least 1"),
        (lambda: make_model("qkformer", gates="token"), "unknown option of model 'qkformer' 'gates'; nearest: 'gate'"),
        (
            lambda: make_model("spikformer", "8-512", shape=(3, 100, 96)),
            r"shape=\(3, 100, 96\): patches of 16 x 16 do not divide an image of 100 x 96; crop or pad its sides to",
        ),
        (lambda: make_model("spikingformer", shape=(3, 30, 30)), "patches of 4 x 4 do not divide"),
        (lambda: make_model("qkformer", "hst-10-384", shape=(3, 60, 60)), "patches of 16 x 16 do not divide"),
        (lambda: make_model("snn_vit", "8-384", shape=(3, 60, 60)), "patches of 16 x 16 do not divide"),
        (lambda: make_model("svformer", "ucf101", shape=(3, 112, 112)), "patches of 32 x 32 do not divide"),
        (lambda: make_model("spikformer", shape=(64,)), r"shape=\(64,\): this model takes images \(C, H, W\)"),
        (lambda: make_model("spikformer", neuron="lief"), "unknown neuron 'lief'; nearest: 'lif'"),
        (lambda: spikformer(SHAPE, 10, neuron=3), "neuron=3: give a name of lif, cuba_lif, "),
        (
            lambda: make_model("spikformer", neuron={"name": "lif", "option": {}}),
            "unknown key of neuron 'option'; nearest: 'options'",
        ),
        (
            lambda: make_model("spikformer", order="vk"),
            "unknown options.order 'vk'; nearest: 'qk'; valid: kv, qk, cheaper",
        ),
        (lambda: make_model("spikingformer", around="all"), "unknown options.around 'all'; .*valid: pair, each"),
        (lambda: make_model("qkformer", gate="head"), "unknown options.gate 'head'; .*valid: token, channel"),
        (lambda: make_model("qkformer", ratio=0), "ratio=0: give a whole number of at least 1"),
        (lambda: make_model("snn_vit", version="3"), "unknown options.version '3'; .*valid: 1, 2"),
        (lambda: spikformer((1, 16, 16), 3, Size(1, 24, 5)), "width=24, heads=5: give a width that is a multiple"),
        (
            lambda: make_model("svformer", steps=4)(drawn(5, 2, *SHAPE)),
            "TimeNorm has weights for each of 4 steps, and the input has 5: build the model with steps=5",
        ),
        (
            lambda: make_model("snn_vit", steps=4)(drawn(5, 2, *SHAPE)),
            "step 5 of a MaskedPSN with steps=4: its filter has no more; build it for longer sequences",
        ),
        (
            lambda: make_model("spikformer")(drawn(2, 3, 1, 4, 4)),
            r"input has shape \(2, 3, 1, 4, 4\); this network wants",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
