"""What a neuron's code reads beside its fields, as part of the key of its plan.

A plan holds for the code and the numbers it was traced from. A user may replace a method, or change a global, a class
variable or an object between two calls. So the code of a class is read once: its methods are compared by identity, and
what a user's own functions read is compared by value. Code of this project and of installed packages counts as fixed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from operator import attrgetter
from pathlib import Path
from types import CellType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from sandbox.kernels.unsupported import Unsupported

OURS = ("sandbox", "rules")
METHODS = ("step", "integrate", "fire", "centred")
DEPTH = 5  # of objects within objects whose values count
FEW = 1024  # numbers of an array that are kept as they are; longer ones are kept as a hash
MISSING = "nothing"
GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
VERSIONS = count()


class Place(NamedTuple):
    """Where a value stands: a name in a namespace or class, or a variable of an enclosing function."""

    space: Any
    name: str

    def value(self) -> Any:
        """Return the present value."""
        if isinstance(self.space, type):
            return next((vars(each)[self.name] for each in self.space.__mro__ if self.name in vars(each)), MISSING)
        if isinstance(self.space, CellType):
            try:
                return self.space.cell_contents
            except ValueError:
                return MISSING
        return self.space.get(self.name, MISSING)


class Reads(NamedTuple):
    """What the code of a class reads."""

    version: int  # another one when a function has changed
    fields: tuple[str, ...]
    methods: Any  # gets the code of the methods from the class
    code: Any  # what it got
    functions: tuple[tuple[Place, FunctionType, CodeType], ...]  # of the user, outside of the class
    values: tuple[Place, ...]
    names: frozenset[str]  # of attributes

    def stale(self, kind: type) -> bool:
        """Return whether a function has been replaced, or its code."""
        if self.functions and any(p.value() is not f or f.__code__ is not code for p, f, code in self.functions):
            return True
        try:
            return bool(self.methods(kind) != self.code)
        except AttributeError:  # a method is now something else
            return True


_READS: dict[type, Reads] = {}
_FUNCTIONS: WeakKeyDictionary[FunctionType, Reads] = WeakKeyDictionary()


def reads_of(kind: type) -> Reads:
    """Return what the code of a class reads, from its present functions."""
    known = _READS.get(kind)
    if known is None or known.stale(kind):
        known = _READS[kind] = _read(kind)
    return known


def forget() -> None:
    """Forget which functions the classes have."""
    _READS.clear()
    _FUNCTIONS.clear()


def beside(reads: Reads, neuron: Any) -> tuple[Any, ...]:
    """Return the values that a neuron's code reads beside its fields, as part of a key."""
    found = tuple(fingerprint(place.value()) for place in reads.values)
    own = vars(neuron)
    if len(own) > len(reads.fields):
        extra = sorted(reads.names.intersection(own).difference(reads.fields))
        found += tuple((name, fingerprint(own[name])) for name in extra)
    return found


def generator_in(reads: Reads, neuron: Any) -> str | None:
    """Return the name of a generator of random numbers among the values that a step reads; None if there is none."""
    named = [(name, getattr(neuron, name)) for name in reads.fields]
    places = [*reads.values, *(p for _, f in named if isinstance(f, FunctionType) for p in _of_function(f).values)]
    named += [(place.name, place.value()) for place in places]
    return next((name for name, value in named if isinstance(value, GENERATORS)), None)


def fingerprint(value: Any, depth: int = DEPTH) -> Any:
    """Return an object that equals another one's only if code that reads the two values finds the same.

    Raises:
        Unsupported: for a tensor that requires a gradient, which a kernel would leave out, and for one of a transform
            of torch.func, whose numbers cannot be read.

    >>> fingerprint(1) == fingerprint(1.0), fingerprint([0.5]) == fingerprint([0.5])
    (False, True)
    """
    kind = type(value)
    if kind is float or isinstance(value, (int, float, complex)):
        # True, 1 and 1.0 are equal in Python, and so are 0.0 and -0.0, but a step may treat them differently
        return kind, repr(value)
    if kind is str or value is None or isinstance(value, (type, ModuleType)):
        return value
    if isinstance(value, Tensor):
        if value.requires_grad and torch.is_grad_enabled():
            raise Unsupported("the step reads a tensor that requires a gradient and is not a field: make it one")
        return Same(value), value.dtype, value.requires_grad, _content(value)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, _bytes(value)
    if isinstance(value, FunctionType):
        found = _of_function(value) if depth else None
        values = found.values if found else ()
        return value, value.__code__, *(fingerprint(place.value(), depth - 1) for place in values)
    if depth == 0:
        return value
    if isinstance(value, (tuple, list)):
        return (kind, *(fingerprint(each, depth - 1) for each in value))
    if isinstance(value, (dict, MappingProxyType)):
        return (kind, *((fingerprint(k, depth - 1), fingerprint(v, depth - 1)) for k, v in value.items()))
    if isinstance(value, (set, frozenset)):
        return kind, frozenset(fingerprint(each, depth - 1) for each in value)
    if getattr(kind, "__hash__", None) is object.__hash__ and hasattr(value, "__dict__"):
        return value, fingerprint(vars(value), depth - 1)
    return value  # compared as its class says


class Same:
    """Equals another one only while both stand for the same living object; an `id` is used again after its end."""

    def __init__(self, value: Any) -> None:
        self.there, self.number = ref(value), id(value)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        mine = self.there()
        return mine is not None and isinstance(other, Same) and mine is other.there()


