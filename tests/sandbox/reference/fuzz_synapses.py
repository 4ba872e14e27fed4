"""Synapses from a grammar of statements that are defined everywhere, compared with Brian2 in every step."""

from __future__ import annotations

import random

import torch

from sandbox.reference import from_brian2_synapses
from sandbox.reference.synapses.in_brian2 import synapses_in_brian2
from tests.rules.credit.spike_timing.trains import poisson

INPUTS, CELLS, STEPS = 3, 2, 40
CLOSE = 1e-9  # 40 steps, values between -2 and 2; what is unbounded is skipped
NAMES = ["w", "x", "y", "p", "s", "c", "0.5", "2", "dt / tau", "k"]
FORMS = [
    "({0} + {1})",
    "({0} - {1})",
    "({0} * {1})",
    "({0} / (1 + abs({1})))",
    "clip({0}, -1, {1})",
    "sin({0})",
    "exp(-abs({0}))",
    "sqrt(abs({0} + 2))",
    "abs({0})**1.5",
    "sign({0} - 0.1)",
    "int({0} > {1}) * {1}",
    "tanh({0})",
    "(-{0})",
    "int({0} > 0.3 or not {1} < 0.2)",
    "(2 + {0})**2",
    "log(2 + abs({0}))",
]


def expression(rng: random.Random, depth: int, names: list[str]) -> str:
    """Return an expression that is finite for finite values."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(names)
    return rng.choice(FORMS).format(*(expression(rng, depth - 1, names) for _ in range(2)))


def pathway(rng: random.Random, transmits: bool = True) -> str:
    """Return a few statements; values stay between -2 and 2."""
    lines, names = [], list(NAMES)
    for _ in range(rng.randint(1, 4)):
        target = rng.choice(["w", "w", "x", "y", "p", "local"])
        if target == "local" and "local" not in names:
            lines.append(f"local = 0.9 * {expression(rng, 2, names)}")
            names.append("local")
            lines.append("p = clip(local, -2, 2)")  # a name that nothing reads would be an effect on a cell
            continue
        if target == "local":
            continue
        sign = rng.choice(["", "+", "-", "*"])
        # with a factor: in Brian2's NumPy code "x = w" is a second name of the same array
        lines.append(f"{target} {sign}= 0.9 * {expression(rng, 2, names)}")
        lines.append(f"{target} = clip({target}, -2, 2)")
    return "\n".join(["v_post += w", *lines] if transmits and rng.random() < 0.3 else lines)


def synapses(rng: random.Random) -> dict[str, object]:
    """Return synapses with equations of both kinds."""
    flag = rng.choice(["event-driven", "clock-driven"])
    slow = expression(rng, 2, ["w", "p", "c", "0.5", "z"])
    model = f"""dx/dt = -x / tau : 1 ({rng.choice(["event-driven", "clock-driven"])})
        dy/dt = (c - y) / (2 * tau) : 1 ({flag})
        dz/dt = (tanh({slow}) - z) / tau : 1 (clock-driven)
        s = {expression(rng, 2, ["z", "p", "c", "z"])} : 1
        p : 1
        c : 1 (constant)"""
    weight = "w : 1" if rng.random() < 0.7 else "dw/dt = (c - w) / (9 * tau) : 1 (clock-driven)"
    on_pre = {"a": pathway(rng), "b": pathway(rng)} if rng.random() < 0.3 else pathway(rng)
    return {
        "model": f"{weight}\n{model}",
        "on_pre": on_pre,
        "on_post": pathway(rng, transmits=False) + "\nw = clip(w + 0.1 * x, -2, 2)",
        "method": rng.choice(["euler", "rk2", "rk4", "heun"]),
        "namespace": {"tau": "7*ms", "k": 0.3},
        "initial": {"c": 0.4, "x": 0.2},
        "order": rng.choice([{}, {}, {"post": -2}]),
    }


def compared(count: int, seed: int) -> int:
    """Compare so many synapses with Brian2; return how many were."""
    rng, done = random.Random(seed), 0
    for number in range(count):
        settings = synapses(rng)
        try:
            rule = from_brian2_synapses(**settings)  # type: ignore[arg-type]
        except ValueError as refused:
            if "and Brian2 takes the value of before the pathway" not in str(refused):
                raise
            continue
        pre, post = poisson(STEPS, INPUTS, 0.2, number), poisson(STEPS, CELLS, 0.2, number + count)
        start = torch.rand(CELLS, INPUTS, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        theirs = synapses_in_brian2(rule, start, pre, post, 1.0)
        rows = [now for now, _ in rule.run(start, pre[:, None, None], post[:, None, :, None], 1.0)]
        events = {line.name for line in rule.prepared.text.lines if "event-driven" in line.flags}
        asked = (pre[:, None] + post[..., None]) > 0
        for name, values in theirs.items():
            mine = torch.stack([row[name].expand(1, CELLS, 1, INPUTS)[0, :, 0] for row in rows])
            apart = (mine - values).abs() * (asked if name in events else 1)
            assert float(apart.max()) < CLOSE, (seed, number, name, settings)
        done += 1
    return done
