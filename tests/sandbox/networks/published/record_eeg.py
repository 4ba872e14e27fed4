"""Record what the authors' code of S2M-Former puts out, for the tests beside this file.

    python tests/sandbox/networks/published/record_eeg.py FOLDER [CASE ...]

FOLDER has a clone of the repository S2M-Former, bare or not. SpikingJelly 0.0.0.0.14 has to be importable. DotMap is not
needed: a stand-in is enough.

Defects of the code are repaired first, each in its text, which has to be there as often as is said:

- Attention calls a rotary embedding that is never created. Here it is left out.
- Queries, keys and values `[T, B, D, N]` are reshaped to `[T, B, h, N / h, D]`, which mixes channels and tokens, and
  the result back. Here they are transposed first, and last.

Normalisations are in evaluation mode and neurons in training mode, in which SpikingJelly's pass has a gradient; spikes
are the same in both.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from formula import given, tensors  # noqa: E402 -- stands beside this file
from record import git  # noqa: E402

SEED, BATCH = 7, 3
COMPONENTS, SAMPLES, BANDS, SIDE = 6, 16, 5, 8
FILE = "model_zoo/S2MFormer.py"
COMMON = {"ts": 4, "init_tau": 2.0, "v_threshold": 1.0, "detach_reset": True, "backend": "torch", "spike_mode": "lif"}
COMMON |= {"embed_dim": 8, "hidden_dims": 16, "depths": 1, "n_outputs": 2, "use_dw_bias": True, "bias": True}
COMMON |= {"csp_comp": COMPONENTS, "in_channels": BANDS, "tem_tokens": SAMPLES, "fre_tokens": (SIDE // 2) ** 2}
CASES = {
    "s2m_former_1s": COMMON | {"length": 1, "num_heads": 4},
    "s2m_former_short": COMMON | {"length": 0.1, "num_heads": 2},
}
REPAIRS = (
    ("self.rotary_emb.rotate_queries_or_keys(q_conv_out)", "q_conv_out", 1),
    ("self.rotary_emb.rotate_queries_or_keys(k_conv_out)", "k_conv_out", 1),
    ("self.q_bn(q_conv_out).reshape(", "self.q_bn(q_conv_out).transpose(2, 3).reshape(", 1),
    ("self.k_bn(k_conv_out).reshape(", "self.k_bn(k_conv_out).transpose(2, 3).reshape(", 1),
    ("self.v_bn(v_conv_out).reshape(", "self.v_bn(v_conv_out).transpose(2, 3).reshape(", 1),
    ("attn.reshape(Ts, B, D, N)", "attn.transpose(2, 3).reshape(Ts, B, N, D).transpose(2, 3)", 1),
)


def repaired(text):
    """Return the text without its known defects; raise ValueError where one is not there."""
    for wrong, right, times in REPAIRS:
        if text.count(wrong) != times:
            raise ValueError(f"{wrong!r} is not {times} times in {FILE}")
        text = text.replace(wrong, right)
    return text


def built(repository, settings):
    """Return a model of the file."""
    from spikingjelly.activation_based import surrogate

    sys.modules["dotmap"] = types.ModuleType("dotmap")
    sys.modules["dotmap"].DotMap = None
    zoo = sys.modules["model_zoo"] = types.ModuleType("model_zoo")
    zoo.__path__ = []
    for name in ("conv", "S2MFormer"):
        path = f"model_zoo/{name}.py"
        module = sys.modules[f"model_zoo.{name}"] = types.ModuleType(f"model_zoo.{name}")
        module.__package__ = "model_zoo"
        text = git(repository, "show", f"HEAD:{path}")
        exec(compile(repaired(text) if path == FILE else text, path, "exec"), vars(module))
    arguments = types.SimpleNamespace(**settings, surrogate_function=surrogate.ATan(alpha=5.0))
    return module.SpikingBranchformer(arguments)


def record(folder, name):
    """Run one case and write its numbers."""
    from spikingjelly.activation_based.neuron import BaseNode

    settings, repository = CASES[name], folder / "S2M-Former"
    model = built(repository, settings).double().eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if not key.endswith(".pe")}
    model.load_state_dict(tensors(shapes, SEED), strict=False)
    for module in model.modules():
        if isinstance(module, BaseNode):
            module.train()
    views = (BATCH, COMPONENTS, SAMPLES), (BATCH, BANDS, SIDE, SIDE)
    logits = model(*(given(view, SEED) for view in views))
    torch.nn.functional.cross_entropy(logits, torch.arange(BATCH) % 2).backward()
    slopes = {key: float(p.grad.norm()) for key, p in model.named_parameters() if p.grad is not None}
    facts = {"repository": "S2M-Former", "commit": git(repository, "rev-parse", "HEAD").strip(), "file": FILE}
    facts |= {"class": "SpikingBranchformer", "arguments": settings, "seed": SEED, "shapes": shapes, "input": views}
    np.savez_compressed(
        HERE / f"{name}.npz",
        logits=logits.detach().numpy(),
        names=np.array(list(slopes)),
        slopes=np.array(list(slopes.values())),
        facts=json.dumps(facts),
    )
    print(name, logits.tolist(), min(slopes.values()))


def main(folder, *names):
    """Record all cases, or those that are named."""
    for name in names or CASES:
        record(Path(folder), name)


if __name__ == "__main__":
    main(*sys.argv[1:])