def _content(value: Tensor) -> Any:
    """Return the numbers of a tensor; where they cannot be read at once, how often torch has changed them."""
    if is_functorch_wrapped_tensor(value):
        raise Unsupported("the step reads a tensor of a transform of torch.func", expected=True)
    if type(value) not in (Tensor, nn.Parameter) or value.device.type != "cpu" or value.layout != torch.strided:
        return getattr(value, "_version", 0)
    return _bytes(value.detach().contiguous().flatten().view(torch.uint8).numpy())


def _bytes(value: Any) -> bytes:
    """Return the content of an array, or a hash of it where it is long."""
    content: bytes = value.tobytes()
    return content if value.size <= FEW else blake2b(content).digest()


def _of_function(function: FunctionType) -> Reads:
    """Return what a function reads that is the value of a field or of a name."""
    known = _FUNCTIONS.get(function)
    if known is None or known.code != (function.__code__,) or known.stale(type(None)):
        walk = Walk(type(None), [function])
        walk.whole()
        known = Reads(
            next(VERSIONS),
            (),
            lambda kind: (function.__code__,),
            (function.__code__,),
            tuple(walk.functions.values()),
            tuple(walk.values.values()),
            frozenset(),
        )
        _FUNCTIONS[function] = known
    return known


def _read(kind: type) -> Reads:
    walk = Walk(kind)
    walk.whole()
    paths = list(walk.methods)
    return Reads(
        next(VERSIONS),
        walk.fields,
        attrgetter(*paths),
        tuple(walk.methods.values()),
        tuple(walk.functions.values()),
        tuple(walk.values.values()),
        frozenset(walk.names),
    )


class Walk:
    """A walk through the functions that a step may call, from the methods of a class on."""

    def __init__(self, kind: type, functions: Sequence[FunctionType] = ()) -> None:
        self.kind = kind
        self.fields = tuple(f.name for f in fields(kind)) if is_dataclass(kind) else ()
        self.names = set(METHODS)
        self.methods: dict[str, CodeType] = {}
        self.functions: dict[tuple[int, str], tuple[Place, FunctionType, CodeType]] = {}
        self.values: dict[tuple[int, str], Place] = {}
        self.spaces: dict[int, Any] = {}  # of the user's modules and classes
        self.waiting = list(functions)
        self.seen: set[FunctionType] = set()
        self.met: set[tuple[int, str]] = set()

    def whole(self) -> None:
        """Walk until no function, name or namespace is new."""
        before = None
        while before != (before := (len(self.names), len(self.spaces), len(self.seen))):
            for name in sorted(self.names):
                self._attribute(name)
            for space in list(self.spaces.values()):
                for name in self.names.intersection(vars(space)):
                    self._meet(Place(space if isinstance(space, type) else vars(space), name))
            while self.waiting:
                self._function(self.waiting.pop())

    def _attribute(self, name: str) -> None:
        """Note what the class has under a name that the code mentions."""
        for path, found in _methods(self.kind, name):
            self.methods[path] = found.__code__
            self.waiting.append(found)
        place = Place(self.kind, name)
        if name not in self.fields and _own(self.kind.__module__) and not hasattr(place.value(), "__get__"):
            self._meet(place)

    def _function(self, function: FunctionType) -> None:
        """Note what a function mentions; of a user's, also the values it finds."""
        own = _own(function.__module__)
        if function in self.seen or not (own or _top(function.__module__) in OURS):
            return
        self.seen.add(function)
        around = function.__globals__
        for code in _codes(function.__code__):
            self.names.update(code.co_names)
            for name in around.keys() & set(code.co_names):
                if own:
                    self._meet(Place(around, name))
                elif isinstance(around[name], FunctionType):
                    self.waiting.append(around[name])
        if own:
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
                self._meet(Place(cell, name))

    def _meet(self, place: Place) -> None:
        """Note a value that a user's function reads."""
        key = id(place.space), place.name
        if key in self.met:
            return
        self.met.add(key)
        value = place.value()
        if isinstance(value, FunctionType):
            if _own(value.__module__):
                self.functions[key] = place, value, value.__code__
            self.waiting.append(value)
        elif isinstance(value, (type, ModuleType)):
            if _own(value.__module__ if isinstance(value, type) else value.__name__):
                self.spaces[id(value)] = value
        elif value is not MISSING and (not callable(value) or hasattr(value, "__dict__")):
            self.values[key] = place
            parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
            self.waiting.extend(part for part in parts if isinstance(part, FunctionType))


def _methods(kind: type, name: str) -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions behind a name of a class, with the path of their code."""
    found = getattr(kind, name, None)
    if isinstance(found, FunctionType):
        yield f"{name}.__code__", found
    elif isinstance(found, property) and isinstance(found.fget, FunctionType):
        yield f"{name}.fget.__code__", found.fget


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions defined in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


@lru_cache(maxsize=1024)
def _own(module: str | None) -> bool:
    """Return whether a module is the user's, not one of this project, of Python, or of an installed package."""
    top = _top(module)
    if top == "__main__" or top in OURS or top in sys.stdlib_module_names:
        return top == "__main__"
    places = getattr(sys.modules.get(top), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.intersection(Path(places).parts)
