"""The benchmarks of `make bench`, one after another, in ten minutes; each writes its section of README.md.

python benchmarks/run.py                                      # all of PLAN
python benchmarks/run.py --only neurons 'zero_order probes'   # some, those of LONG too
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import ArgumentParser
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
LIMIT = 600  # [s] of all
PLAN = {  # scripts, with what they are given: the seconds on two quiet cores; what reads other sections is last
    "kernels": 35,
    "training_step": 50,
    "neurons": 70,
    "network": 75,
    "zero_order steps": 55,
    "start": 180,
    "worker": 30,
    "plain_torch": 50,
    "synapses": 30,
    "threads": 15,
    "peers": 5,
}
LONG = {  # the others, each with its command
    name: f"python benchmarks/run.py --only '{name}'"
    for name in (
        "binary_stochastic",
        "compiled",
        "equations",
        "contrast",
        "dispatch",
        "elementary",
        "eventprop",
        "first_result",
        "freed_memory",
        "jobs",
        "language",
        "ledger",
        "memristor",
        "microscope",
        "parallel_cells",
        "plots",
        "projected",
        "speech",
        "transformers",
        "zero_order probes",
    )
} | {
    "online": "python benchmarks/online.py 9 PYTHON  # an interpreter that has braintrace",
    "plasticity": "python benchmarks/plasticity.py 9 FOLDER  # where the wheel of BindsNET is unpacked; or without",
    "gpu": "make bench-gpu  # python benchmarks/gpu.py, with a CUDA device",
}
PEERS = {
    "neurons": "brian2",
    "network": "brian2",
    "compiled": "brian2",
    "equations": "brian2",
    "plasticity": "brian2",
    "transformers": "spikingjelly",
    "language": "spikingjelly",
}  # without which a script measures nothing


def missing(name: str) -> str:
    """Return why a script cannot run here; nothing if it can."""
    peer = PEERS.get(name)
    if peer is None or find_spec(peer):
        return ""
    return f"{name} is left out, for {peer} is not installed: pip install -c constraints.txt '.[reference]'"


def measure(name: str, spent: float, planned: int | None) -> float:
    """Run one script, and return its seconds."""
    expected = "" if planned is None else f", {planned} s as a rule"
    print(f"{name}{expected}; {spent:.0f} s so far", flush=True)
    script, *given = name.split()
    begun = time.monotonic()
    subprocess.run([sys.executable, str(HERE / f"{script}.py"), *given], check=True)
    took = time.monotonic() - begun
    print(f"{name} took {took:.0f} s\n", flush=True)
    return took


def main(names: list[str] | None) -> None:
    spent = 0.0
    for name in PLAN if names is None else names:
        reason = missing(name)
        if names is None and spent + PLAN[name] > LIMIT:
            reason = f"{name} is left out, for {LIMIT} s would not suffice: python benchmarks/run.py --only '{name}'"
        if reason:
            print(reason, flush=True)
        else:
            spent += measure(name, spent, PLAN.get(name))
    print(f"{spent:.0f} s in all")
    if names is None:
        print("Not part of it, because they take long or need something else:", *LONG.values(), sep="\n  ")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*PLAN, *LONG], help="run these alone")
    main(parser.parse_args().only)
