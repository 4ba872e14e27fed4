"""Record what the authors' code of spiking transformers puts out, for the tests beside this file.

    python tests/sandbox/networks/published/record.py FOLDER [CASE ...]

FOLDER has clones of the repositories in `CASES`, by their names, bare or not. SpikingJelly 0.0.0.0.12, which they are
written for, has to be importable, and 0.0.0.0.14 for SVFormer. CuPy is not needed: neurons run in SpikingJelly's torch
backend. Of timm, einops, torchinfo and slowfast, stand-ins are enough: the models register names, draw weights and print
with them. `record_speech.py` records models of speech, whose code has defects that it repairs.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from formula import given, tensors  # noqa: E402 -- stands beside this file

FORMER = {"patch_size": 16, "in_channels": 3, "num_classes": 10, "mlp_ratios": 4, "sr_ratios": 1}
SMALL = {**FORMER, "embed_dims": 32, "num_heads": 4, "depths": 2, "T": 4}
CIFAR = {**SMALL, "img_size_h": 16, "img_size_w": 16}
LARGE = {**SMALL, "embed_dims": 64, "img_size_h": 64, "img_size_w": 64}
DVS = {**FORMER, "in_channels": 2, "embed_dims": 32, "num_heads": 4, "depths": 2, "img_size_h": 128, "img_size_w": 128}
STAGES = {**FORMER, "embed_dims": 64, "num_heads": 4, "depths": 4, "T": 4, "img_size_h": 64, "img_size_w": 64}
WHOLE = {"img_size_h": 32, "img_size_w": 32, "T": 4, **FORMER}
CASES = {  # repository, file, class, arguments, shape of the input of two samples: [B, C, H, W], or events [B, T, ...]
    "spikingformer_imagenet": ("Spikingformer", "imagenet/model.py", "vit_snn", LARGE, (2, 3, 64, 64)),
    "spikingformer_cifar10": ("Spikingformer", "cifar10/model.py", "vit_snn", CIFAR, (2, 3, 16, 16)),
    "spikingformer_dvs": ("Spikingformer", "cifar10-dvs/model.py", "vit_snn", DVS, (2, 3, 2, 128, 128)),
    "spikingformer_4_256": (
        *("Spikingformer", "cifar10/model.py", "vit_snn"),
        {**WHOLE, "embed_dims": 256, "num_heads": 8, "depths": 4},
        (2, 3, 32, 32),
    ),
    "cml_imagenet": ("Spikingformer-CML", "imagenet/model.py", "vit_snn", LARGE, (2, 3, 64, 64)),
    "cml_cifar10": ("Spikingformer-CML", "cifar10/model.py", "vit_snn", CIFAR, (2, 3, 16, 16)),
    "cml_dvs": ("Spikingformer-CML", "cifar10-dvs/model.py", "vit_snn", DVS, (2, 3, 2, 128, 128)),
    "cml_spikformer_cifar10": (
        *("Spikingformer-CML", "cifar10/CML_Spikformer.py", "Spikformer"),
        CIFAR,
        (2, 3, 16, 16),
    ),
    "spikformer_imagenet": (
        *("spikformer", "imagenet/model.py", "Spikformer"),
        {k: v for k, v in LARGE.items() if k != "T"},
        (2, 3, 64, 64),
    ),
    "spikformer_cifar10": ("spikformer", "cifar10/model.py", "Spikformer", CIFAR, (2, 3, 16, 16)),
    "spikformer_dvs": ("spikformer", "cifar10dvs/model.py", "Spikformer", DVS, (2, 3, 2, 128, 128)),
    "qkformer_imagenet": (
        *("QKFormer", "imagenet/qkformer.py", "hierarchical_spiking_transformer"),
        STAGES,
        (2, 3, 64, 64),
    ),
    "qkformer_cifar10": (
        *("QKFormer", "cifar10/model.py", "spiking_transformer"),
        {**STAGES, "img_size_h": 16, "img_size_w": 16},
        (2, 3, 16, 16),
    ),
    "qkformer_dvs": (
        *("QKFormer", "cifar10-dvs/model.py", "vit_snn"),
        {**DVS, "embed_dims": 128, "mlp_ratios": 1, "img_size_h": 64, "img_size_w": 64},
        (2, 3, 2, 64, 64),
    ),
    "qkformer_4_384": (
        *("QKFormer", "cifar10/model.py", "spiking_transformer"),
        {**WHOLE, "embed_dims": 384, "num_heads": 8, "depths": 4},
        (2, 3, 32, 32),
    ),
}
VIDEO = {
    "UNIFORMER": {
        "DEPTH": [1, 1, 2, 1],
        "EMBED_DIM": [16, 24, 32, 48],
        "HEAD_DIM": 8,
        "MLP_RATIO": 2,
        "T": 4,
        **dict.fromkeys(("QKV_BIAS", "SPLIT", "STD", "QKV_SCALE", "REPRESENTATION_SIZE"), None),
        **dict.fromkeys(("DROPOUT_RATE", "ATTENTION_DROPOUT_RATE", "DROP_DEPTH_RATE"), 0.0),
    },
    "MODEL": {"NUM_CLASSES": 10, "USE_CHECKPOINT": False, "CHECKPOINT_NUM": [0] * 4},
    "DATA": {"TRAIN_CROP_SIZE": 64, "INPUT_CHANNEL_NUM": [3], "NUM_FRAMES": 4},
}
CASES["svformer"] = (
    *("SVFormer", "slowfast/models/uniformer2d_psnn_try.py", "Uniformer2d_psnn_try"),
    VIDEO,
    (2, 3, 4, 64, 64),  # [B, C, T, H, W]
)
SEED = 7


def stand_ins(neuron):
    """Put stand-ins of libraries that the models import into place, and neurons into SpikingJelly's torch backend."""
    for name in ("MultiStepLIFNode", "MultiStepParametricLIFNode", "ParametricLIFNode"):
        kind = getattr(neuron, name, None)

        def made(*args, kind=kind, backend=None, **options):
            return kind(*args, backend="torch", **options)

        setattr(neuron, name, made)
    neuron.GatedLIFNode = type("GatedLIFNode", (), {})  # asked for in isinstance alone
    layers = {"to_2tuple": lambda n: (n, n), "trunc_normal_": nn.init.trunc_normal_, "DropPath": nn.Identity}
    registry = types.SimpleNamespace(register=lambda: lambda kind: kind)
    members = {
        "timm": {},
        "timm.models": {"create_model": None},
        "timm.models.layers": layers,
        "timm.models.registry": {"register_model": lambda f: f},
        "timm.models.vision_transformer": {"_cfg": dict},
        "einops": {},
        "einops.layers": {},
        "einops.layers.torch": {"Rearrange": None},
        "torchinfo": {"summary": None},
        "slowfast": {},
        "slowfast.utils": {"logging": logging},
        "slowfast.utils.logging": {"get_logger": logging.getLogger},
        "published": {"__path__": []},
        "published.build": {"MODEL_REGISTRY": registry},
    }
    for name, attributes in members.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(attributes)
    sys.modules["slowfast.utils"].logging = sys.modules["slowfast.utils.logging"]


