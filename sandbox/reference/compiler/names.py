"""Names in equations: which are taken, which are known, and which belong to the clock."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from rules.errors import unknown
from sandbox.reference.compiler.functions import FUNCTIONS, RANDOM
from sandbox.reference.compiler.units import symbols
from sandbox.reference.compiler.written import Expression

CONSTANTS = ("pi", "e", "inf")
CLOCK = ("t", "t_in_timesteps", "lastspike", "i", "N")
CLOCKS = frozenset({"t", "t_si", "t_in_timesteps", "lastspike_si"})
MOVING = CLOCKS | {"i", "N"}  # what differs by step or cell without any input
NOISE = re.compile(r"xi(_[A-Za-z0-9_]+)?")
OF_SYMPY = ("oo", "zoo", "nan")  # what a division by zero gives
RESERVED = (
    "key",
    "wait",
    "clock",
    "t_si",
    "lastspike_si",
    "unread",
    "jumps",
    "dt",
    "not_refractory",
    "surrogate",
    "swing",
    "rheobase",
    "fastest",
    "step",
    "fire",
    "integrate",
    "centred",
    "initial_state",
    "equations",
    "method",
    "units",
    "spiking",
    "differentiable",
    "above",
    "choices",
    "draws",
    "presets",
    "preset",
    "threshold",
    "reset_code",
    "refractory",
    "model",
    "source",
    "with_parameters",
    "parameters",
    "membrane",
    "starts",
    "input",
    "recipe",
    "plans",
    "swings",
    "compiled_with",
    "driving",
    "unheeded",
    "heeds",
    "deaf",
    "answers",
    "driven",
    "inputs",
    "state_class",
    "count",
    "index",
    "fired",
    "at_epoch",
    "called",
    "causal",
    "changing",
    "clamped",
    "difference",
    "drawn",
    "kernel_when_compiled",
    "levels",
    "longest",
    "preset_currents",
    "progress",
    "published_dt",
    "reach",
    "rebuild",
    "recordable",
    "reference",
    "respond",
    "shared",
    "spontaneous",
    "unit",
    "within",
    "within_period",
    "spikes",
    "variables",
    "raster",
    "events",
    "self",
    "state",
)


def check_own(own: Sequence[str], namespace: Mapping[str, Any], taken: Iterable[str], whole: str, ending: str) -> None:
    """Raise ValueError for a name that is defined twice, or reserved: `taken` are those of every `whole`."""
    reserved = {*symbols(), *CONSTANTS, *taken, *FUNCTIONS, *RANDOM, *OF_SYMPY}
    for name in (*own, *namespace):
        if name in reserved or NOISE.fullmatch(name):
            raise ValueError(
                f"{name!r} is reserved (a unit, a function, a constant or part of every {whole}); "
                f"call it {name + '_' + ending!r} or the like"
            )
    twice = next((name for name in own if own.count(name) > 1 or name in namespace), None)
    if twice:
        raise ValueError(f"{twice!r} is defined twice; leave out one of the definitions")


def check_known(expression: Expression, valid: Iterable[str], refused: Mapping[str, str]) -> None:
    """Raise ValueError for a name in an expression that is not known, or is refused, for a reason."""
    for name in sorted(expression.names):
        if name in refused:
            raise ValueError(f"{name!r} in {expression!r}: {refused[name]}")
        if name not in valid and not NOISE.fullmatch(name):
            near = [n for n in valid if n not in symbols()] + ["mV", "ms", "nA"]
            raise unknown(f"identifier in {expression!r} (give its value in namespace=):", name, sorted(near))


def untaken(name: str, taken: Container[str]) -> str:
    """Return a name, with underscores behind it until it is not taken."""
    while name in taken:
        name += "_"
    return name
