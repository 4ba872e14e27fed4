"""Cost of probes: many at a time against one at a time, and against plain forward passes of the same size.

python benchmarks/zero_order.py         # three minutes; writes its sections of README.md
python benchmarks/zero_order.py steps   # one minute; the table of steps alone
python benchmarks/zero_order.py probes  # two minutes; the table of probes alone
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from readme import machine, put, table
from timing import in_turn, paired, spent, summary
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import rules
from rules.check.toy import Quadratic
from rules.contract import Batch
from rules.credit.zero_order import HZO, LayerwiseZO, SequentialLocal, orthogonal_
from rules.credit.zero_order.layered.directions import pieces
from rules.credit.zero_order.layered.lab import Lab, Site
from rules.credit.zero_order.layered.probes import transported
from rules.credit.zero_order.layered.recorded import record
from rules.credit.zero_order.layered.rule import Layered
from rules.credit.zero_order.layered.stages import stages
from rules.credit.zero_order.layered.transport import Transport
from sandbox import LIF, LeakyIntegrator, build
from sandbox.machine.memory import keep_freed_memory

HERE = Path(__file__).parent
BATCH = 64
PROCESSES = 2  # a process keeps the memory layout that it happened to get


def network(depth: int, width: int) -> nn.Sequential:
    parts = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.Tanh())]
    model: nn.Sequential = orthogonal_(nn.Sequential(*parts[:-1]), torch.Generator().manual_seed(0))  # type: ignore[assignment]
    return model


def place(
    rule: Layered, depth: int, width: int, first: int, last: int, columns: bool = False
) -> tuple[Site, Tensor, Lab]:
    """Record a pass, ready to carry an error over layers `first + 1` to `last`, by whole products or by columns."""
    model, x = network(depth, width), torch.randn(BATCH, width, generator=torch.Generator().manual_seed(1))
    transport = Transport(record(stages(model), x), Lab(rule.probing, 0, None), rule.parameters(model))
    site = transport.site(transport.cut(first), transport.cut(last), "here", last - first)
    site = site if columns else site._replace(front=None)
    return site, torch.ones_like(site.end), transport.lab


def carrying(rule: Layered, width: int, columns: bool = False) -> Callable[[], object]:
    """Return a call that estimates the error of one stage, a tanh and a weight matrix, from all its probes."""
    site, error, lab = place(rule, 2, width, 1, 2, columns)
    return lambda: transported(site, error, lab)


def one_at_a_time(width: int) -> Callable[[], object]:
    site, error, lab = place(HZO(), 2, width, 1, 2)
    lab.how = HZO(memory=float(site.bytes)).probing
    return lambda: transported(site, error, lab)


def plain(width: int) -> Callable[[], object]:
    """Return a call of as many evaluations of the stage, in batches of the same size."""
    site, _, lab = place(HZO(), 2, width, 1, 2)
    sizes = [len(piece) for piece in pieces(site.layout.channels, site, lab) for _ in "+-"]
    stage, x = network(2, width)[1:], torch.randn(max(sizes) * BATCH, width, generator=torch.Generator().manual_seed(1))
    return lambda: [stage(x[: size * BATCH]) for size in sizes]


def times() -> list[tuple[float, float, float]]:
    torch.set_num_threads(1)
    found = []
    with torch.no_grad():
        for width, rounds in ((64, 101), (256, 9), (1024, 1)):
            found.append(paired(one_at_a_time(width), carrying(HZO(), width), rounds))
            found.append(paired(plain(width), carrying(HZO(), width), rounds))
            found.append(paired(carrying(HZO(), width), carrying(HZO(), width, columns=True), rounds))
    return found


def time_rows(memory: str) -> list[tuple[str, str, str, str, str]]:
    words = [sys.executable, str(HERE / "zero_order.py"), "times", memory]
    found = [json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(PROCESSES)]
    rows, targets = [], iter(("<= 0.25", "<= 1.30", "", "", "<= 1.30", "", "<= 1.00", "<= 1.30", ""))
    rivals = ("one at a time", "plain forward passes in the same batches", "whole products, and ours by columns")
    for number, width in enumerate((64, 256, 1024)):
        for offset, what in enumerate(rivals):
            a, b, ratio = summary([process[len(rivals) * number + offset] for process in found])
            label = f"all probes of a stage of {width} units, batch {BATCH}, freed memory {memory}: {what}"
            rows.append((label, f"{a * 1e3:.2f} ms", f"{b * 1e3:.2f} ms", ratio, next(targets)))
    return rows


def peak(depth: int, memory: float) -> int:
    """Measure the peak memory [bytes] of carrying an error over half of the layers."""
    site, error, lab = place(HZO(memory=memory), depth, 64, depth // 2, depth)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        transported(site, error, lab)
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(taken.cumsum(0).max())


def memory_rows() -> list[tuple[str, str, str, str, str]]:
    bound = 4e6
    shallow, deep = peak(4, bound), peak(32, bound)
    label = f"extra memory of probes, bound {bound / 1e6:.0f} MB: 4 layers, 32 layers"
    return [(label, f"{shallow / 1e6:.2f} MB", f"{deep / 1e6:.2f} MB", f"{deep / shallow:.3f}", "1.00, in bound")]


def evaluations(rule: Layered, depth: int) -> int:
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    credit = rule.assign(network(depth, 4), Quadratic(), Batch(x), False, torch.Generator().manual_seed(0))
    return credit.cost.layer_evaluations - depth


def slope_rows() -> list[tuple[str, str, str, str, str]]:
    depths, rows = [16, 32, 64], []
    cases: list[tuple[str, Layered, Callable[[int], float], str]] = [
        ("HZO, divided by log2 L", HZO(), lambda depth: 1 / math.log2(depth), "1.00 +- 0.01"),
        ("to the loss", LayerwiseZO(), lambda depth: 1.0, "2, from above"),
        ("one layer at a time", SequentialLocal(), lambda depth: 1.0, "1, from above"),
    ]
    for name, rule, scale, target in cases:
        counts = [evaluations(rule, depth) for depth in depths]
        scaled = [math.log(count * scale(depth)) for count, depth in zip(counts, depths, strict=True)]
        slope = statistics.linear_regression([math.log(depth) for depth in depths], scaled).slope
        label = f"counted layer evaluations of probes, M = 4, L = 16 and 64, and their log-log slope: {name}"
        rows.append((label, str(counts[0]), str(counts[-1]), f"{slope:.3f}", target))
    return rows


SIZES = {  # inputs, hidden, outputs, steps, batch
    "MNIST 784-256-10, T = 25, B = 128": (784, 256, 10, 25, 128),
    "Yin-Yang 4-30-3, T = 6, B = 50": (4, 30, 3, 6, 50),
    "Digits 64-30-10, T = 6, B = 100": (64, 30, 10, 6, 100),
}
MNIST, YINYANG, DIGITS = SIZES
STEPS = [  # rule, size, target
    ("node_perturbation", MNIST, "<= 6"),
    ("node_perturbation, noise=float32", MNIST, "<= 6"),
    ("hzo", MNIST, ""),
    ("layerwise_zo", MNIST, ""),
    ("sequential_local", MNIST, ""),
    ("spsa", MNIST, ""),
    ("spsa, rank=1", MNIST, ""),
    ("evolution_strategy", MNIST, ""),
    ("evolution_strategy, rank=1", MNIST, ""),
    ("forward_gradient", MNIST, "<= 25"),
    ("node_perturbation", YINYANG, "<= 8"),
    ("node_perturbation, noise=float32", YINYANG, "<= 8"),
    ("hzo", YINYANG, ""),
    ("layerwise_zo", YINYANG, ""),
    ("sequential_local", YINYANG, ""),
    ("spsa", YINYANG, ""),
    ("spsa, rank=1", YINYANG, ""),
    ("evolution_strategy", YINYANG, ""),
    ("forward_gradient", YINYANG, ""),
    ("coordinate_wise", YINYANG, ""),
    ("coordinate_wise", DIGITS, "<= 15"),
]


def crediting(size: tuple[int, ...], name: str) -> tuple[Callable[[], object], Callable[[], rules.Credit]]:
    """Return a forward pass of a spiking network without gradient, and a call of the rule's credit."""
    inputs, hidden, outputs, steps, samples = size
    rng = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(steps, samples, inputs, generator=rng)
    batch = Batch(x, torch.randint(outputs, (samples,), generator=rng))
    model = build((inputs,), outputs, (hidden,), LIF(tau_mem=10.0), LeakyIntegrator(tau_mem=10.0))
    known, *options = name.split(", ")
    given = dict(option.split("=") for option in options)
    rule = rules.make(known, **{key: int(value) if value.isdigit() else value for key, value in given.items()})
    state = rule.credit.init(model, rng)
    state = rule.credit.assign(model, rule.objective, batch, state, rng).state

    def forward() -> object:
        with torch.no_grad():
            return model(x)

    return forward, lambda: rule.credit.assign(model, rule.objective, batch, state, rng)


