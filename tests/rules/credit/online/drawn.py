"""Recurrent networks that NEST and the engine both train by e-prop: constants, weights, input and targets, NumPy alone.

NumPy's legacy generator is used, whose stream is the same in every version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

SEQUENCES = 5  # of the published tasks; losses are those before each of four updates and after


class Given(NamedTuple):
    """What a network starts with and is shown."""

    into: np.ndarray  # [cells, inputs]
    recurrent: np.ndarray  # [cells, cells], zero on the diagonal
    out: np.ndarray  # [outputs, cells]
    back: np.ndarray  # [cells, outputs], the fixed weights of the learning signal
    spikes: np.ndarray  # [sequences, steps, inputs], booleans
    target: np.ndarray  # [sequences, steps, outputs]


@dataclass(frozen=True)
class Spec:
    """A network and its task, in NEST's constants; times in ms and steps of 1 ms."""

    draw: Callable[[Spec], Given]
    seed: int = 1
    steps: int = 60
    sequences: int = 4
    window: int = 60  # steps at the end that have a target
    inputs: int = 5
    cells: int = 6
    adaptive: int = 0  # the last cells
    outputs: int = 2
    tau_mem: float = 20.0
    tau_out: float = 15.0
    tau_adapt: float = 100.0
    beta: float = 0.1
    threshold: float = 0.5
    whole_gain: bool = False  # a current is added whole, not times 1 - alpha
    t_refractory: float = 0.0
    rate: float = 20.0
    target_rate: float = 20.0  # [Hz]
    cross_entropy: bool = False
    adam: bool = False
    lr: float = 1e-2

    @property
    def averaged(self) -> bool:
        """Whether gradients are divided by the window."""
        return self.cross_entropy


def small(spec: Spec) -> Given:
    """Return a network whose cells all fire, the same input in every sequence.

    The first three steps have no input: NEST updates a weight when it next carries a spike, and the error of the last
    step has not come to its cells by then.
    """
    rng = np.random.RandomState(spec.seed)
    scale = 0.3 if spec.whole_gain else 4.0
    into = scale * rng.randn(spec.cells, spec.inputs) + scale
    recurrent = off_diagonal(scale * rng.randn(spec.cells, spec.cells))
    out, back = rng.randn(spec.outputs, spec.cells), rng.randn(spec.cells, spec.outputs)
    spikes = rng.rand(spec.steps, spec.inputs) < 0.3
    spikes[:3] = False
    target = rng.randn(spec.steps, spec.outputs)
    if spec.cross_entropy:
        target = one_hot(spec, 1)
    return Given(into, recurrent, out, back, *(np.stack([part] * spec.sequences) for part in (spikes, target)))


def early(spec: Spec) -> Given:
    """Return the same, where one input fires in the second step."""
    given = small(spec)
    given.spikes[:, 1, 0] = True
    return given


def sines(spec: Spec) -> Given:
    """Return the pattern generation of NEST's tests: frozen noise is to become a sum of four sines."""
    rng = np.random.RandomState(spec.seed)
    n, m = spec.cells, spec.inputs
    into, recurrent = rng.randn(m, n).T / m**0.5, off_diagonal(rng.randn(n, n).T / n**0.5)
    out, back = (rng.randn(n, 1) / n**0.5 for _ in range(2))
    spikes = rng.rand(spec.steps, m) < 0.05
    spikes[0] = False
    sizes, phases = rng.uniform(0.5, 2.0, 4), rng.uniform(0.0, 2 * np.pi, 4)
    turns = [2 * np.pi * (spec.steps // period) for period in (1000, 500, 333, 200)]
    parts = [a * np.sin(np.linspace(p, p + turn, spec.steps)) for a, p, turn in zip(sizes, phases, turns, strict=True)]
    target = np.sum(parts, 0) - sum(part[0] for part in parts)
    target = target[:, None] / np.abs(target).max()
    single = [w.astype(np.float32).astype(float) for w in (into, recurrent, out.T, back)]
    return Given(*single, *(np.stack([part] * spec.sequences) for part in (spikes, target)))


def cues(spec: Spec) -> Given:
    """Return the evidence accumulation of NEST's tests: seven cues left or right, and after a pause, which were more."""
    rng = np.random.RandomState(spec.seed)
    n, m, k = spec.cells, spec.inputs, spec.outputs
    into, recurrent = rng.randn(m, n).T / m**0.5, off_diagonal(rng.randn(n, n).T / n**0.5)
    limit = (3 / ((n + k) / 2)) ** 0.5
    out, back = rng.uniform(-limit, limit, (n, k)).T, rng.randn(n, k)
    spikes, targets, group = [], [], m // 4
    for _ in range(spec.sequences):
        likely = np.array([0.3, 0.7], np.float32)[:: 1 if rng.choice([0, 1], 1)[0] == 0 else -1]
        sides = rng.choice([0, 1], 7, p=likely)
        chance = np.zeros((spec.steps, m))
        for number, side in enumerate(sides):
            start = 150 * number + 50
            chance[start : start + 100, side * group : (side + 1) * group] = 0.04
        chance[-spec.window :, 2 * group : 3 * group] = 0.04
        chance[:, 3 * group :] = 0.01
        fired = chance > rng.rand(chance.size).reshape(chance.shape)
        fired[0] = False
        spikes.append(fired)
        targets.append(one_hot(spec, int(sides.sum() > 3)))
    single = [w.astype(np.float32).astype(float) for w in (into, recurrent, out, back)]
    return Given(*single, np.stack(spikes), np.stack(targets))


def off_diagonal(weights: np.ndarray) -> np.ndarray:
    """Return weights without those of cells to themselves."""
    return weights * (1 - np.eye(len(weights)))


def one_hot(spec: Spec, label: int) -> np.ndarray:
    """Return the target of a class in the window, `[steps, outputs]`."""
    target = np.zeros((spec.steps, spec.outputs))
    target[-spec.window :, label] = 1.0
    return target


PLAIN = Spec(small)
ADAPTIVE = Spec(small, seed=2, adaptive=6, whole_gain=True, t_refractory=5.0)
SMALL = {
    "LIF": PLAIN,
    "ALIF, refractory": ADAPTIVE,
    "both, cross-entropy, Adam": replace(ADAPTIVE, seed=3, adaptive=3, window=40, cross_entropy=True, adam=True),
}
EARLY = {"an early spike": replace(PLAIN, draw=early, sequences=2)}
LARGE = {
    "pattern generation": Spec(
        sines,
        steps=1000,
        sequences=SEQUENCES,
        window=1000,
        inputs=100,
        cells=100,
        outputs=1,
        tau_mem=30.0,
        tau_out=30.0,
        threshold=0.03,
        rate=300.0,
        target_rate=10.0,
        lr=1e-4,
    ),
    "evidence accumulation": Spec(
        cues,
        steps=2250,
        sequences=SEQUENCES,
        window=150,
        inputs=40,
        cells=100,
        adaptive=50,
        tau_mem=20.0,
        tau_out=20.0,
        tau_adapt=2000.0,
        beta=1.7 * (1 - np.exp(-1 / 2000)) / (1 - np.exp(-1 / 20)),
        threshold=0.6,
        whole_gain=True,
        t_refractory=5.0,
        rate=300.0,
        target_rate=10.0,
        cross_entropy=True,
        adam=True,
        lr=5e-3,
    ),
}
