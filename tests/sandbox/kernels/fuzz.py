"""Random cases of kernels against the plain loop: neurons, user-written steps and compiled equations.

`python -m tests.sandbox.kernels.fuzz SEED STRUCTURE CASE` repeats one. A structure is compiled once; its cases differ
in parameters, shapes, steps, layouts and states, which compile nothing.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import SURROGATES, Surrogate, differentiating, reset_signal
from sandbox import simulate
from sandbox.kernels import using
from sandbox.neurons import IN_BRIAN2
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import variables
from sandbox.neurons.firing import RESETS
from sandbox.reference import from_brian2
from sandbox.reference.compiler.neuron import CompiledNeuron

SMOOTH = [name for name, shape in SURROGATES.items() if not shape.stochastic]
SHAPES = [(), (1,), (0,), (3,), (2, 5), (3, 1, 4), (70,), (4, 0)]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
    "reversed": lambda x: x.flip(0),
    "constant in time": lambda x: x[:1].expand(x.shape),
}
ROUNDING = {torch.float64: 1e-9, torch.float32: 2e-4}  # of the largest value; a rounding, magnified over 25 steps
NOISE = {torch.float64: 4e-16, torch.float32: 2e-7}  # of a change that shows how much a case magnifies roundings


class State(NamedTuple):
    """Two variables."""

    v: Tensor
    w: Tensor


ONE: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in ("tanh", "sin", "cos", "sigmoid", "abs", "sign", "floor", "neg", "erf")},
    "exp": lambda x: torch.exp(x.clamp(max=5.0)),
    "log": lambda x: torch.log1p(x.abs()),
    "sqrt": lambda x: torch.sqrt(x.abs() + 0.01),
    "square": torch.square,
    "third": lambda x: x**3,
    "root": lambda x: (x.abs() + 0.1) ** 0.37,
    "relu": lambda x: x.clamp(min=0.0),
    "bounded": lambda x: torch.clamp(x, -1.5, 1.5),
    "condition": lambda x: (x > 0.25).to(x.dtype),
    "stopped": lambda x: x.detach(),
    "like": lambda x: torch.zeros_like(x) + x,
}
TWO: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in ("add", "sub", "mul", "maximum", "minimum")},
    "quotient": lambda x, y: x / (1 + y * y),
    "choice": lambda x, y: torch.where(x > y, x, 0.5 * y),
    "lerp": lambda x, y: torch.lerp(x, y, 0.37),
    "lerp by a tensor": lambda x, y: torch.lerp(x, y, torch.sigmoid(x)),
    "addcmul": lambda x, y: torch.addcmul(x, y, y, value=-0.3),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, 1 + x * x, value=0.7),
    "scaled sum": lambda x, y: torch.add(x, y, alpha=0.45),
    "remainder": lambda x, y: torch.remainder(x, y.abs() + 0.5),
    "power": lambda x, y: torch.pow(x.abs() + 0.5, y.clamp(-2, 2)),
    "stack": lambda x, y: torch.stack([x, y, x]).sum(0),
    "cut": lambda x, y: torch.div(x, y.abs() + 0.5, rounding_mode="floor"),
}


@dataclass(frozen=True)
class Program(Neuron):
    """A neuron whose step is a random expression of current, variables and three numbers."""

    a: float = 0.5
    b: float = 0.7
    c: float = 1.3
    first: Any = "v"
    second: Any = "w"
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    def initial_state(self, shape: Any, like: Tensor) -> State:
        return State(like.new_zeros(tuple(shape)), like.new_full(tuple(shape), 0.2))

    def integrate(self, current: Tensor, state: State, dt: float) -> State:
        known = {"x": current, "v": state.v, "w": state.w, "a": self.a, "b": self.b, "c": self.c}
        v, w = (_value(each, known) for each in (self.first, self.second))
        return State(*(old + 0.3 * (torch.clamp(new, -4, 4) - old) for old, new in zip(state, (v, w), strict=True)))

    def fire(self, state: State, dt: float) -> tuple[Tensor, State]:
        spikes = self.surrogate.spike(self.centred(state))
        return spikes, state._replace(v=state.v * (1 - reset_signal(spikes)))

    def centred(self, state: State) -> Tensor:
        return state.v - 1.0


def _value(expression: Any, known: dict[str, Any]) -> Any:
    if isinstance(expression, str):
        return known[expression]
    name, *parts = expression
    values = [_value(part, known) for part in parts]
    return (ONE[name] if len(values) == 1 else TWO[name])(*values)


def _expression(rng: random.Random, depth: int) -> Any:
    """Return a random expression of tensors, some of them times a number."""
    if depth == 0:
        variable = rng.choice("xvw")
        return variable if rng.random() < 0.4 else ("mul", variable, rng.choice("abc"))
    if rng.random() < 0.4:
        return rng.choice(sorted(ONE)), _expression(rng, depth - 1)
    return rng.choice(sorted(TWO)), _expression(rng, depth - 1), _expression(rng, depth - 1)


TERMS = [
    *("a*v", "-b*v*w", "w*w*a", "tanh(c*w)", "exp(-v*v)*a", "v**3/9", "a*abs(w)", "c*sin(v)", "sqrt(v*v + b)", "v*w/c"),
    *(
        "b*int(v > a)",
        "clip(w, -1, 1)",
        "a*(v // 1)",
        "v % b",
        "log(1 + v*v)",
        "w*(1 - w)",
        "b*exprel(v/4)",
        "w/(1 + v*v)",
    ),
    *("sign(w)*b", "1/(1 + exp(-c*v))", "(v - a)*(w - b)", "ceil(v)*a", "v*v*w*w/9", "abs(v)**1.5*a", "cosh(w/3)"),
]


def _equations(rng: random.Random) -> Neuron:
    """Compile random equations of two variables without units."""
    drive, slow = (" + ".join(rng.sample(TERMS, 3)) for _ in range(2))
    return from_brian2(
        f"dv/dt = (-v + tanh({drive}) + current/nA)/(8*ms) : 1\ndw/dt = (-w + tanh({slow}))/(20*ms) : 1",
        threshold=rng.choice(["v > 1", "v >= 1 + 0.1*w", "v > 1 and w < 2"]),
        reset=rng.choice(["v = 0", "v -= 1; w += 0.1", "v = a*w"]),
        refractory=rng.choice([None, "2*ms"]),
        method=rng.choice(["euler", "euler", "rk2"]),
        namespace={"a": 0.5, "b": 0.7, "c": 1.3},
    )


@dataclass(frozen=True)
class Structure:
    """What one kernel is compiled for."""

    seed: int
    number: int
    neuron: Neuron
    dtype: torch.dtype
    how: dict[str, Any]  # of the pass
    memory: int | None
    learned: tuple[str, ...]  # fields that are tensors
    whole: bool  # whether those have a value for each cell


def structure(seed: int, number: int) -> Structure:
    """Return one of the structures of a seed: library, programs and equations in turn."""
    rng = random.Random(f"{seed}/{number}")
    surrogate = Surrogate(rng.choice(SMOOTH))
    kind = number % 4
    if kind < 2:
        neuron: Neuron = IN_BRIAN2[sorted(IN_BRIAN2)[(number // 4 * 2 + kind) % len(IN_BRIAN2)]]()
        changes: dict[str, Any] = {"surrogate": surrogate} if hasattr(neuron, "surrogate") else {}
        names = {f.name for f in fields(neuron)}  # type: ignore[arg-type]
        if "reset" in names:
            changes["reset"] = rng.choice(sorted(RESETS))
        if "strict" in names:
            changes["strict"] = rng.random() < 0.3
        if "t_refractory" in names and neuron.spiking and rng.random() < 0.5:
            changes["t_refractory"] = rng.choice([0.3, 2.5, 7.7])
        neuron = replace(neuron, **changes)  # type: ignore[type-var]
    elif kind == 2:
        neuron = Program(first=_expression(rng, 3), second=_expression(rng, 2), surrogate=surrogate)
    else:
        neuron = replace(_equations(rng), surrogate=surrogate)  # type: ignore[type-var]
    free = sorted(_numbers(neuron))
    learned = tuple(rng.sample(free, min(len(free), rng.choice([0, 0, 1, 2]))))
    how = {"detach_reset": rng.random() < 0.5, "smooth": rng.random() < 0.1 and surrogate.shape.primitive is not None}
    if rng.random() < 0.3:
        how["surrogate"] = Surrogate(rng.choice(SMOOTH))
        how["smooth"] = how["smooth"] and how["surrogate"].shape.primitive is not None
    dtype = torch.float32 if rng.random() < 0.4 else torch.float64
    memory = 64 if rng.random() < 0.2 else None
    return Structure(seed, number, neuron, dtype, how, memory, learned, rng.random() < 0.5)


def _numbers(neuron: Neuron) -> list[str]:
    """Return the parameters that a case may change: none whose value decides which operations a step has."""
    fixed = ("t_refractory", "v_reset", "v_leak")
    values = {f.name: getattr(neuron, f.name) for f in fields(neuron)}  # type: ignore[arg-type]
    return [
        name for name, value in values.items() if type(value) is float and name not in fixed and value not in (0, 1)
    ]


class Answer(NamedTuple):
    """What a loop computed."""

    spikes: Tensor
    shown: dict[str, Tensor]
    slopes: list[Tensor | None]


class Case:
    """One case of a structure."""

    def __init__(self, made: Structure, number: int) -> None:
        self.made, self.number = made, number
        rng = random.Random(f"{made.seed}/{made.number}/{number}")
        empty = made.whole and made.learned  # a learned parameter of no cells has no value to trace
        self.shape = rng.choice([shape for shape in SHAPES if 0 not in shape] if empty else SHAPES)
        self.steps = rng.choice([1, 2, 3, 7, 12, 25])
        # programs of equations take a second to write for each set of constants
        few = random.Random(number % 2) if isinstance(made.neuron, CompiledNeuron) else rng
        self.dt = few.choice([0.05, 0.1, 0.1, 0.25])
        self.layout = rng.choice(sorted(LAYOUTS))
        self.scale = {name: math.exp(few.uniform(-0.15, 0.15)) for name in _numbers(made.neuron)}
        self.strength = rng.choice([0.0, 0.5, 2.0, 6.0])
        self.generator = torch.Generator().manual_seed(rng.getrandbits(60))
        self.continued = rng.random() < 0.3

    def neuron(self) -> tuple[Neuron, list[Tensor]]:
        """Return the neuron with parameters of this case, and those that are learned."""
        made = self.made
        values: dict[str, Any] = {n: getattr(made.neuron, n) * s for n, s in self.scale.items()}
        leaves = []
        for name in made.learned:
            leaf = torch.full(self.shape if made.whole else (), values[name], dtype=made.dtype).requires_grad_()
            leaves.append(leaf)
            values[name] = leaf
        change = getattr(made.neuron, "with_parameters", None)
        return (change(**values) if change else replace(made.neuron, **values)), leaves  # type: ignore[type-var]

    def currents(self) -> Tensor:
        """Return the currents."""
        rheobase = float(torch.as_tensor(self.made.neuron.rheobase).double().mean())
        noise = torch.randn(
            self.steps, *self.shape, generator=self.generator.manual_seed(self.number), dtype=torch.float64
        )
        return LAYOUTS[self.layout]((rheobase * self.strength * (1 + 0.5 * noise)).to(self.made.dtype))

    def answer(self, mode: str, noise: float = 0.0) -> Answer:
        """Run one loop, with gradients for current, first state and learned parameters."""
        made = self.made
        neuron, leaves = self.neuron()
        x = (self.currents() * (1 + noise)).detach().requires_grad_()
        with ExitStack() as stack:
            stack.enter_context(using(mode, made.memory))
            stack.enter_context(differentiating(**made.how))
            start = neuron.initial_state(self.shape, x.detach())
            names = tuple(variables(start))
            free = [name for name in names if name != "wait"]
            start = start._replace(**{n: getattr(start, n).detach().clone().requires_grad_() for n in free})
            given = [x, *(getattr(start, n) for n in free), *leaves]
            run = simulate(neuron, x, self.dt, names, start)
            if self.continued:
                end = {n: getattr(run, n)[-1] for n in names}
                more = simulate(neuron, x, self.dt, names, start._replace(**end))
                run = replace(run, raster=torch.cat([run.spikes, more.spikes]))
        weights = torch.linspace(0.5, 1.5, len(run.spikes), dtype=made.dtype).reshape(-1, *[1] * len(self.shape))
        loss = (weights * run.spikes).sum()
        for name in free:
            loss = loss + torch.tanh(getattr(run, name) / 30).sum()
        slopes = torch.autograd.grad(loss, given, allow_unused=True) if loss.requires_grad else [None] * len(given)
        shown = {name: getattr(run, name).detach() for name in names}
        return Answer(run.spikes.detach(), shown, list(slopes))

    def mismatch(self) -> str | None:
        """Return in what a kernel differs from the plain loop by more than the plain loop magnifies roundings."""
        plain, ours = self.answer("plain"), self.answer("numba")
        found = difference(ours, plain, ROUNDING[self.made.dtype])
        if found is None:
            return None
        for noise in (NOISE[self.made.dtype], -NOISE[self.made.dtype]):
            if difference(self.answer("plain", noise), plain, ROUNDING[self.made.dtype] / 10) is not None:
                return TIE
        return found

    def __str__(self) -> str:
        made = self.made
        return (
            f"python -m tests.sandbox.kernels.fuzz {made.seed} {made.number} {self.number}  # {made.neuron!r}, {made.dtype}, "
            f"{made.how}, memory {made.memory}, learned {made.learned}, [{self.steps}, {self.shape}], {self.layout}"
        )


TIE = "a case that magnifies one rounding as much"


def difference(ours: Answer, plain: Answer, rtol: float) -> str | None:
    """Return in what two answers differ; None if they agree to `rtol` of the largest value."""
    if (
        not torch.equal(ours.spikes.isnan(), plain.spikes.isnan())
        or ours.spikes.nan_to_num().ne(plain.spikes.nan_to_num()).any()
    ):
        if not torch.allclose(ours.spikes, plain.spikes, rtol=rtol, atol=rtol * _size(plain.spikes), equal_nan=True):
            return "outputs"
        if bool(((plain.spikes == 0) | (plain.spikes == 1)).all()):
            return "spikes"
    for name, value in plain.shown.items():
        if not torch.allclose(ours.shown[name], value, rtol=rtol, atol=rtol * _size(value), equal_nan=True):
            return name
    for number, (a, b) in enumerate(zip(ours.slopes, plain.slopes, strict=True)):
        one, two = (torch.zeros(()) if g is None else g for g in (a, b))
        if not torch.allclose(one, two.to(one), rtol=rtol, atol=rtol * _size(two), equal_nan=True):
            return f"gradient {number}"
    return None


def _size(x: Tensor) -> float:
    finite = x[x.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def compared(structures: int, cases: int, seed: int) -> tuple[int, int]:
    """Run cases of so many structures; return how many agreed, and how many magnify a rounding as much.

    Raises:
        AssertionError: for a case that does not agree; the message is the line that repeats it.
    """
    agreed = ties = 0
    for number in range(structures):
        made = structure(seed, number)
        for each in range(cases):
            case = Case(made, each)
            try:
                found = case.mismatch()
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n{case}") from error
            assert found in (None, TIE), f"{found} differs\n{case}"
            agreed, ties = agreed + (found is None), ties + (found is not None)
    return agreed, ties


def main(seed: str, number: str, case: str) -> str:
    """Repeat one case."""
    return Case(structure(int(seed), int(number)), int(case)).mismatch() or "agrees"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
