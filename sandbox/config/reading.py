"""Read configurations from YAML or the command line into frozen dataclasses; misspelt names get suggestions."""

from __future__ import annotations

import difflib
import json
import re
import typing
from argparse import Action
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from jsonargparse import ArgumentParser

from rules.errors import unknown
from rules.fields import admit, hints_of, refused, shown
from sandbox.machine.plain_yaml import parse_yaml, read_yaml

MISSPELT = re.compile(r"(?:unrecognized arguments: |[Oo]ption '|[Kk]ey '|does not accept option ')(\S+)")
INTERNAL = ("help", "subcommand", "print_shtab")  # what the parser adds of its own
QUOTED = re.compile(r"""(?P<quote>['"]).*(?P=quote)""", re.S)


class Partly(dict[str, Any]):
    """Options of which the others keep their default, as `--encoder.options.steps 5` gives them."""


def parser_of(kind: type[Any], **keywords: Any) -> ArgumentParser:
    """Build a parser whose options are the fields of a dataclass, with `--config` for a YAML file."""
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, **keywords)
    parser.add_argument(
        "--config",
        action="config",
        help="YAML file with any of the options below; it is code: what it names is imported",
    )
    parser.add_class_arguments(kind)
    return parser


def from_dict(kind: type[Any], content: Any) -> Any:
    """Build an `Experiment` or a `Comparison` from the content of a YAML file.

    A name other than the default's does not inherit the options of the default.

    Raises:
        ValueError: for a misspelt key, or a value that does not fit its field; the message has the dotted path.

    >>> from sandbox.config.experiment import Experiment
    >>> from_dict(Experiment, {"seed": 3, "encoder": {"name": "still"}}).encoder
    Choice(name='still', options={})
    >>> from_dict(Experiment, {"rule": {"name": "bptt", "option": {}}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: unknown key of rule 'option'; nearest: 'options'; valid: name, options, ..., search, label
    >>> from_dict(Experiment, {"network": {"dt": True}})
    Traceback (most recent call last):
    ...
    ValueError: network.dt=True: give a finite number; true and false are not numbers
    """
    return _settings(kind, content, "", None)


def from_words(kind: type[Any], words: Sequence[str], others: Collection[str] = ()) -> tuple[Any, list[str]]:
    """Build a configuration from a command line; return it with the words that are none of its business.

    A field of text takes its words as they are: `--rule.label 007` is the label 007. A file given with `--config` may
    also hold `others`, the options of the command itself.

    Args:
        kind: the dataclass.
        words: `--path.to.field=value`, and others.
        others: names of the options of the command.

    Raises:
        ValueError: as `from_dict`, and for a file that cannot be read.

    >>> from sandbox.config.experiment import Experiment
    >>> made, rest = from_words(Experiment, ["--rule.label=007", "--encoder.options.steps=5", "--out=runs"])
    >>> made.rule.label, made.encoder.options, rest
    ('007', {'steps': 5}, ['--out=runs'])
    """
    content, rest = dict[str, Any](), list[str]()
    for word in words:
        name, equals, text = word.removeprefix("--").partition("=")
        path = name.split(".")
        if not word.startswith("--") or not equals or (path[0] not in hints_of(kind) and name != "config"):
            rest.append(word)
        elif name == "config":
            found = _file(text)
            rest.extend(_words({key: value for key, value in found.items() if key in others}))
            _merge(content, {key: value for key, value in found.items() if key not in others})
        else:
            _place(content, path, _value(kind, path, text), name)
    return from_dict(kind, content), rest


def explain(parser: ArgumentParser, error: Exception) -> str:
    """Return the parser's message with the nearest valid option if one was misspelt, and what it takes otherwise."""
    message = str(error)
    found = MISSPELT.search(message)
    if found is None:
        return message
    wrong = found[1].partition("=")[0].strip("'")
    takes = {action.dest: str(action.metavar or action.dest) for action in _positional(parser)}
    name = wrong.removeprefix("--").replace("-", "_")
    if not wrong.startswith("-"):
        one = f"give one {', '.join(takes.values())}: {parser.prog} {' '.join(takes.values())}"
        return f"{message}\n{one if takes else 'names of options begin with two dashes'}"
    if name in takes:
        return f"{message}\ngive {takes[name]} without a name: {parser.prog} {takes[name]}"
    options = sorted(valid_options(parser) - set(takes))
    near = difflib.get_close_matches(name, options, n=1) or difflib.get_close_matches(
        name.rpartition(".")[2], [option.rpartition(".")[2] for option in options], n=1
    )
    written = {action.dest: action.option_strings[0] for action in parser._actions if action.option_strings}
    valid = ", ".join(written[option] for option in options if "." not in option)
    rest = "--help-all lists all options" if near else f"valid: {valid}"
    return f"{message}\n{f'nearest: {written.get(near[0], near[0])}; ' if near else ''}{rest}"


def valid_options(parser: ArgumentParser) -> set[str]:
    """Return all options of a parser, as dotted paths."""
    return {action.dest for action in parser._actions if action.dest not in INTERNAL}


