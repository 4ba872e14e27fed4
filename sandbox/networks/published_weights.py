"""Weights of published files of spiking transformers, read into the models of this package."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rules.errors import unknown
from sandbox.networks.along_time import BASE
from sandbox.networks.parts import Stack
from sandbox.networks.published_slots import FAMILIES
from sandbox.neurons.learnable import Learned

UNUSED = re.compile(r"(block\.\d+\.norm[12]|norm)\.(weight|bias)|pos_embed")  # declared by the authors, never called
READ = (*(nn.Conv1d, nn.Conv2d, nn.Conv3d), *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), nn.Linear, Learned)
TAU = "raw.tau_mem"  # 1 / sigmoid(w) = 1 + exp(-w) of the authors is 1 + exp(raw) here
RATES = re.compile(r"blocks\.\d+\.attn\.rotary_emb\.freqs")  # of rotated positions


def load_published(model: Stack, family: str, state: Mapping[str, Tensor]) -> None:
    """Copy published weights into a model of the same size.

    Modules are taken in the order in which a signal passes them, and each has one of a few names:

        spikformer      patch_embed.proj_conv, .proj_conv1, ... or .block1_conv, ...; .rpe_conv
                        block.i.attn.q_conv or .q_linear, k, v, proj; block.i.mlp.fc1_conv or .fc1_linear, 2
        spikingformer   patch_embed.proj_conv, .proj1_conv, ... or .block0_conv, ...
                        block.i.attn.q_conv, k, v, proj; block.i.mlp.mlp1_conv, 2
        qkformer        patch_embed1.proj_conv, .proj1_conv, ..., .proj_res_conv
                        stage1.i.tssa.q_conv, k, proj; stage1.i.mlp.fc1_conv or .mlp1_conv, 2
                        patch_embed2.proj3_conv or .proj_conv, .proj4_conv, .proj_res_conv, and so on
                        in the last stage .attn. or .ssa., with v
        svformer        patch_embed1.proj, patch_embed2.in_lif and .proj, ...; blocks1.i.act1, .conv1, .attn, .conv2;
                        blocks3.i.attn.in_lif, .qkv, .q_lif, ..., .proj_lif, .proj; blocks1.i.mlp.act1, .fc1, ...
                        lplif, lpDWConv, lpPWConv, lpBN, lif_bf_head, dwconv_bf_head, dwconv_bn
        spikescr        spike_embed.conv, .bn; blocks.i.attn.q_conv, .q_bn, k, v, proj; blocks.i.mlp1.fc1_conv, 2, mlp2
                        blocks.i.conformer_module.pw1.conv, .bn1, .dw.conv, .bn2, .pw2.conv, .bn3, .gsu.proj_conv
        spikcommander   see.pwconv.conv, .dwconv.conv, .bn1, .linear, .bn2, or spike_embed. in the authors' checkpoints
                        blocks.i.attn.q_conv, .q_bn, k, v, mattn, proj, .v_pw, .v_dw.conv
                        blocks.i.scrmlp.pw1.conv, .bn1, .fc1_linear, .fc1_bn, .dw.conv, ..., or blocks.i.mlp.
        s2m_former      tem_token_embeddings.proj_conv, .proj0_conv, ...; fre_token_embeddings.proj_conv, ...
                        branchformer.blocks.i.tem_attn.head_lif, .dw.0.conv, .q_layer.0.conv, ..., and fre_attn
                        branchformer.blocks.i.mlp1.lif1, .fc1, ..., mlp1_lif, tem_conv.lif_head, ..., head_lif_last
        all             head

    and a normalisation has `bn` in place of `conv` or `linear`, or is called `norm`. Dense layers and convolutions over
    tokens `[out, in]` and `[out, in, 1]` become 1 x 1 convolutions, one for queries, keys and values three, and `w` of
    parametric neurons their time constant, of `CPLIF` its weight. Normalisations that the authors declare and never
    call are left out: `block.i.norm1`, `block.i.norm2`, `norm`, `pos_embed`, and tables of positions, `.pe`. So are the
    rates of rotated positions of SpikeSCR, `blocks.i.attn.rotary_emb.freqs`, which must be those of this package.

    Args:
        model: of `spikformer`, `spikingformer`, `spikingformer_cml`, `qkformer`, `svformer`, `spikescr`,
            `spikcommander` or `s2m_former`.
        family: "spikformer", "spikingformer" (both with CML or without), "qkformer", "svformer", "spikescr",
            "spikcommander" or "s2m_former".
        state: tensors by the authors' names. Files of `torch.load` may hold them under an entry, such as "state_dict"
            or "model", which is to be given; a `module.` in front of all names is left out.

    Raises:
        ValueError: for an unknown family, a name that is missing or that no module has, and a tensor of another shape;
            the first one is named, and the model stays as it was.

    >>> from sandbox import make_model
    >>> load_published(make_model("spikingformer"), "spikingformer", {"head.weight": torch.zeros(10, 32)})
    Traceback (most recent call last):
    ...
    ValueError: the names of the family 'spikingformer' in these 1 tensors are those of a model of 11 convolutions, ...
    """
    pairs = matched(model, family, state)
    with torch.no_grad():
        for ours, theirs, _ in pairs:
            ours.copy_(theirs.reshape(ours.shape))


def published_names(model: Stack, family: str, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the names of this package for those of the authors, of all tensors that `load_published` copies.

    Queries, keys and values in one tensor have three names, such as `attn.qkv[0].weight`.
    """
    ours = {id(tensor): name for name, tensor in tensors(model).items()}
    return {name: ours[id(tensor)] for tensor, _, name in matched(model, family, state)}


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers of a model, as they are."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def matched(model: Stack, family: str, state: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor, str]]:
    """Return each tensor of a model with the published one and its name."""
    if family not in FAMILIES:
        raise unknown("family of published weights", family, FAMILIES)
    state = bare(state)
    state = ADAPTED[family](state) if family in ADAPTED else state
    left = {name for name in state if not UNUSED.fullmatch(name)}
    found: list[tuple[Tensor, Tensor, str]] = []
    own = [(name, module) for name, module in model.named_modules() if isinstance(module, READ)]
    slots = list(FAMILIES[family](state))
    if len(slots) != len(own):
        raise ValueError(
            f"the names of the family {family!r} in these {len(state)} tensors are those of a model of {len(slots)} "
            f"convolutions, normalisations and dense layers, and this model has {len(own)}: build it with the size "
            f"that they are of, or give the weights of that family; the first name here is {next(iter(state))!r}"
        )
    for slot, (name, module) in zip(slots, own, strict=True):
        part = next(iter(module.state_dict())) if isinstance(module, Learned) else "weight"
        prefix = next((each for each in slot if f"{each}.{part}" in state), None)
        if prefix is None:
            raise ValueError(
                f"published weights lack {' or '.join(slot)}, for {name} of the model: give those of the family "
                f"{family!r}"
            )
        for part, tensor in (*module.named_parameters(), *module.named_buffers()):
            theirs = f"{prefix}.{part}"
            if theirs not in state:
                if part == "num_batches_tracked":
                    continue
                raise ValueError(
                    f"published weights lack {theirs}, for {name}.{part} of the model: see its option bias"
                )
            if state[theirs].shape != tensor.shape and flat(state[theirs]) != flat(tensor):
                raise ValueError(
                    f"{theirs} of the published weights has shape {tuple(state[theirs].shape)}, and {name}.{part} of "
                    f"the model {tuple(tensor.shape)}: build it with the size, shape and classes that they are of"
                )
            left.discard(theirs)
            found.append((tensor, state[theirs], theirs))
    extra = sorted(name for name in left if not name.endswith("num_batches_tracked"))
    if extra:
        raise ValueError(f"the model has nothing for {extra[0]} of the published weights: see its options")
    return found


