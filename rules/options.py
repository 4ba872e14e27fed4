"""Options that are passed on: signatures that list them, so that a misspelt option is found by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from rules.errors import unknown
from rules.fields import admit, hints_of, shown

Made = TypeVar("Made", bound=Callable[..., Any])


def built(kind: str, name: str, maker: Callable[..., Any], options: Mapping[str, Any], **given: Any) -> Any:
    """Return `maker(**given, **options)`.

    Raises:
        ValueError: for an unknown option, with the valid and the nearest ones, for one that is missing, for a value
            that is not of the type that the signature declares (`rules.fields.admit`), and for a maker that does not take
            what is given.

    >>> built("number", "complex", complex, {"real": 1.0}, imag=2.0)
    (1+2j)
    """
    require_taken(kind, name, maker, given)
    valid = [option for option in inspect.signature(maker).parameters if option not in given]
    for option in options:
        if option not in valid:
            raise unknown(f"option of {kind} {name!r}", option, valid)
    if missing := lacking(maker, [*given, *options]):
        raise ValueError(f"{kind} {name!r} needs {' and '.join(missing)}: give options {written(missing)}")
    hints, found = hints_of(maker), {}
    for option, value in options.items():
        try:
            found[option] = admit(f"options.{option}", value, hints.get(option, Any))
        except ValueError as error:
            raise ValueError(f"{kind} {name!r}, {error}") from error
    try:
        return maker(**given, **found)
    except ValueError as error:
        if not found or any(option in str(error) for option in found):
            raise
        raise ValueError(
            f"{kind} {name!r} with {', '.join(f'options.{o}={shown(v)}' for o, v in found.items())}: {error}"
        ) from error


def lacking(maker: Callable[..., Any], given: Iterable[str]) -> list[str]:
    """Return the arguments without a default that are not among those given.

    >>> lacking(lambda beta, size, bias=0: beta, ["size"])
    ['beta']
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(maker).parameters.values()
    return [p.name for p in found if p.kind in named and p.default is p.empty and p.name not in set(given)]


def written(names: Iterable[str]) -> str:
    """Return options of these names as they are written on the command line.

    >>> written(["beta", "size"])
    "'{beta: ..., size: ...}'"
    """
    return f"'{{{', '.join(f'{name}: ...' for name in names)}}}'"


def require_taken(kind: str, name: str, maker: Callable[..., Any], given: Iterable[str]) -> None:
    """Raise ValueError for a maker that does not take these keyword arguments, with a function that does.

    >>> require_taken("model", "own.py:Net", complex, ("real", "seed"))
    Traceback (most recent call last):
    ...
    ValueError: model 'own.py:Net' is called as complex(real=..., seed=...), and it takes (real=0, imag=0): name a ...
    """
    takes = inspect.signature(maker)
    names = list(given)
    if any(p.kind is p.VAR_KEYWORD for p in takes.parameters.values()) or set(names) <= set(takes.parameters):
        return
    made = getattr(maker, "__name__", str(maker))
    raise ValueError(
        f"{kind} {name!r} is called as {made}({', '.join(f'{each}=...' for each in names)}), and it takes {takes}: "
        f"name a function in its place, such as def own_{kind}({', '.join(names)}): return {made}(...)"
    )


def also_takes(*others: Callable[..., Any]) -> Callable[[Made], Made]:
    """Decorate a function whose `**options` are keyword arguments of `others`, so that its signature lists them.

    >>> def inner(depth=1): ...
    >>> @also_takes(inner)
    ... def outer(width=2, **options): ...
    >>> inspect.signature(outer)
    <Signature (width=2, *, depth=1)>
    """

    def decorate(maker: Made) -> Made:
        own = inspect.signature(maker)
        mine = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = {p.name for p in mine}
        passed: dict[str, inspect.Parameter] = {}
        for other in others:
            for p in inspect.signature(other).parameters.values():
                if p.name not in taken and p.kind is not p.VAR_KEYWORD:
                    passed[p.name] = p.replace(kind=p.KEYWORD_ONLY)
        maker.__signature__ = own.replace(parameters=[*mine, *passed.values()])  # type: ignore[attr-defined]
        maker.takes = others  # type: ignore[attr-defined]  # their types are looked up when they are needed
        return maker

    return decorate


def with_option(name: str, hint: str, default: Any, use: Callable[[Any, Any], Any]) -> Callable[[Made], Made]:
    """Decorate a function with one more keyword argument, which its signature lists and `use` applies to the result.

    Args:
        name: of the argument.
        hint: its type, as in an annotation.
        default: its default, with which the result stays as it is.
        use: called with the result and another value; returns what the function then returns.

    >>> @with_option("times", "int", 1, lambda made, times: made * times)
    ... def made(of=2): return of
    >>> made(of=3, times=2), inspect.signature(made)
    (6, <Signature (of=2, *, times: 'int' = 1)>)
    """

    def decorate(maker: Made) -> Made:
        own = inspect.signature(maker)
        more = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)

        @functools.wraps(maker)
        def made(*args: Any, **options: Any) -> Any:
            value = options.pop(name, default)
            found = maker(*args, **options)
            return found if value is default else use(found, value)

        shown = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD and p.name != name]
        made.__signature__ = own.replace(parameters=[*shown, more])  # type: ignore[attr-defined]
        made.__annotations__ = {**maker.__annotations__, name: hint}
        return made  # type: ignore[return-value]

    return decorate
