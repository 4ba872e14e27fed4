"""Names of convolutions, normalisations, dense layers and neurons in published files, in the order of a signal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

Slot = tuple[str, ...]  # the names that a module has in different files of the authors


def both(*prefixes: str) -> Iterator[Slot]:
    """Yield the slots of weights and of their normalisation, from names that end before `_conv`."""
    yield tuple(f"{prefix}_{kind}" for prefix in prefixes for kind in ("conv", "linear"))
    yield tuple(f"{prefix}_bn" for prefix in prefixes)


def spikformer_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of Spikformer, with CML or without."""
    at = "patch_embed."
    for n in range(4):
        number = str(n or "")
        for kind in ("conv", "bn"):
            yield f"{at}proj_{kind}{number}", f"{at}block{n + 1}_{kind}"
    yield from both(f"{at}rpe")
    yield from blocks_slots(state)


def spikingformer_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of Spikingformer, with CML or without."""
    for n in range(5):
        yield from both(f"patch_embed.proj{n or ''}", f"patch_embed.block{n}")
    yield from blocks_slots(state)


def blocks_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of blocks and read-out."""
    for block in range(count(state, "block")):
        at = f"block.{block}."
        for name in ("q", "k", "v", "proj"):
            yield from both(f"{at}attn.{name}")
        yield from feed_forward_slots(at)
    yield ("head",)


def feed_forward_slots(at: str) -> Iterator[Slot]:
    """Yield the slots of a feed-forward part."""
    for n in (1, 2):
        yield from both(f"{at}mlp.fc{n}", f"{at}mlp.mlp{n}")


def qkformer_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of QKFormer; its first stage has two to four convolutions."""
    stages = 3 if count(state, "stage3") else 2
    first = [f"proj{n or ''}" for n in range(4) if f"patch_embed1.proj{n or ''}_conv.weight" in state]
    for stage in range(1, stages + 1):
        at = f"patch_embed{stage}."
        for name in [*first, "proj_res"] if stage == 1 else ["proj3", "proj4", "proj_res"]:
            yield from both(*(f"{at}{each}" for each in ((name, "proj") if name == "proj3" and stage > 1 else (name,))))
        for block in range(count(state, f"stage{stage}")):
            inside = f"stage{stage}.{block}."
            for name in ("q", "k", "proj") if stage < stages else ("q", "k", "v", "proj"):
                yield from both(*(f"{inside}{kind}.{name}" for kind in ("tssa", "attn", "ssa")))
            yield from feed_forward_slots(inside)
    yield ("head",)


def svformer_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of SVFormer, with a neuron for each of its time constants."""
    for stage in range(1, 5):
        names = ["proj", "norm"] if stage == 1 else ["in_lif", "proj", "norm"]
        yield from ((f"patch_embed{stage}.{name}",) for name in names)
        for block in range(count(state, f"blocks{stage}")):
            inside = f"blocks{stage}.{block}."
            near, far = ("act1", "conv1", "attn", "conv2", "norm2"), ("attn.in_lif", *projected(), *ENDING)
            yield from ((f"{inside}{name}",) for name in (near if stage < 3 else far))
            yield from ((f"{inside}mlp.{name}",) for name in ("act1", "fc1", "norm1", "act2", "fc2", "norm2"))
    last = ("lplif", "lpDWConv", "lpPWConv", "lpBN", "lif_bf_head", "dwconv_bf_head", "dwconv_bn", "head")
    yield from ((name,) for name in last)


ENDING = ("attn.proj_lif", "attn.proj", "attn.norm2")


def projected() -> Iterator[str]:
    """Yield the names of queries, keys and values: a dense layer, its normalisation and a neuron for each."""
    for number, name in enumerate("qkv"):
        yield from (f"attn.qkv[{number}]", f"attn.norm1[{number}]", f"attn.{name}_lif")