def step_rows(rounds: int = 15) -> list[tuple[str, ...]]:
    rows = []
    for name, place, target in STEPS:
        forward, step = crediting(SIZES[place], name)
        for call in (forward, step, forward, step):
            call()
        pairs = in_turn([spent(forward), spent(step)], rounds)
        a, b, ratio = (statistics.median(column) for column in zip(*((x, y, y / x) for x, y in pairs), strict=True))
        cost = step().cost
        counts = f"{cost.layer_evaluations:,}", f"{cost.layer_evaluations_done:,}"
        rows.append((f"`{name}`; {place}", f"{a * 1e3:.2f} ms", f"{b * 1e3:.2f} ms", f"{ratio:.1f}", target, *counts))
    return rows


STEP_WORDS = """\
The credit of one batch, beside a forward pass of the same network without gradient: a layer of LIF cells and a leaky
read-out, float32, one thread, rules with their default options. Calls alternate; times are medians of CPU time, ratios
are medians over neighbouring calls. Freed memory is kept, as in `sandbox compare`. Layer evaluations are those that
define the rule, and those that were computed. Noise of `node_perturbation` is drawn in float64 by default, which takes
more than half of a step of the first network; `noise="float32"` draws other numbers.

Why targets are missed: the default draws of `node_perturbation` alone take about as long as its target allows, and
faster ones are other numbers, so that recorded runs would not repeat. For `coordinate_wise` on digits all hidden units
have to be run for every input and sign, in chunks of 32 MB, of which smaller ones were slower; 8 evaluations of 906
are left, but they are many small calls. Stacked copies for `spsa` were not built: its products are those of whole
networks, and its option `rank` saves them.
"""


