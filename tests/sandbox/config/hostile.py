"""Hostile values for every field and option, and mutations of configurations."""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from rules.diagnostics.monitor import Health
from rules.fields import hints_of
from rules.plasticity.memristor import DEVICES, STORES
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid
from sandbox.config.curriculum import Curriculum
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.microscope import MicroscopeConfig
from sandbox.config.parent import Parent
from sandbox.config.registry import REGISTRIES, Choice
from sandbox.config.rule import RuleConfig, Search
from sandbox.tuning.tuning import Tuning

VALUES = ["x", [], {}, True, 2.5, -1, 2**70, math.nan, math.inf, None]
SHAPES = {"perceptron": (8,), "recurrent": (8,)}
CONFIGS = {
    Experiment: {},
    NetworkConfig: {},
    RuleConfig: {},
    Search: {"options": {"lr": 0.1}, "within": {"lr": [0.001, 1.0]}},
    Choice: {"name": "lif"},
    MicroscopeConfig: {},
    Health: {},
    Comparison: {},
    Grid: {"comparisons": [Comparison()]},
    Tuning: {"grid": Grid([Comparison()])},
    Parent: {"folder": "runs/first"},
    Curriculum: {},
}


def given(kind: str, name: str) -> dict[str, Any]:
    """Return what the caller of a member gives."""
    return {"shape": SHAPES.get(name, (3, 32, 32)), "classes": 10, "seed": 0} if kind == "model" else {}


def options() -> list[tuple[str, str, str]]:
    """Return every option of every member of every registry."""
    found = [
        (kind, name, option)
        for kind, members in REGISTRIES.items()
        for name, member in members.items()
        for option in inspect.signature(member).parameters
        if kind != "tracker" and option not in given(kind, name)
    ]
    for part, members in (("device", DEVICES), ("store", STORES)):
        for name, member in members.items():
            settings = member if part == "device" else member()
            found += [(f"{part}_options", name, field.name) for field in fields(settings)]
    return found


def make(kind: str, name: str, option: str, value: Any) -> Any:
    """Build a member with one option."""
    if kind.endswith("_options"):
        part = kind.removesuffix("_options")
        return Choice("memristor", {part: name, kind: {option: value}}).make("plasticity")
    return Choice(name, {option: value}).make(kind, **given(kind, name))


def config_fields() -> list[tuple[type, str]]:
    """Return every field of every dataclass of a configuration."""
    return [(kind, field.name) for kind in CONFIGS for field in fields(kind)]


def inside(kind: Any, seen: set[Any]) -> set[Any]:
    """Return the dataclasses that a configuration is made of, found through its types."""
    from typing import get_args

    if is_dataclass(kind) and isinstance(kind, type) and kind not in seen:
        seen.add(kind)
        for hint in hints_of(kind).values():
            inside(hint, seen)
    for part in get_args(kind):
        inside(part, seen)
    return seen


def allows(hint: Any, value: Any) -> bool:
    """Return whether a type has room for a value: an oracle of its own, by the text of the type."""
    text = str(hint)
    names = {
        bool: ("bool",),
        int: ("int", "float"),
        float: ("float",),
        str: ("str", "Literal"),
        list: ("list", "tuple", "Sequence"),
        dict: ("dict", "Mapping"),
        type(None): ("None",),
    }
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return text == "typing.Any" or any(name in text for name in names[type(value)])


def examples() -> list[tuple[type, dict[str, Any]]]:
    """Return valid configurations of each kind, as content of a YAML file."""
    rich = Experiment(
        encoder=Choice("poisson", {"steps": 5}),
        augment=Choice("vector", {"noise": 0.1}),
        network=NetworkConfig([8, "6r"], Choice("alif", {"beta": 0.2})),
        rule=RuleConfig("bptt", {"lr": 0.01}, plasticity=Choice("sgd"), regularisers=[Choice("rate_l1")], label="a b"),
        microscope=MicroscopeConfig(5, ["bptt", Choice("bptt", {"window": 2})]),
        health=Health(stop=("silent",)),
        schedule=Choice("cosine", {"low": 0.1}),
        clip=1.0,
    )
    comparison = Comparison(Experiment(), ["bptt", RuleConfig("spsa", {"lr": 0.1}, epochs=2)], seeds=2)
    grid = Grid([comparison, Comparison(Experiment(epochs=3))], "two")
    kinds = [Experiment(), rich, comparison, grid, Tuning(grid, 3)]
    return [(type(config), plain(asdict(config))) for config in kinds]


def plain(value: Any) -> Any:
    """Return tuples as lists, as YAML has them."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


STRANGE = [
    *VALUES,
    *("", "true", "null", "1e3", "os:system", "a/../b", "\x1b[31m", "é", "x" * 10_000),
    *(0, 1, 10**9, 2**63, -(2**63), 1e-300, 1e300, -0.0, -math.inf, False, 10**400),
    *([[]], [None], {"name": "x"}, {"class_path": "os.system"}, {1: 2}, b"x", object()),
]


def mutated(content: dict[str, Any], rng: Any) -> dict[str, Any]:
    """Return a copy with one to three places changed: replaced, removed, misspelt, nested, repeated, exchanged."""
    found = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        spots = list(places(found))
        holder, key = rng.choice(spots)
        match rng.randrange(7):
            case 0 | 1:
                holder[key] = copy.copy(rng.choice(STRANGE))
            case 2:
                del holder[key]
            case 3 if isinstance(holder, dict):
                holder[str(key)[:-1] + "q"] = holder.pop(key)
            case 4:
                holder[key] = {str(key): holder[key]}
            case 5:
                holder[key] = [holder[key], holder[key]]
            case _:
                other, place = rng.choice(spots)
                holder[key] = copy.deepcopy(other[place]) if other is not holder else str(holder[key])
        if not found:
            break
    return found


def places(value: Any) -> Any:
    """Yield every key of every dict and index of every list, with its holder."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


def plain_config(kind: type) -> dict[str, Any]:
    """Return the least that a configuration of this kind needs, as content of a YAML file."""
    return {key: plain(asdict(value)) if is_dataclass(value) else value for key, value in CONFIGS[kind].items()} | (
        {"comparisons": [{}]} if kind is Grid else {}
    )