def spikescr_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of SpikeSCR."""
    yield from single("spike_embed.", "conv", "bn")
    for block in range(count(state, "blocks")):
        at = f"blocks.{block}."
        for name in ("q", "k", "v", "proj"):
            yield from single(f"{at}attn.", f"{name}_conv", f"{name}_bn")
        yield from single(f"{at}mlp1.", "fc1_conv", "fc1_bn", "fc2_conv", "fc2_bn")
        yield from single(f"{at}conformer_module.", "pw1.conv", "bn1", "dw.conv", "bn2", "pw2.conv", "bn3")
        yield from single(f"{at}conformer_module.gsu.", "proj_conv", "proj_bn")
        yield from single(f"{at}mlp2.", "fc1_conv", "fc1_bn", "fc2_conv", "fc2_bn")
    yield ("head",)


def spikcommander_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of SpikCommander, in its code and in the authors' checkpoints."""
    yield from several(("see.", "spike_embed."), "pwconv.conv", "dwconv.conv", "bn1", "linear", "bn2")
    for block in range(count(state, "blocks")):
        at = f"blocks.{block}."
        for name in ("q", "k", "v", "mattn", "proj"):
            yield from single(f"{at}attn.", f"{name}_conv", f"{name}_bn")
        yield from single(f"{at}attn.", "v_pw", "v_dw.conv")
        refining = (
            "pw1.conv",
            "bn1",
            "fc1_linear",
            "fc1_bn",
            "dw.conv",
            "bn2",
            "fc2_linear",
            "fc2_bn",
            "pw2.conv",
            "bn3",
        )
        yield from several((f"{at}scrmlp.", f"{at}mlp."), *refining)
    yield ("head",)


def s2m_former_slots(state: Mapping[str, Tensor]) -> Iterator[Slot]:
    """Yield the slots of S2M-Former, of both branches, with its neurons that learn."""
    for name in ("proj", "proj0", "proj1", "proj_res"):
        yield from both(f"tem_token_embeddings.{name}")
    for number in ("", "1", "2", "3"):
        yield from single("fre_token_embeddings.", f"proj_conv{number}", f"proj_bn{number}")
    yield from both("fre_token_embeddings.rpe")
    signals = (each for n in "qkv" for each in (f"{n}_layer.0.conv", f"{n}_bn"))
    attention = ("head_lif", "dw.0.conv", "dw_bn", *signals, "proj_conv.0.conv", "proj_bn")
    mixer = ("lif1", "fc1", "head_conv", "head_conv_bn", "dw2.0.conv", "dw2_bn", "dw.0.conv", "dw_bn")
    scales = (each for n in (1, 2, 3) for each in (f"dw{n}.0.conv", f"bn{n + 1}"))
    convolutions = ("lif_head", "pw1.0.conv", "bn1", *scales)
    for block in range(len({name.split(".")[2] for name in state if name.startswith("branchformer.blocks.")})):
        at = f"branchformer.blocks.{block}."
        for stage, (kind, parts) in enumerate((("attn", attention), ("conv", convolutions)), 1):
            for view in ("tem", "fre"):
                yield from single(f"{at}{view}_{kind}.", *parts)
            yield from single(f"{at}mlp{stage}.", *mixer, "last_conv", "last_conv_bn", "fc2")
            yield (f"{at}mlp{stage}_lif",)
    yield from (("head_lif_last",), ("head",))


def single(at: str, *names: str) -> Iterator[Slot]:
    """Yield slots of one name each, behind a prefix."""
    return several((at,), *names)


def several(prefixes: tuple[str, ...], *names: str) -> Iterator[Slot]:
    """Yield slots whose names have one of a few prefixes."""
    yield from (tuple(at + name for at in prefixes) for name in names)


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return the number of blocks whose names begin with a prefix."""
    return len({name.split(".")[1] for name in state if name.startswith(f"{prefix}.")})


FAMILIES: dict[str, Callable[[Mapping[str, Tensor]], Iterator[Slot]]] = {
    "spikformer": spikformer_slots,
    "spikingformer": spikingformer_slots,
    "qkformer": qkformer_slots,
    "svformer": svformer_slots,
    "spikescr": spikescr_slots,
    "spikcommander": spikcommander_slots,
    "s2m_former": s2m_former_slots,
}