def put_steps() -> None:
    head = ("rule", "forward", "step", "step / forward", "target", "evaluations", "done")
    body = table(head, step_rows())
    put("Steps of zero-order rules", f"{STEP_WORDS}\n{body}\n\n{machine('torch', 'numba', 'learning-rule-sandbox')}")


WORDS = """\
Probes of one stage, tanh and a weight matrix in float32, by central differences along the unit vectors. Calls
alternate between the sides; times are medians, ratios are medians over neighbouring calls; the mean of two fresh
processes, with the range. Freed memory is kept, as in `sandbox compare`, or returned, as in a plain Python process.
"Memory" is what the allocator gave in addition to the recorded pass. Layer evaluations are counted while the rules
run; L (L - 1) / 2 and L - 1 approach their slopes from above.
"""


def put_probes() -> None:
    rows = [*time_rows("kept"), *time_rows("returned"), *memory_rows(), *slope_rows()]
    body = table(("what", "first", "ours or second", "ratio or slope", "target"), rows)
    put("Zero-order probes", f"{WORDS}\n{body}\n\n{machine('torch', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["times"]:
        if sys.argv[2] == "kept":
            keep_freed_memory()
        print(json.dumps(times()))
    elif sys.argv[1:] == ["steps"]:
        torch.set_num_threads(1)
        keep_freed_memory()
        put_steps()
    elif sys.argv[1:] == ["probes"]:
        torch.set_num_threads(1)
        put_probes()
    else:
        for part in ("steps", "probes"):  # each in a process of its own
            subprocess.run([sys.executable, str(HERE / "zero_order.py"), part], check=True)