def git(repository, *words):
    return subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=True).stdout


def built(repository, file, kind, arguments):
    """Return a model of a file."""
    module = types.ModuleType("published.model")
    module.__package__ = "published"
    sys.modules["published.model"] = module
    exec(compile(git(repository, "show", f"HEAD:{file}"), file, "exec"), vars(module))
    if "UNIFORMER" not in arguments:
        return getattr(module, kind)(**arguments, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    module.TN = arguments["DATA"]["NUM_FRAMES"]
    return getattr(module, kind)(types.SimpleNamespace(**{k: types.SimpleNamespace(**v) for k, v in arguments.items()}))


def record(folder, name, reset_net):
    """Run one case sample by sample, since QKFormer mixes those of a batch, and write its numbers."""
    repository, file, kind, arguments, shape = CASES[name]
    model = built(folder / repository, file, kind, arguments)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.double().eval()
    model.load_state_dict(tensors(shapes, SEED))
    x, outputs = given(shape, SEED), []
    for sample in x.split(1):
        reset_net(model)
        outputs.append(model(sample))
    logits = torch.cat(outputs)
    torch.nn.functional.cross_entropy(logits, torch.arange(len(x))).backward()
    slopes = {key: float(p.grad.norm()) for key, p in model.named_parameters() if p.grad is not None}
    facts = {"repository": repository, "commit": git(folder / repository, "rev-parse", "HEAD").strip(), "file": file}
    facts |= {"class": kind, "arguments": arguments, "seed": SEED, "shapes": shapes, "input": shape}
    np.savez_compressed(
        HERE / f"{name}.npz",
        logits=logits.detach().numpy(),
        names=np.array(list(slopes)),
        slopes=np.array(list(slopes.values())),
        facts=json.dumps(facts),
    )
    print(name, logits[0].tolist())


def main(folder, *names):
    """Record the cases that the installed SpikingJelly can run, or those that are named."""
    try:
        from spikingjelly.activation_based import functional, neuron  # from 0.0.0.0.13 on

        possible = ["svformer"]
    except ImportError:
        from spikingjelly.clock_driven import functional, neuron

        possible = [name for name in CASES if name != "svformer"]
    stand_ins(neuron)
    for name in names or possible:
        record(Path(folder), name, functional.reset_net)


if __name__ == "__main__":
    main(*sys.argv[1:])
