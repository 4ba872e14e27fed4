"""Spell out the shorthands of the command line for the parser, such as a single item where a list is expected."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sandbox.cli.options import COMMANDS, JSON

NAMED = (  # have a `name`
    *("task", "encoder", "augment", "rule", "schedule"),
    *("network.neuron", "network.readout", "network.model"),
    *("rule.objective", "rule.credit", "rule.plasticity"),
)
LISTS = (
    "rules",
    "stages",
    "network.hidden",
    "tiers",
    "microscope.references",
    "health.stop",
)  # a single item is allowed
STAGES = ("rule", "seed")  # settings that are so written in a curriculum, beside those
EXPERIMENT = (  # settings of an experiment that are written without `experiment.` in a comparison
    "task",
    "encoder",
    "augment",
    "network",
    "epochs",
    "batch_size",
    "checkpoint_steps",
    "threads",
    "synapses",
    "kernels",
    "microscope",
    "health",
    "confirm",
    "device",
    "schedule",
    "clip",
    "precision",
    "accumulate",
    "keep",
    "parent",
)


def understood(words: Sequence[str], command: str) -> list[str]:
    """Return the arguments of a command line with its shorthands spelled out.

    `--rule bptt` is `--rule.name bptt`, `--parent F` is `--parent.folder F`; `--rules bptt`, `--rules bptt,hzo` and
    `--rules bptt hzo` are lists; in a comparison `--epochs 3` is `--experiment.epochs 3`. Dashes and underscores in
    names are the same. Anything else stays as it is.

    >>> understood(["--rule", "bptt", "--network.hidden=30r"], "run")
    ['--rule.name=bptt', '--network.hidden=[30r]']
    >>> understood(["--rules", "bptt", "--task", "digits"], "compare")
    ['--rules=[bptt]', '--experiment.task.name=digits']
    >>> understood(["--rules", "bptt", "hzo", "--rule", "spsa"], "compare")
    ['--rules=[bptt,hzo]', '--rule=spsa']
    >>> understood(["--data_dir", "x", "--batch-size=8"], "run")
    ['--data-dir=x', '--batch_size=8']
    >>> understood(["--rule.plasticity", "sign", "--rule.objective={name: tet}"], "run")
    ['--rule.plasticity.name=sign', '--rule.objective={name: tet}']
    >>> understood(["--parent", "runs/first", "--parent.how=teacher", "--parent.help"], "compare")
    ['--experiment.parent.folder=runs/first', '--experiment.parent.how=teacher', '--experiment.parent.help']
    """
    words = [_named(word, command) for word in words]
    if command == "curriculum" and words and not words[0].startswith("-"):
        words = [f"--config={words[0]}", *words]  # the file is a setting, and an argument of the command
    if command not in ("run", "compare", "curriculum", "validate"):
        return words
    flags = {"--help-all", "--json", *(option.name for option in COMMANDS[command].options if option.flag)}
    found, waiting, sweeps = [], list(words), list[str]()
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if name in flags or not name.startswith("--"):
            found.append(word)
            continue
        if name.endswith(".help") and not equals:
            found.append(option(name.removeprefix("--"), "", command).removesuffix("="))
            continue
        if not equals:
            if not waiting or waiting[0].startswith("--"):  # its value is missing: the parser reports it
                found.append(word)
                continue
            value = waiting.pop(0)
        while name.removeprefix("--") in LISTS and command != "validate" and waiting and not waiting[0].startswith("-"):
            value = f"{value},{waiting.pop(0)}"  # `--rules bptt hzo`; `validate` takes a neuron after its options
        if name == "--sweep":
            sweeps.append(value)
        else:
            found.append(option(name.removeprefix("--"), value, command))
    return [*found, f"--sweep={json.dumps(sweeps)}"] if sweeps else found


def _named(word: str, command: str) -> str:
    """Return a word; if it is an option, its name is written as the parser has it, with dashes or underscores."""
    name, equals, value = word.partition("=")
    if not name.startswith("--"):
        return word
    dashed, under = (f"--{name[2:].replace(*pair)}" for pair in (("_", "-"), ("-", "_")))
    own = {"--help-all", JSON.name, *(option.name for option in COMMANDS[command].options)}
    if dashed in own:
        name = dashed
    elif COMMANDS[command].config:
        name = under
    return f"{name}{equals}{value}"


def option(name: str, value: str, command: str) -> str:
    """Return one option with its value, spelled out."""
    within = {"compare": EXPERIMENT, "curriculum": (*EXPERIMENT, *STAGES)}.get(command, ())
    inner = name.removeprefix("experiment.") if within else name
    if inner.split(".")[0] in within:
        name = f"experiment.{inner}"
    bare = value.strip()
    if inner == "parent" and bare[:1] not in ("{", "") and not bare.endswith((".yaml", ".yml")) and bare != "null":
        return f"--{name}.folder={value}"
    named = inner in NAMED and (not within or name != inner)  # a comparison has rules and no `rule`
    if named and bare[:1] not in ("{", "[", "") and not bare.endswith((".yaml", ".yml")) and bare != "null":
        name = f"{name}.name"
    elif inner in LISTS and bare[:1] not in ("[", "") and bare != "null":
        value = f"[{bare}]"
    return f"--{name}={value}"
