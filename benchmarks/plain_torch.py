"""Speed and memory relative to hand-written PyTorch, both sides in one run.

python benchmarks/plain_torch.py            # under a minute; writes its section of README.md
python benchmarks/plain_torch.py memory hand 0    # one memory measurement in a separate process
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from by_hand import ByHand, train_step
from memory import growth, of_process
from readme import machine, put, table
from timing import paired, summary

HERE = Path(__file__).parent
SIZES = {  # inputs, hidden, outputs, steps, batch
    "Yin-Yang 4-30-3, T = 20, B = 100": (4, 30, 3, 20, 100),
    "MNIST 784-256-10, T = 25, B = 128": (784, 256, 10, 25, 128),
}
LONG = (64, 256, 10, 1000, 32)
CHECKPOINT = 32  # about sqrt(1000)
PROCESSES = 3  # the time of a step depends on the memory layout that its process happened to get


def data(size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, _, outputs, steps, batch = size
    rng = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(batch, inputs, generator=rng)
    return x.expand(steps, batch, inputs), torch.randint(outputs, (batch,), generator=rng)


def by_hand(size: tuple[int, ...]) -> Callable[[], float]:
    x, y = data(size)
    torch.manual_seed(0)
    model = ByHand(*size[:3])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    return lambda: train_step(model, optimizer, x, y)


def by_trainer(size: tuple[int, ...], checkpoint: int | None = None) -> Callable[[], float]:
    import rules
    from sandbox import LIF, LeakyIntegrator, build

    x, y = data(size)
    model = build((size[0],), size[2], (size[1],), LIF(tau_mem=10.0), LeakyIntegrator(tau_mem=10.0))
    torch.manual_seed(0)
    hand = ByHand(*size[:3])
    with torch.no_grad():  # the same weights on both sides
        for p, q in zip(model.parameters(), hand.parameters(), strict=True):
            p.copy_(q)
    trainer = rules.Trainer(model, rules.make("bptt", checkpoint=checkpoint))
    return lambda: trainer.step((x, y)).loss


def measure_step(name: str) -> tuple[float, float, float]:
    """Time both sides of one size in this process: medians [s] and the ratio."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hand, ours = by_hand(SIZES[name]), by_trainer(SIZES[name])
        same = [abs(hand() - ours()) for _ in range(5)]
    assert max(same) < 1e-4, f"the two sides do not compute the same: {same}"
    return paired(hand, ours, rounds=30, each=4)


def steps() -> list[tuple[str, str, str, str, str]]:
    rows = []
    for name in SIZES:
        words = [sys.executable, str(HERE / "plain_torch.py"), "step", name]
        found = [json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(PROCESSES)]
        a, b, ratio = summary(found)
        rows.append((f"`Trainer.step`, {name}", f"{a * 1e3:.2f} ms", f"{b * 1e3:.2f} ms", ratio, "<= 1.10"))
    return rows


def imports() -> list[tuple[str, str, str, str, str]]:
    def start(package: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {package}"], check=True)

    a, b, ratio = paired(start("torch"), start("rules"), rounds=5)
    return [("`import rules` against `import torch`", f"{a:.2f} s", f"{b:.2f} s", f"{ratio:.3f}", "<= 1.05")]


def memory() -> list[tuple[str, str, str, str, str]]:
    def peak(side: str, checkpoint: int) -> float:
        return of_process(str(HERE / "plain_torch.py"), "memory", side, str(checkpoint))

    hand, plain, cut = peak("hand", 0), peak("trainer", 0), peak("trainer", CHECKPOINT)
    shape = "64-256-10, T = 1000, B = 32"
    return [
        (
            f"peak memory of a BPTT step, {shape}",
            f"{hand:.0f} MiB",
            f"{plain:.0f} MiB",
            f"{plain / hand:.3f}",
            "<= 1.20",
        ),
        (
            f"the same with checkpoint={CHECKPOINT}",
            f"{hand:.0f} MiB",
            f"{cut:.0f} MiB",
            f"{cut / hand:.3f}",
            "<= 0.333",
        ),
    ]


def measure_memory(side: str, checkpoint: int) -> float:
    """Measure the growth of the resident peak [MiB] over a step at T = 1000, after a first one, which compiles."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    make = by_hand if side == "hand" else lambda size: by_trainer(size, checkpoint or None)
    step = make(LONG)
    step()
    return growth(step)


WORDS = """\
Calls alternate between the sides; times are medians, ratios are medians over neighbouring calls. Steps are medians
of three fresh processes, with the range, because a process keeps the memory layout that it happened to get. Memory
is the growth of the resident peak over one step, in a fresh process whose allocator returns freed memory. The other
side is `by_hand.py`; both start from the same weights, and their losses are compared before anything is timed.
"""


def main() -> None:
    torch.set_num_threads(1)
    rows = table(("what", "by hand", "ours", "ratio", "target"), [*steps(), *imports(), *memory()])
    put("Training beside plain PyTorch", f"{WORDS}\n{rows}\n\n{machine('torch', 'numpy', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        print(json.dumps(measure_step(sys.argv[2])))
    elif sys.argv[1:2] == ["memory"]:
        print(measure_memory(sys.argv[2], int(sys.argv[3])))
    else:
        main()
