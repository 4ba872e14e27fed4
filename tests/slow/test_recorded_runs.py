"""One short run of every recipe on digits gives the bits that were recorded by an earlier layout of the code.

`python -m tests.slow.test_recorded_runs` records anew for the machine that it runs on: sums of floats depend on its
instructions. What other machines recorded stays.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from rules import RULES, make
from sandbox.cli import main
from tests.slow.killing import only

RECORD = Path(__file__).with_name("recorded_runs.json")
RECIPES = [*RULES, "rules.recipes:backprop"]
BITS = ["binary_stochastic", "binary_stochastic_ideal", "rules.recipes:backprop"]
SHORT = [
    "run",
    "--task.name=digits",
    "--batch_size=100",
    "--encoder.options={steps: 6}",
    "--epochs=1",
    "--seed=1",
]
UNITS = [
    "--network.neuron.name=stochastic_binary",
    "--network.neuron.options={}",
    "--network.readout.name=stochastic_binary",
    "--network.readout.options={}",
]


HIDDEN = "--network.hidden=[30,20]"
CHAIN = [
    *("--network.model={name: perceptron, options: {hidden: [30, 20]}}", "--encoder.name=still"),
    "--encoder.options={}",
]


SUITED = {  # networks of rules that want cells of their own
    "eventprop": [HIDDEN, "--network.neuron.name=cuba_lif", "--network.neuron.options={}"],
    "urbanczik_senn": ["--network.hidden=[]", "--network.readout={name: two_compartment, options: {reset: none}}"],
}


def machine() -> dict[str, str]:
    """What the bits depend on beside the code: libraries choose kernels and blocks by the processor."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "capability": capability, "processor": processor()}


def processor() -> str:
    """The vendor, family, model and cache of the processor; what `platform` says on systems without that table."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().split("\n\n")[0].splitlines() if table.exists() else []
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    kept = [found[name] for name in ("vendor_id", "cpu family", "model", "stepping", "cache size") if name in found]
    return ", ".join(kept) or platform.processor()


def suited(recipe: str) -> list[str]:
    """The network of a recipe, where it is another one than all others have."""
    if recipe in BITS:
        return [HIDDEN, *UNITS]
    chain = recipe in RULES and "chain" in make(recipe).needs
    return SUITED.get(recipe, CHAIN if chain else [HIDDEN])


def digests(recipe: str, out: Path) -> dict[str, str]:
    """The hash of the learned weights, and of each file of numbers that a run leaves."""
    assert main([*SHORT, f"--rule.name={recipe}", *suited(recipe), f"--out={out}"]) == 0
    folder = only(out, "digits*")
    weights = hashlib.sha256()
    for name, value in torch.load(folder / "checkpoint.pt", weights_only=True)["trainer"]["model"].items():
        weights.update(name.encode() + value.numpy().tobytes())
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("metrics.jsonl", "result.json")
    }
    return {"weights": weights.hexdigest(), **files}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_short_run_gives_the_recorded_bits(recipe, tmp_path):
    recorded = next((each["runs"] for each in json.loads(RECORD.read_text()) if each["machine"] == machine()), {})
    if recipe not in recorded:
        pytest.skip(f"not recorded with {machine()}, and others round otherwise")
    assert digests(recipe, tmp_path) == recorded[recipe]


def record() -> None:
    with tempfile.TemporaryDirectory() as place:
        torch.set_num_threads(1)
        runs = {recipe: digests(recipe, Path(place) / str(n)) for n, recipe in enumerate(RECIPES)}
    others = [each for each in json.loads(RECORD.read_text()) if each["machine"] != machine()]
    RECORD.write_text(json.dumps([*others, {"machine": machine(), "runs": runs}], indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(record())