def value_of(hint: Any, text: str, where: str) -> Any:
    """Return what the words of an option say for a value of its type.

    Raises:
        ValueError: for one that does not fit; the message begins with `where`.

    >>> value_of(int, "2", "--jobs"), value_of(list[str] | str, "[a, b]", "--track")
    (2, ['a', 'b'])
    >>> value_of(float | str, "0.2", "--synapses"), value_of(float | str, "dense", "--synapses")
    (0.2, 'dense')
    >>> value_of(int, "'2'", "--jobs")
    Traceback (most recent call last):
    ...
    ValueError: --jobs='2': give a whole number of at most 63 bits; this is text, leave out its quotes
    """
    parts = _parts(hint)
    is_text = str in parts
    try:
        value = parse_yaml(text, where)
    except ValueError:
        if not is_text:
            raise
        return text
    more = (list, dict, type(None), *((int, float) if float in parts else ()))
    as_text = is_text and (isinstance(value, bool) or not isinstance(value, more))
    return text if as_text else admit(where, value, hint)


def _positional(parser: ArgumentParser) -> list[Action]:
    return [action for action in parser._actions if not action.option_strings and action.dest not in INTERNAL]


def _read(hint: Any, value: Any, where: str, usual: Any) -> Any:
    """Return the value of a field; `usual` is what it has by default."""
    kind = _dataclass(hint)
    if kind is not None and isinstance(value, Mapping):
        return _settings(kind, value, where, usual)
    if get_origin(hint) is list and isinstance(value, (list, tuple)):
        (each,) = get_args(hint)
        return [_read(each, one, f"{where}[{n}]", None) for n, one in enumerate(value)]
    return admit(where, value, hint)


def _dataclass(hint: Any) -> type[Any] | None:
    """Return the dataclass that a type is or may be."""
    return next((part for part in _parts(hint) if isinstance(part, type) and is_dataclass(part)), None)


def _parts(hint: Any) -> tuple[Any, ...]:
    """Return the types that a union allows; the type itself if it is another one."""
    return get_args(hint) if get_origin(hint) in (typing.Union, type(int | str)) else (hint,)


def _settings(kind: type[Any], content: Any, where: str, usual: Any) -> Any:
    """Build a dataclass; what is not given is as in `usual`, if that has the same name."""
    if not isinstance(content, Mapping):
        raise refused(where or "a configuration", content, kind)
    hints, known = hints_of(kind), {field.name: field for field in fields(kind)}
    for key in content:
        if key not in known:
            raise unknown(f"key of {where or 'a configuration'}", str(key), known)
    if usual is None and all(f.default is not MISSING or f.default_factory is not MISSING for f in known.values()):
        usual = kind()
    same = usual is not None and content.get("name", getattr(usual, "name", None)) == getattr(usual, "name", None)
    values = {name: getattr(usual, name) for name in known} if same else {}
    for key, part in content.items():
        before = values.get(key)
        part = {**(before or {}), **part} if isinstance(part, Partly) else part
        values[key] = _read(hints[key], part, f"{where}.{key}" if where else str(key), before)
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where or 'a configuration'} has no {name}: write {name}: ...")
    try:
        return kind(**values)
    except (ValueError, TypeError, OverflowError) as error:
        message = str(error)
        if not where or message.startswith(f"{where}."):
            raise
        of_field = any(message.startswith((f"{name}=", f"{name}[", f"{name}.")) for name in known)
        raise ValueError(f"{where}{'.' if of_field else ': '}{message}") from error


def _file(path: str) -> dict[str, Any]:
    found = read_yaml(Path(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {shown(found)} and no settings; write names with values, such as epochs: 3")
    return found


def _words(options: Mapping[str, Any]) -> list[str]:
    """Return options of a command that a file gives, as words; a flag that is false is left out."""
    found = []
    for name, value in options.items():
        dashed = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found.extend([dashed] * value)
        elif value is not None:
            found.append(f"{dashed}={value if isinstance(value, str) else json.dumps(value)}")
    return found


def _value(kind: type[Any], path: Sequence[str], text: str) -> Any:
    """Return what the words of an option say for a field of its type."""
    hint = _hint(kind, path)
    parts = _parts(hint)
    if _dataclass(hint) is not None and text.endswith((".yaml", ".yml")):
        return read_yaml(Path(text))
    if str in parts and _dataclass(hint) is None:
        if QUOTED.fullmatch(text.strip()):
            return parse_yaml(text, f"--{'.'.join(path)}")
        if float in parts:
            return value_of(hint, text, f"--{'.'.join(path)}")
        return None if type(None) in parts and text.strip() in ("null", "~") else text
    try:
        return parse_yaml(text, f"--{'.'.join(path)}")
    except ValueError:
        return text


def _hint(kind: Any, path: Sequence[str]) -> Any:
    """Return the type of the field at a dotted path; Any below a dict, and where there is no such field."""
    for name in path:
        found = _dataclass(kind)
        if found is None:
            return Any
        kind = hints_of(found).get(name, Any)
    return kind


def _place(content: dict[str, Any], path: Sequence[str], value: Any, name: str) -> None:
    """Put a value at a path, over what is there."""
    for key in path[:-1]:
        inner = content.setdefault(key, Partly() if key == "options" else {})
        if not isinstance(inner, dict):
            raise ValueError(f"--{name}: {key} is {shown(inner)} already; give it once")
        content = inner
    before = content.get(path[-1])
    if isinstance(before, dict) and isinstance(value, dict) and path[-1] != "options":
        _merge(before, value)
    else:
        content[path[-1]] = value


def _merge(content: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put settings over others; options replace options."""
    for key, value in more.items():
        before = content.get(key)
        if isinstance(before, dict) and isinstance(value, dict) and key != "options":
            _merge(before, value)
        else:
            content[key] = dict(value) if isinstance(value, dict) else value
