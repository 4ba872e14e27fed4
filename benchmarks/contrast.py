"""Cost of contrast over time: a training step against one without it, and the loss against simpler implementations.

python benchmarks/contrast.py         # a minute and a half; writes its section of README.md
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from readme import machine, put, table
from timing import in_turn, paired, stopwatch, summary
from torch import Tensor

import rules
from rules.objectives.contrast import contrastive_loss
from sandbox import calibrate
from sandbox.machine.memory import keep_freed_memory
from sandbox.networks.models import convolutional

HERE = Path(__file__).parent
BATCH, STEPS, WIDTH, TEMPERATURE = 128, 4, 128, 0.07
MANY = 25  # steps
PROCESSES = 3  # a process keeps the memory layout that it happened to get


def batch() -> tuple[Tensor, Tensor]:
    """Images of 3 x 32 x 32, shown as a constant current."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, 32, 32, generator=rng)
    return x.expand(STEPS, *x.shape), torch.randint(10, (BATCH,), generator=rng)


def training_step(rule: rules.LearningRule) -> Callable[[], object]:
    x, y = batch()
    model = convolutional()
    calibrate(model, x, rate=0.15)
    trainer = rules.Trainer(model, rule)
    return lambda: trainer.step((x, y))


def measure_steps() -> list[tuple[float, float, float]]:
    """Time TET against TCL, and against STCL: medians [s] and the ratio."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    calls = [training_step(rule) for rule in (rules.make("tet"), rules.make("tcl"), rules.make("stcl", views="image"))]
    for call in calls:
        call()
    rows = in_turn([stopwatch(call) for call in calls], rounds=9)
    columns = [sorted(column)[len(rows) // 2] for column in zip(*rows, strict=True)]
    ratios = [sorted(row[k] / row[0] for row in rows)[len(rows) // 2] for k in (1, 2)]
    return [(columns[0], columns[k], ratios[k - 1]) for k in (1, 2)]


def features(steps: int = STEPS) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(steps, BATCH, WIDTH, generator=rng)
    return x.requires_grad_(), torch.randint(10, (BATCH,), generator=rng)


def double_loop(x: Tensor, y: Tensor) -> float:
    """Compute the loss by its definition, one pair at a time, without the even slower gradient."""
    n = (x / x.norm(dim=-1, keepdim=True)).flatten(0, 1).tolist()
    labels, losses = y.repeat(STEPS).tolist(), []
    for a, anchor in enumerate(n):
        logits = [sum(p * q for p, q in zip(anchor, other, strict=True)) / TEMPERATURE for other in n]
        bottom = math.log(sum(math.exp(logit) for b, logit in enumerate(logits) if b != a))
        mine = [logits[b] for b in range(len(n)) if b != a and labels[b] == labels[a]]
        losses.append(bottom - sum(mine) / len(mine))
    return sum(losses) / len(losses)


def supcon(x: Tensor, y: Tensor) -> Tensor:
    """Compute SupCon in plain torch, with steps in the role of views."""
    n = torch.nn.functional.normalize(x, dim=-1).flatten(0, 1)
    labels = y.repeat(STEPS)
    logits = n @ n.T / TEMPERATURE
    logits = logits - logits.max(1, keepdim=True).values.detach()
    others = 1 - torch.eye(len(n))
    mask = (labels[:, None] == labels[None]).float() * others
    log_prob = logits - (logits.exp() * others).sum(1, keepdim=True).log()
    return -((mask * log_prob).sum(1) / mask.sum(1)).mean()


def with_gradient(loss: Callable[[Tensor, Tensor], Tensor], steps: int = STEPS) -> Callable[[], object]:
    x, y = features(steps)

    def one() -> Tensor:
        (gradient,) = torch.autograd.grad(loss(x, y), x)
        return gradient

    return one


def losses() -> list[tuple[str, str, str, str, str]]:
    x, y = features()
    with torch.no_grad():
        values = [double_loop(x, y), float(supcon(x, y)), float(contrastive_loss(x, y, TEMPERATURE))]
        assert max(values) - min(values) < 1e-4, f"the sides do not compute the same: {values}"
        slow, fast, ratio = paired(lambda: double_loop(x, y), lambda: contrastive_loss(x, y, TEMPERATURE), rounds=1)
    shape = f"B = {BATCH}, T = {STEPS}, D = {WIDTH}"
    rows = [(f"loss, {shape}: double loop", f"{slow:.1f} s", f"{fast * 1e3:.1f} ms", f"{ratio:.5f}", "<= 0.01")]
    ours = with_gradient(lambda a, b: contrastive_loss(a, b, TEMPERATURE))
    plain, mine, ratio = paired(with_gradient(supcon), ours, rounds=41, each=3)
    rows.append(
        (
            f"loss and gradient, {shape}: plain SupCon",
            f"{plain * 1e3:.2f} ms",
            f"{mine * 1e3:.2f} ms",
            f"{ratio:.3f}",
            "<= 1.00",
        )
    )
    sides = (partial(contrastive_loss, temperature=TEMPERATURE, pairs=pairs) for pairs in ("all", "cross"))
    whole, cross, ratio = paired(*(with_gradient(side, MANY) for side in sides), rounds=9)
    shape = f"B = {BATCH}, T = {MANY}, D = {WIDTH}"
    times = (f"{whole * 1e3:.0f} ms", f"{cross * 1e3:.1f} ms", f"{ratio:.3f}", "")
    return [*rows, (f'loss and gradient, {shape}: all pairs, and ours with pairs="cross"', *times)]


WORDS = """\
Calls alternate between the sides; times are medians, ratios are medians over neighbouring calls. The steps are
those of convolutions with 16, 32 and 64 channels on images of 32 x 32, B = 128, T = 4; medians of three fresh
processes, with the range. The processes of `sandbox compare` keep freed memory (`sandbox.machine.memory`). A plain
Python process returns it: there glibc gives arrays above 32 MiB back at every step, and two views at once exceed
that size. The sides of a loss are compared before anything is timed.
"""


def step_rows(memory: str) -> list[tuple[str, str, str, str, str]]:
    words = [sys.executable, str(HERE / "contrast.py"), "steps", memory]
    found = [json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(PROCESSES)]
    rows = []
    for number, (rule, target) in enumerate((("TCL", "<= 1.10"), ("STCL, image views", "<= 2.15"))):
        a, b, ratio = summary([process[number] for process in found])
        what = f"`Trainer.step`, {rule} against TET, freed memory {memory}"
        rows.append((what, f"{a * 1e3:.0f} ms", f"{b * 1e3:.0f} ms", ratio, target))
    return rows


def main() -> None:
    torch.set_num_threads(1)
    rows = [*step_rows("kept"), *step_rows("returned"), *losses()]
    body = table(("what", "theirs", "ours", "ratio", "target"), rows)
    put("Contrast over time", f"{WORDS}\n{body}\n\n{machine('torch', 'numpy', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["steps"]:
        if sys.argv[2] == "kept":
            keep_freed_memory()
        print(json.dumps(measure_steps()))
    else:
        main()
