"""Time of compiling a model from its equations, beside Brian2's own code generation.

python benchmarks/equations.py         # two minutes; writes its section of README.md
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from neurons import HERE, compiled, quiet
from readme import machine, put, table

from sandbox.neurons import IN_BRIAN2, Neuron
from sandbox.reference.brian import make_group, plain_numpy

NAMES = ("lif", "cuba_lif", "alpha_lif", "alif", "coba_lif", "adex", "izhikevich", "hodgkin_huxley", "morris_lecar")
PROCESSES = 3


def measure(name: str) -> tuple[float, float]:
    """Return the seconds of CPU of both sides, each for the first time in this process."""
    quiet()
    compiled(IN_BRIAN2["lif"]())  # what Brian2 and SymPy need at their first use
    neuron = IN_BRIAN2[name]()
    begun = time.process_time()
    compiled(neuron)
    ours = time.process_time() - begun
    return ours, generated(neuron)


def generated(neuron: Neuron) -> float:
    """Return the seconds that Brian2 takes for a group of the same neuron, until it could take a step in NumPy."""
    import brian2 as b2

    current = torch.zeros(1, 1, dtype=torch.float64)
    begun = time.process_time()
    with plain_numpy():
        group: Any = make_group(neuron, current, 0.1, neuron.initial_state((1,), current[0]))
        b2.Network(group).run(0 * b2.ms, namespace={})
    return time.process_time() - begun


WORDS = """\
`from_brian2` from the text of a neuron of the library, and Brian2's generation of NumPy code for the same text, until
it could take a step. Seconds of CPU, medians of three processes, each after one other model. Where variables follow
one another, the exact step is written without SymPy's matrix exponential, which is most of Brian2's time. Of the 336
models of the corpus two take longer than half a second (`tests/sandbox/reference/test_corpus.py`).
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        rows = []
        for each in NAMES:
            words = [sys.executable, str(HERE / "equations.py"), "one", each]
            found = [
                json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(PROCESSES)
            ]
            ours, theirs = (statistics.median(column) for column in zip(*found, strict=True))
            method = IN_BRIAN2[each]().method
            rows.append((f"{IN_BRIAN2[each].__name__}, {method}", f"{ours:.2f} s", f"{theirs:.2f} s", "<= 0.5 s"))
        columns = table(("model", "from_brian2", "Brian2", "target"), rows)
        where = machine("torch", "brian2", "learning-rule-sandbox")
        put("Compiling equations", f"{WORDS}\n{columns}\n\n{where}")
