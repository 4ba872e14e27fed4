"""Write nodes as a flat list of torch operations on registers: constants folded, common parts shared, pairs fused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import add, sub
from typing import Any

import torch
from torch import Tensor

from sandbox.reference.compiler.algebra import Algebra
from sandbox.reference.compiler.divided import divided
from sandbox.reference.compiler.functions import FUNCTIONS, PLAIN, counted, power
from sandbox.reference.compiler.node import Node
from sandbox.reference.compiler.program import Program, Register, fits, getter

Operand = Any  # a float, known now, or a Register
HUGE = 1e30  # a variable that overflowed is clamped here before the reset: infinity times zero is NaN
TINY = 4e-16  # tolerance for two weights that sum to one
MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
TENSORS = {"counted": counted, "divided": divided}  # functions of tensors alone
SIGNS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|"}


class Writer:
    """Writer of a program: parameters that are numbers are folded, those that are tensors become inputs."""

    def __init__(
        self, algebra: Algebra, given: Sequence[str], extra: Sequence[str], known: Mapping[str, float], like: Tensor
    ) -> None:
        self.algebra, self.known, self.like = algebra, known, like
        self.extra = tuple(extra)
        self.inputs = (*given, *extra)
        self.names: dict[str, Register] = {name: Register("input", i) for i, name in enumerate(self.inputs)}
        self.read: dict[str, None] = {}
        self.constants: list[Any] = []
        self.rows: list[tuple[Callable[..., Tensor], tuple[Register, ...]]] = []
        self.lines: list[str] = []
        self.values: dict[Any, Operand] = {}
        self.plains: dict[Node, Any] = {}

    def program(self, outputs: Mapping[str, Node], scale: float = 1.0) -> Program:
        """Return the program that computes these nodes, in order; a difference is scaled."""
        self.scale = scale
        found = [(name, self._tensor(self.value(node))) for name, node in outputs.items()]
        offsets = {"input": 0, "constant": len(self.inputs), "row": len(self.inputs) + len(self.constants)}

        def place(register: Register) -> int:
            return offsets[register.kind] + register.at

        rows = tuple((f, getter([place(argument) for argument in arguments])) for f, arguments in self.rows)
        shown = [(name, self._text(register)) for name, register in found]
        lines = (*self.lines, *(f"{name} = {text}" for name, text in shown if name != text))
        where = tuple(place(register) for _, register in found)
        reads = tuple(name for name in self.inputs if name in self.read)
        return Program(reads, self.extra, tuple(self.constants), rows, where, lines)

    def plain(self, node: Node) -> Any:
        """Return the number of a node that contains no tensor; None otherwise."""
        if node not in self.plains:
            self.plains[node] = self._plain(node)
        return self.plains[node]

    def value(self, node: Node) -> Operand:
        """Return a number, or the register that holds the node after the rows so far."""
        if node not in self.values:
            plain = self.plain(node)
            write = {"name": self._name, "call": self._call, "product": self._product, "sum": self._sum}
            self.values[node] = plain if plain is not None else write[node.kind](node)
        return self.values[node]

    def _plain(self, node: Node) -> Any:
        if node.level == 2:
            return None
        if node.kind in ("number", "name"):
            return node.what if node.kind == "number" else self.known.get(node.what)
        parts = [self.plain(part) for part in node.parts]
        if any(part is None for part in parts):
            return None
        if node.kind == "sum":
            return parts[0] + sum(parts[i] * parts[i + 1] for i in range(1, len(parts), 2))
        if node.kind == "product":
            total = 1.0
            for part, (_, exponent) in zip(parts, node.args, strict=True):
                total *= power(part, float(exponent))
            return total
        return (FUNCTIONS[node.what].plain if node.what in FUNCTIONS else PLAIN[node.what])(*parts)

    def _name(self, node: Node) -> Operand:
        return self.names[node.what]

    def _row(self, f: Callable[..., Tensor], text: str, *arguments: Operand) -> Register:
        """Add an operation unless it exists with the same registers; `text` has a placeholder for each argument."""
        registers = tuple(self._register(argument) for argument in arguments)
        key = (text, registers)
        if key not in self.values:
            self.rows.append((f, registers))
            self.lines.append(f"x{len(self.rows)} = " + text.format(*(self._text(r) for r in registers)))
            self.values[key] = Register("row", len(self.rows) - 1)
        return self.values[key]  # type: ignore[no-any-return]

    def _register(self, value: Operand) -> Register:
        if isinstance(value, Register):
            return value
        fits(self.like.dtype, value)
        self.constants.append(value)
        return Register("constant", len(self.constants) - 1)

    def _tensor(self, value: Operand) -> Register:
        """Return a register that holds a tensor."""
        if isinstance(value, Register):
            return value
        key = ("tensor", repr(value))
        if key not in self.values:
            dtype = torch.bool if isinstance(value, bool) else self.like.dtype
            self.values[key] = self._register(torch.tensor(value, dtype=dtype, device=self.like.device))
        return self.values[key]  # type: ignore[no-any-return]

    def _text(self, register: Register) -> str:
        if register.kind == "input":
            self.read[self.inputs[register.at]] = None
            return self.inputs[register.at]
        if register.kind == "row":
            return f"x{register.at + 1}"
        value = self.constants[register.at]
        return repr(value.item() if isinstance(value, Tensor) else value)

    def _call(self, node: Node) -> Operand:
        name = node.what
        if name == "difference":
            return self._difference(*node.args)
        if name in ("and", "or"):
            pair = torch.logical_and if name == "and" else torch.logical_or
            total = self._tensor(self.value(node.args[0]))
            for arg in node.args[1:]:
                total = self._row(pair, f"({{}} {SIGNS[name]} {{}})", total, self._tensor(self.value(arg)))
            return total
        values = [self.value(arg) for arg in node.args]
        if name in ("largest", "smallest"):
            first, *others = (self._tensor(value) for value in values)
            pair = torch.maximum if name == "largest" else torch.minimum
            for other in others:
                first = self._row(pair, name + "({}, {})", first, other)
            return first
        if name in MIRRORED:
            if not isinstance(values[0], Register):
                name, values = MIRRORED[name], values[::-1]
            return self._row(getattr(torch, name), f"({{}} {SIGNS[name]} {{}})", *values)
        if name == "indicator" or (name == "int" and node.args[0].is_condition):
            return self._row(partial(torch.Tensor.to, dtype=self.like.dtype), "{}.to(dtype)", self._tensor(values[0]))
        if name == "choose":
            return self._row(torch.where, "torch.where({}, {}, {})", *(self._tensor(value) for value in values))
        if name in ("mix", "mix_bounded"):
            x, value, fired = (self._tensor(value) for value in values)
            if name == "mix_bounded":
                top = min(HUGE, torch.finfo(self.like.dtype).max)
                x = self._row(partial(torch.clamp, min=-top, max=top), f"torch.clamp({{}}, {-top!r}, {top!r})", x)
            return self._row(torch.lerp, "torch.lerp({}, {}, {})", x, value, fired)
        special: dict[str, tuple[Callable[..., Tensor], str]] = {
            "not": (torch.logical_not, "~{}"),
            "mod": (torch.remainder, "{} % {}"),
            "over": (torch.div, "{} / {}"),
            "floordiv": (partial(torch.div, rounding_mode="floor"), "{} // {}"),
            "pow": (torch.pow, "{} ** {}"),
            "plus": (add, "{} + {}"),
            "minus": (sub, "{} - {}"),
        }
        places = ", ".join(["{}"] * len(values))
        if name in TENSORS:
            return self._row(TENSORS[name], f"{name}({places})", *map(self._tensor, values))
        if name in special:
            return self._row(*special[name], *values)
        if name in self.algebra.brought:
            brought = self.algebra.brought[name].at(self.known["dt"])
            return self._row(_cast(brought, self.like.dtype), f"{name}({places})", *map(self._tensor, values))
        return self._row(FUNCTIONS[name].torch, f"{name}({places})", *values)

    def _difference(self, a: Node, b: Node) -> Register:
        """Return `(a - b) * scale`, with both sides computed separately, so that equality is that of a comparison."""
        left, right = self.value(a), self.value(b)
        if isinstance(left, Register) and not isinstance(right, Register):
            u = left if right == 0.0 else self._row(torch.add, "{} + {}", left, -right)
        else:
            u = self._row(torch.sub, "{} - {}", self._tensor(left), self._tensor(right))
        return self._scaled(u, self.scale)

    def _product(self, node: Node, scale: Operand = 1.0) -> Operand:
        """Return `scale` times the factors with positive exponents, divided by the others."""
        above, below = self._split(node)
        if scale != 1.0 and (above or isinstance(scale, Register)):
            above.append(scale)
        top = self._multiplied(above)
        bottom = self._multiplied(below)
        if bottom is None:
            return top
        if top is None and scale == 1.0:
            return self._row(torch.reciprocal, "1 / {}", bottom)
        return self._row(torch.div, "{} / {}", self._tensor(scale) if top is None else top, bottom)

    def _split(self, node: Node) -> tuple[list[Operand], list[Operand]]:
        above: list[Operand] = []
        below: list[Operand] = []
        for base, exponent in node.args if node.kind == "product" else ((node, 1),):
            value = self.value(base)
            if not isinstance(value, Register):
                above.append(power(value, float(exponent)))
                continue
            (above if exponent > 0 else below).append(self._raised(value, abs(exponent)))
        return above, below

    def _multiplied(self, values: list[Operand]) -> Operand:
        registers = [value for value in values if isinstance(value, Register)]
        number = math.prod(value for value in values if not isinstance(value, Register))
        if not registers:
            return self._tensor(number) if values else None
        total = registers[0]
        for register in registers[1:]:
            total = self._row(torch.mul, "{} * {}", total, register)
        return self._scaled(total, number)

    def _raised(self, value: Register, exponent: int) -> Register:
        if exponent == 1:
            return value
        half = self._raised(value, exponent // 2)
        squared = self._row(torch.mul, "{} * {}", half, half)
        return self._row(torch.mul, "{} * {}", squared, value) if exponent % 2 else squared

    def _scaled(self, value: Register, by: Operand) -> Register:
        fits(self.like.dtype, by)
        if by == 1.0:
            return value
        return self._row(torch.neg, "-{}", value) if by == -1.0 else self._row(torch.mul, "{} * {}", value, by)

    def _sum(self, node: Node) -> Operand:
        blended = self._blend(node)
        if blended is not None:
            return blended
        node = self.algebra.factored(node)
        if node.kind != "sum":
            return self.value(node)
        constant = self.value(node.constant)
        pairs = [(self.value(coefficient), term) for term, coefficient in node.args]
        pairs = [(c, term) for c, term in pairs if c != 0.0]
        if len(pairs) == 1 and constant == 0.0:
            return self._product(pairs[0][1], pairs[0][0])
        if len(pairs) == 2 and constant == 0.0 and all(isinstance(c, float) for c, _ in pairs):
            (a, x), (b, y) = pairs
            if abs(a + b - 1) <= TINY and self.plain(x) is None and self.plain(y) is None:
                start, end = self.value(y), self.value(x)
                return self._row(partial(torch.lerp, weight=a), f"torch.lerp({{}}, {{}}, {a!r})", start, end)
        total: Operand = self._tensor(constant) if constant != 0.0 or not pairs else None
        pairs.sort(key=lambda pair: (pair[0] != 1.0, pair[1].kind == "product"))
        for coefficient, term in pairs:
            total = self._product(term, coefficient) if total is None else self._added(total, coefficient, term)
        return total

    def _added(self, total: Register, coefficient: Operand, term: Node) -> Register:
        """Return `total + coefficient * term`, in one operation if possible."""
        if term.kind == "product" and term not in self.values:
            above, below = self._split(term)
            if all(isinstance(value, Register) for value in above) and isinstance(coefficient, float):
                text = "{} + " + (f"{coefficient!r} * " if coefficient != 1.0 else "")
                if len(above) == 2 and not below:
                    return self._row(partial(torch.addcmul, value=coefficient), text + "{} * {}", total, *above)
                if len(above) == len(below) == 1:
                    return self._row(partial(torch.addcdiv, value=coefficient), text + "{} / {}", total, *above, *below)
        value = self.value(term)
        fits(self.like.dtype, coefficient)
        if not isinstance(value, Register):
            return self._row(torch.add, "{} + {}", total, self._tensor(value * coefficient))
        if isinstance(coefficient, Register):
            return self._row(torch.addcmul, "{} + {} * {}", total, value, coefficient)
        if coefficient == 1.0:
            return self._row(torch.add, "{} + {}", total, value)
        if coefficient == -1.0:
            return self._row(torch.sub, "{} - {}", total, value)
        return self._row(partial(torch.add, alpha=coefficient), f"{{}} + {coefficient!r} * {{}}", total, value)

    def _blend(self, node: Node) -> Operand:
        """Return `rest + (x - rest) * w` as one interpolation."""
        for term, coefficient in node.args:
            if coefficient is not self.algebra.one or term.kind != "product" or len(term.args) != 2:
                continue
            for (base, exponent), (weight, other) in (term.args, term.args[::-1]):
                if base.kind != "sum" or exponent != 1 or other != 1:
                    continue
                rest = self.algebra.sub(node, term)
                x = self.algebra.add(rest, base)
                if x.kind == "name" and x.level == 2:
                    values = self._tensor(self.value(rest)), self.value(x), self.value(weight)
                    return self._row(torch.lerp, "torch.lerp({}, {}, {})", *values)
        return None


def _cast(function: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return a function whose result has a dtype."""
    return lambda *values: function(*values).to(dtype)