def bare(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return tensors by name, without a `module.` in front; raise ValueError for anything else."""
    if not state:
        raise ValueError("there are no weights: give the tensors by the authors' names")
    odd = [name for name, each in state.items() if not isinstance(each, Tensor)]
    if odd:
        inner = [name for name in odd if isinstance(state[name], Mapping)]
        advice = f"give what is under {inner[0]!r}" if inner else "give the tensors alone"
        raise ValueError(f"{odd[0]!r} is not a tensor but a {type(state[odd[0]]).__name__}: {advice}")
    for name, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.device.type == "meta":
            raise ValueError(
                f"{name} is a {tensor.layout} tensor on {tensor.device}: give dense ones that hold numbers"
            )
        if not tensor.is_floating_point() and not name.endswith("num_batches_tracked"):
            raise ValueError(f"{name} has dtype {tensor.dtype}: give real numbers, unpacked if they were quantised")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinities: the file is damaged, or its training has diverged")
    front = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(front): tensor for name, tensor in state.items()}


def flat(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a weight of tokens, without axes of length 1 behind inputs and outputs."""
    head, tail = tuple(tensor.shape[:2]), tensor.shape[2:]
    return head if all(size == 1 for size in tail) else (*head, *tail)


def divided(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of SVFormer with queries, keys and values apart, and time constants as they are kept here."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        prefix, _, part = name.rpartition(".")
        if part == "w":
            found[f"{prefix}.{TAU}"] = -tensor
        elif prefix.endswith(("attn.qkv", "attn.norm1")) and tensor.ndim:
            width = len(state[prefix.replace("norm1", "qkv") + ".bias"]) // 3
            parts = tensor.unflatten(0, (-1, 3, width))  # [T, 3, D] of normalisations, [1, 3, D] of weights
            found |= {f"{prefix}[{n}].{part}": parts[:, n].flatten(0, 1) for n in range(3)}
        else:
            found[name] = tensor
    return found


def without_rates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of SpikeSCR without the rates of rotated positions; raise ValueError if they are not ours."""
    for name in filter(RATES.fullmatch, state):
        theirs = state[name].double().flatten()
        ours = BASE ** (-torch.arange(len(theirs), device=theirs.device, dtype=torch.float64) / len(theirs))
        if not torch.allclose(theirs, ours, rtol=1e-2, atol=0):
            raise ValueError(
                f"{name} of the published weights is {theirs.tolist()}, and the model turns pairs of channels by "
                f"{ours.tolist()} a step: they were made with another base of rotations, which it does not have"
            )
    return {name: tensor for name, tensor in state.items() if not RATES.fullmatch(name)}


def by_channel(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of S2M-Former with those of its neurons as `CPLIF` names them, without tables of positions."""
    neurons = {name.removesuffix(".w") for name in state if name.endswith(".w")}
    found = {}
    for name, tensor in state.items():
        prefix, _, part = name.rpartition(".")
        if prefix in neurons:
            found[f"{prefix}.values.{'weight' if part == 'w' else part}"] = tensor
        elif part != "pe":
            found[name] = tensor
    return found


ADAPTED: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "svformer": divided,
    "spikescr": without_rates,
    "s2m_former": by_channel,
}
