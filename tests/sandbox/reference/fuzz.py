"""Equations from a grammar, and mutations of those of the literature, through the compiler."""

from __future__ import annotations

import random
from typing import Any

import torch

from sandbox.neurons import IN_BRIAN2
from sandbox.reference import from_brian2, from_brian2_synapses
from sandbox.reference.compiler import effort, grammar
from sandbox.reference.compiler.given import Given
from sandbox.reference.compiler.texts import read
from tests.sandbox.config.fuzz import watched
from tests.sandbox.reference.synaptic_models import EXAMPLES, LITERATURE

ATOMS = ["v", "w", "a", "tau", "current", "1", "2.5", "1e3", "10*mV", "5*ms", "x", "xi", "t", "i", "pi", "inf", "True"]
CALLS = ["f", "exp", "sin", "log", "sqrt", "clip", "int", "exprel", "rand", "open", "eval", "__import__", "abs"]
OPERATORS = ["+", "-", "*", "/", "**", "//", "%", "<", "==", " and ", " or ", "@", "<<", "."]
JUNK = ["'s'", "[v]", "{v}", "lambda: v", "v.real", "v[0]", ":=", "\x00", "µ", "#", "(", ")", ";", "\n", ":", "9**9**9"]
JUMPS: list[Any] = [None, "v", "w", {"x": "v"}, {"I": "w", "step": "v"}, {"__import__": "v"}, {3: "v"}]
INPUTS: list[Any] = [None, ("I",), {"I": "1", "x": "1"}, {"a": "1", "I": "open()"}, ("step", "a"), "x", 3, ["v"], []]
DRIVEN = [(inputs, jumps) for inputs in INPUTS for jumps in JUMPS]
MODELS = [str(neuron.equations) for neuron in IN_BRIAN2.values()]


def expression(rng: random.Random, depth: int) -> str:
    """Return an expression that may be valid."""
    if depth == 0 or rng.random() < 0.25:
        return rng.choice(ATOMS) if rng.random() < 0.97 else rng.choice(JUNK)
    inner = [expression(rng, depth - 1) for _ in range(2)]
    match rng.randrange(5):
        case 0:
            return f"{rng.choice(CALLS)}({inner[0]})"
        case 1:
            return f"({inner[0]})**{rng.choice(['2', '3', '16', '32', '-4', '(1/2)', '99', 'v'])}"
        case 2:
            return "*".join([f"({inner[0]})"] * rng.choice([2, 3, 14]))
        case _:
            return f"({inner[0]} {rng.choice(OPERATORS)} {inner[1]})"


def model(rng: random.Random) -> str:
    """Return equations: of the grammar, with a chain of subexpressions, or mutated from a model of the literature."""
    kind = rng.randrange(3)
    if kind == 0:
        return f"dv/dt = ({expression(rng, 4)} - v) / tau : 1\ndw/dt = {expression(rng, 2)}/ms : 1\na : 1\nx : 1 (constant)"
    if kind == 1:
        count = rng.choice([1, 3, 12])
        chain = [f"x{n + 1} = {expression(rng, 2).replace('x', f'x{n}')} : 1" for n in range(count)]
        return "\n".join([f"dv/dt = (x{count} - v) / tau : 1", "x0 = v + a : 1", "a : 1", *chain])
    text = rng.choice(MODELS)
    for _ in range(rng.randint(1, 4)):
        first = rng.randrange(len(text))
        last = min(len(text), first + rng.randint(0, 6))
        text = text[:first] + rng.choice([*ATOMS, *OPERATORS, *JUNK, *CALLS, "", text[:20]]) + text[last:]
    return text


def _read(held: Given, driven: tuple[Any, ...], arities: dict[str, int]) -> Any:
    """Read a model that may call functions that were handed over."""
    with grammar.calling(arities):
        return read(held, driven, arities)


def front(count: int, seed: int) -> int:
    """Pass so many models through everything that comes before Brian2; return how many were accepted."""
    rng, accepted = random.Random(seed), 0
    for number in range(count):
        held = Given(model(rng), expression(rng, 2), f"v = {expression(rng, 2)}", None, None, {}, {}, {})
        driven = ("current", "1", *(rng.choice(DRIVEN) if rng.random() < 0.5 else (None, None)))
        arities = rng.choice([{}, {"f": 1}])
        accepted += watched(lambda g=held, d=driven, a=arities: _read(g, d, a), (seed, number))
    return accepted


