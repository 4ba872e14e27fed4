"""Record what the authors' code of SpikeSCR and SpikCommander puts out, for the tests beside this file.

    python tests/sandbox/networks/published/record_speech.py FOLDER [CASE ...]

FOLDER has clones of the repositories SpikeSCR and SCommander, bare or not. SpikingJelly 0.0.0.0.14 and
rotary-embedding-torch 0.9.1 have to be importable. CuPy, matplotlib, seaborn and data sets are not needed: neurons run
in SpikingJelly's torch backend, and stand-ins are enough for the rest. That version of `layer.BatchNorm1d` refuses the
signals `[T, B, C]` that the authors give it; here it normalises the channels, over steps and samples.

Defects of the code are repaired first, each at one place in its text, which has to be there:

- SpikeSCR reshapes rotated queries and keys `[B, heads, T, d]` to `[T, B, D]` in front of the neurons behind them, and
  their spikes back, so that the neurons walk over samples and heads in place of time. Here both are permuted.
- SpikCommander's functions `forward` of `MSTASA_v_branch` and `SCRMLP` stand outside of these classes. Here they are
  methods.

Rates of rotations are computed in float64, where the library has float32. Normalisations and dropout are in evaluation
mode and neurons in training mode, in which SpikingJelly's pass has a gradient; spikes are the same in both.
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

STEPS, SEED = 9, 7
SIZE = {"n_inputs": 12, "n_hidden_neurons": 16, "n_outputs": 5, "num_heads": 2, "kernel_size": 7, "attention_window": 3}
SCALE = {"time_step": 1000 // STEPS, "hop_length": 800 // STEPS}  # by which global gates divide by sqrt(9 d)
NEURON = {"spike_mode": "lif", "init_tau": 2.0, "v_threshold": 1.0, "v_reset": 0.5, "detach_reset": True, "alpha": 5.0}
USED = {"use_bn": True, "use_dp": True, "use_ln": False, "use_norm": False, "use_dw_bias": False, "bias": True}
COMMON = SIZE | SCALE | NEURON | USED | {"attn_mode": "v2", "backend": "torch", "dropout_l": 0.1, "dropout_p": 0.1}
SHORT, LONG = {"depths": 1, "hidden_dims": 16}, {"depths": 2, "hidden_dims": 64}
SCR = ("SpikeSCR", "models/spikescr.py", "SpikeDrivenTransformer", ("conv", "spikscr_module"))
COMMANDER = ("SCommander", "spikcommder.py", "SpikCommander", ("conv", "spikcommander_backbone"))
CASES = {  # repository, file, class, files of the folder module in the order of their imports, settings
    "spikescr_shd": (*SCR, SHORT),
    "spikescr_ssc": (*SCR, LONG),
    "spikcommander_shd": (*COMMANDER, {**SHORT, "dataset": "shd"}),
    "spikcommander_ssc": (*COMMANDER, {**LONG, "dataset": "ssc"}),
    "spikcommander_gsc": (*COMMANDER, {**LONG, "depths": 1, "dataset": "gsc"}),
}
ORDERED = (
    (".rotate_queries_or_keys({0}).reshape(T,B,-1)", ".rotate_queries_or_keys({0}).permute(2,0,1,3).reshape(T,B,-1)"),
    (
        "self.{0}_lif2({0}).reshape(B,self.num_heads, T, N // self.num_heads)",
        "self.{0}_lif2({0}).reshape(T, B, self.num_heads, N // self.num_heads).permute(1,2,0,3)",
    ),
)


def repaired(name, text):
    """Return the text of a file without its known defects; raise ValueError where one is not there."""
    if name == "spikscr_module":
        text = text.replace("self.k_lif2(k).reshape(B, self", "self.k_lif2(k).reshape(B,self")
        for wrong, right in ((wrong.format(each), right.format(each)) for each in "qk" for wrong, right in ORDERED):
            if text.count(wrong) != 1:
                raise ValueError(f"{wrong!r} is not once in {name}")
            text = text.replace(wrong, right)
    if name == "spikcommander_backbone":
        lines, inside = text.splitlines(), False
        for number, line in enumerate(lines):
            inside = line.startswith("def forward(") or (inside and not line.startswith("class "))
            lines[number] = "    " + line if inside else line
        if sum(line.startswith("    def forward(") for line in lines) != 3:
            raise ValueError(f"{name} has another number of functions forward than 3")
        text = "\n".join(lines)
    return text


def stand_ins():
    """Put stand-ins of libraries that the files import, and do not use in a pass, into place; admit `[T, B, C]`."""
    from spikingjelly.activation_based import layer

    plain = torch.nn.BatchNorm1d.forward
    layer.BatchNorm1d.forward = lambda norm, x: plain(norm, x.flatten(0, 1)).unflatten(0, x.shape[:2])
    for name in ("matplotlib", "matplotlib.pyplot", "seaborn", "spikingjelly.datasets", "module"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["matplotlib"].use = lambda name: None
    sys.modules["spikingjelly.datasets"].padded_sequence_mask = None
    sys.modules["module"].__path__ = []


def built(repository, file, kind, inside, settings):
    """Return a model of a file."""
    from spikingjelly.activation_based import surrogate

    for name in inside:
        path = f"module/{name}.py"
        module = sys.modules[f"module.{name}"] = types.ModuleType(f"module.{name}")
        module.__package__ = "module"
        exec(compile(repaired(name, git(repository, "show", f"HEAD:{path}")), path, "exec"), vars(module))
    module = types.ModuleType("model")
    exec(compile(git(repository, "show", f"HEAD:{file}"), file, "exec"), vars(module))
    config = types.SimpleNamespace(**settings, surrogate_function=surrogate.ATan(alpha=settings["alpha"]))
    return getattr(module, kind)(config)


def record(folder, name):
    """Run one case and write its numbers."""
    from spikingjelly.activation_based.neuron import BaseNode

    repository, file, kind, inside, own = CASES[name]
    settings = COMMON | own
    model = built(folder / repository, file, kind, inside, settings).double().eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if not key.endswith("emb.freqs")}
    kept = model.load_state_dict(tensors(shapes, SEED), strict=False).missing_keys
    if any(not key.endswith("rotary_emb.freqs") for key in kept):
        raise ValueError(f"{kept} have no values")
    for key in kept:
        wide = settings["n_hidden_neurons"] // settings["num_heads"]
        model.get_parameter(key).data = 10_000 ** (-torch.arange(0, wide, 2, dtype=torch.float64) / wide)
    for module in model.modules():
        if isinstance(module, BaseNode):
            module.train()
    shape = (2, STEPS, settings["n_inputs"])
    logits = model(given(shape, SEED), torch.ones(shape[:2], dtype=torch.bool))
    torch.nn.functional.cross_entropy(logits.mean(0), torch.arange(shape[0])).backward()
    slopes = {key: float(p.grad.norm()) for key, p in model.named_parameters() if p.grad is not None}
    facts = {"repository": repository, "commit": git(folder / repository, "rev-parse", "HEAD").strip(), "file": file}
    facts |= {"class": kind, "arguments": settings, "seed": SEED, "shapes": shapes, "input": shape}
    np.savez_compressed(
        HERE / f"{name}.npz",
        logits=logits.detach().numpy(),
        names=np.array(list(slopes)),
        slopes=np.array(list(slopes.values())),
        facts=json.dumps(facts),
    )
    print(name, logits[-1, 0].tolist(), min(slopes.values()))


def main(folder, *names):
    """Record all cases, or those that are named."""
    stand_ins()
    for name in names or CASES:
        record(Path(folder), name)


if __name__ == "__main__":
    main(*sys.argv[1:])
