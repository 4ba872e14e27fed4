"""A page of documentation for each member of a registry, from its docstring and its fields."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields, is_dataclass
from textwrap import dedent
from typing import Any

from sandbox.cli.meanings import meanings
from sandbox.neurons import Cell, Neuron

SECTIONS = ("Args:", "Attributes:", "Raises:")  # Markdown needs an empty line before an indented block


def page(name: str, member: Any) -> str:
    """Return the Markdown page of a member: its docstring, its parameters and, for a neuron, what Brian2 runs.

    >>> from sandbox.neurons import LIF
    >>> print(page("lif", LIF).splitlines()[0])
    # LIF (`lif`)
    """
    kind = getattr(member, "func", member)  # a `functools.partial` of a class
    kind = kind if hasattr(kind, "__name__") else type(kind)
    parts = [f"# {kind.__name__} (`{name}`)", _prose(inspect.getdoc(kind) or "")]
    if is_dataclass(member):
        parts.append(_parameters(member))
    elif inspect.isfunction(member):  # a recipe
        parts.append(_options(member))
    if isinstance(member, type) and issubclass(member, Cell):
        parts += [_checked(member()), _presets(member)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _prose(text: str) -> str:
    """Return a docstring with its examples fenced; indented equations already are code blocks in Markdown."""
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        example = line.startswith(">>>") or (fenced and bool(line.strip()))
        if example != fenced:
            lines.append("```python" if example else "```")
        fenced = example
        lines += [line, ""] if line in SECTIONS else [line]
    return "\n".join([*lines, "```"] if fenced else lines)


def _parameters(member: Any) -> str:
    neuron = isinstance(member, type) and issubclass(member, Cell)
    units, above = (member.units, member.above) if neuron else ({}, {})
    rows = [
        f"| `{f.name}` | {_default(member, f)} | {units.get(f.name, 'ms' if f.name.startswith('t_') else '')} | "
        f"{f'above `{above[f.name]}`' if f.name in above else ''} |"
        for f in fields(member)
    ]
    return "\n".join(["## Parameters", "", "| name | default | unit | stays |", "| --- | --- | --- | --- |", *rows])


def _options(function: Any) -> str:
    known = meanings(function)
    rows = [
        f"| `{option.name}` | {'required' if option.default is option.empty else f'`{option.default!r}`'} | "
        f"{cell(known.get(option.name, ''))} |"
        for option in inspect.signature(function).parameters.values()
    ]
    return "\n".join(["## Options", "", "| name | default | meaning |", "| --- | --- | --- |", *rows])


def cell(text: str) -> str:
    r"""Return a text for a cell of a table, in which | begins the next one.

    >>> cell("the lag |t|")
    'the lag \\|t\\|'
    """
    return text.replace("|", "\\|")


def _default(member: Any, field: Field[Any]) -> str:
    if not isinstance(member, type):  # an instance has values where a class has defaults
        return f"`{getattr(member, field.name)!r}`"
    if field.default is not MISSING:
        return f"`{field.default!r}`"
    return "required" if field.default_factory is MISSING else f"`{field.default_factory()!r}`"


def _checked(cell: Cell) -> str:
    """Return what Brian2 runs, or what else the cell is checked against."""
    if isinstance(cell, Neuron) and cell.equations:
        return _brian2(cell)
    return f"## Checked against\n\n{cell.reference[0].upper()}{cell.reference[1:]}: it has no equations for Brian2."


def _brian2(neuron: Neuron) -> str:
    lines = [dedent(neuron.equations).strip()]
    for label, text in (
        ("threshold", neuron.threshold),
        ("reset", neuron.reset_code),
        ("refractory", neuron.refractory),
    ):
        if text:
            lines.append(f"{label}: {text.replace(chr(10), '; ')}")
    lines.append(f"method: {neuron.method}")
    return "\n".join(["## In Brian2", "", "```", *lines, "```"])


def _presets(member: type[Cell]) -> str:
    if not member.presets:
        return ""
    names = list(next(iter(member.presets.values())))
    rows = [
        f"| `{preset}` | {member.preset_currents.get(preset, '')} | "
        + " | ".join(f"{values[name]:g}" for name in names)
        + " |"
        for preset, values in member.presets.items()
    ]
    head = "| preset | current [nA] | " + " | ".join(f"`{name}`" for name in names) + " |"
    return "\n".join(["## Presets", "", head, "| --- " * (len(names) + 2) + "|", *rows])