def whole(count: int, seed: int) -> int:
    """Compile so many models; return how many were accepted."""
    rng, accepted = random.Random(seed), 0
    from_brian2(
        "dv/dt = -v / tau : 1", "v > 1", input=None, namespace={"tau": "10*ms"}
    )  # makes what Brian2 needs at its import
    for number in range(count):
        text, settings = model(rng), options(rng)
        accepted += watched(lambda t=text, s=settings: from_brian2(t, **s), (seed, number))
    return accepted


def options(rng: random.Random) -> dict[str, Any]:
    """Return arguments beside the equations, each with text of the grammar, with values of any kind, or left out."""
    namespace = {"tau": "10*ms", "unused": [object()]}
    settings: dict[str, Any] = {"threshold": "v > 1", "namespace": namespace, "input": None}
    others = {
        "threshold": [expression(rng, 2), f"v > {expression(rng, 1)} or not w", "w or lastspike > 1*ms"],
        "reset": [f"v = {expression(rng, 2)}", "v = 0; w += 1"],
        "refractory": [expression(rng, 1), "2*ms", "x*ms"],
        "initial": [{"v": expression(rng, 2)}, {"x": [1.0, 2.0]}, {"x": "i/N", "v": "rand()"}, {"v": rng.choice(JUNK)}],
        "method": [("exact", "euler"), "linear", ("euler", 3), []],
        "jumps": ["v", "w", "step", "v.real", 3, {"x": "v"}, {"I": "w", "step": "v"}, {"__import__": "v"}, {3: "v"}],
        "inputs": [("x",), {"I": "1", "x": "1"}, {"I": "open()"}, ("step", "I"), "x", 3, ["v"], [], {"a.b": "1"}],
        "events": [
            {"high": ("v > 0.5", f"w = {expression(rng, 2)}")},
            {"low": (expression(rng, 2), "v = 0")},
            {"x": ("v > 1", rng.choice(JUNK))},
            {"__import__": ("v > 1", "v = 0")},
            {"spike": ("v > 1", "v = 0")},
            {"x": "v > 1"},
        ],
        "functions": [
            {"f": abs},
            {"open": torch.sin},
            {"v": torch.sin},
            {"__import__": torch.sin},
            {"x": "eval"},
            {"f": 3},
        ],
        "input": ["x", "I", None, "step", "t", "__import__"],
    }
    for name in rng.sample(sorted(others), rng.randrange(3)):  # of more, one would always be wrong
        settings[name] = rng.choice(others[name])
    return settings


def synapses(count: int, seed: int) -> int:
    """Compile so many synapses, of the grammar and mutated from the literature; return how many were accepted."""
    rng, accepted = random.Random(seed), 0
    from_brian2_synapses("w : 1", on_pre="w += 1")  # makes what Brian2 needs at its import
    for number in range(count):
        settings = written(rng) if rng.random() < 0.6 else mutated(rng)
        accepted += watched(lambda s=settings: from_brian2_synapses(**s), (seed, number))
    return accepted


def written(rng: random.Random) -> dict[str, object]:
    """Return synapses from the grammar that may be valid."""
    flag = rng.choice(["event-driven", "clock-driven", "event-driven", "summed", ""])
    model = f"w : 1\ndv/dt = ({expression(rng, rng.randrange(3))} - v) / tau : 1" + f" ({flag})" * bool(flag)
    targets = ["w", "v", "a", "x", "v_post", "tau", "w"]
    lines = [f"{rng.choice(targets)} {rng.choice(['', '+', '-', '*'])}= {expression(rng, 2)}" for _ in range(3)]
    return {
        "model": f"{model}\na : 1\nx : 1 (constant)",
        "on_pre": "; ".join(["w += v", *lines[: rng.randrange(3)]]),
        "on_post": rng.choice([None, "v += 1", lines[2]]),
        "namespace": {"tau": "10*ms"},
        "initial": {"x": 0.5},
    }


def mutated(rng: random.Random) -> dict[str, object]:
    """Return synapses of the literature with a piece of one text replaced."""
    settings = dict(rng.choice([*EXAMPLES.values(), *LITERATURE.values()]))
    side = rng.choice([name for name in ("model", "on_pre", "on_post") if isinstance(settings.get(name), str)])
    text = settings[side]
    for _ in range(rng.randint(1, 3)):
        first = rng.randrange(len(text) + 1)
        last = min(len(text), first + rng.randint(0, 6))
        text = text[:first] + rng.choice([*ATOMS, *OPERATORS, *JUNK, *CALLS, "", text[:20]]) + text[last:]
    return {**settings, side: text}


def terms(text: str) -> int:
    """Return the size that is counted for an expression."""
    return effort.size(grammar.expression(text).tree, {}).total
