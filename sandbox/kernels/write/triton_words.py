"""Kernels for Triton: a program for each block of cells, all of them in parallel, with states in registers.

Experimental: run in Triton's interpreter and compiled for compute capability 8.0, but never run on a device.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sandbox.kernels.trace.graph import LEAVES
from sandbox.kernels.trace.kinds import KINDS
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.unsupported import Unsupported
from sandbox.kernels.write.emit import Parts, Words

WIDTH = 128  # cells of a program: one for each thread of four warps
FUNCTIONS = (
    "acos",
    "asin",
    "atan",
    "block",
    "ceil",
    "cos",
    "cosh",
    "divided",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "fabs",
    "floor",
    "floordiv",
    "fma",
    "lerp",
    "log",
    "log10",
    "log1p",
    "maximum",
    "minimum",
    "mod",
    "not_",
    "place",
    "power",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
)  # of `triton_functions`
CODES = {"div": "divided({0}, {1})"}  # because Triton's own operator does not round the quotient correctly
HEAD = """\
import triton
import triton.language as tl

from sandbox.kernels.device.triton_functions import {}


@triton.jit(do_not_specialize=("T", "M", "sx", "every"))
"""


def spelled(structure: Structure) -> None:
    """Raise Unsupported if a structure or its gradient has a node that cannot be written for Triton."""
    for node in structure.backward[0].nodes:
        if node.kind not in (*LEAVES, "stop"):
            Triton.node(node.kind, "abc"[: len(node.args)])


class Triton(Words):
    """Python with the functions of `triton_functions`; `j` are the cells of a block, `here` masks those that exist."""

    @staticmethod
    def node(kind: str, args: Sequence[str]) -> str:
        code = CODES.get(kind, KINDS[kind].code)
        if not _called(code) <= set(FUNCTIONS):
            raise Unsupported(f"{kind} is not available in Triton")
        return code.format(*args)

    @staticmethod
    def number(place: int) -> str:
        return f"block(tl.load(C + {place}), BLOCK, C)"

    @staticmethod
    def literal(value: str) -> str:
        return f"block({value}, BLOCK, C)"

    def read(self, name: str, at: str) -> str:
        return f"tl.load({name}_ + {at}, mask=here, other=0.0)"

    def carried(self, name: str) -> str:
        return f"{name}_here"

    def put(self, name: str, value: str, at: str = "i") -> str:
        return f"tl.store({name}_ + {at}, {value}, mask=here)"

    def hold(self, name: str, value: str) -> str:
        return f"{name}_here = {value}"

    def row(self, step: str) -> str:
        return f"place({step}, M, j)"

    def keep(self, name: str, row: str) -> str:
        return f"tl.store(save_{name}_ + {self.row(row)}, {name}_here, mask=here)"

    def recall(self, name: str, row: str) -> str:
        return f"{name}_here = tl.load(save_{name}_ + {self.row(row)}, mask=here, other=0.0)"

    def meet(self) -> list[str]:
        return ["tl.debug_barrier()"]

    def steps(self, times: str, body: Sequence[str], before: Sequence[str] = (), vectors: int = 1) -> list[str]:
        at = ["i = place(t, M, j)", *(["ix = place(t, sx, j)"] if "x" in self.names else [])]
        return [f"for t in {times}:", *(f"    {line}" for line in [*at, *before, *body])]

    def kernel(self, parts: Parts) -> str:
        fetched, copied, cleared, work, kept, summed = parts
        lines = [
            f"def kernel(C, {', '.join(f'{name}_' for name in self.names)}, T, M, sx, every, BLOCK: tl.constexpr):",
            "    j = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
            "    here = j < M",
            "    zero = block(0.0, BLOCK, C)",
            "    one = block(1.0, BLOCK, C)",
            *(f"    {line}" for line in fetched),
            *(f"    {name}_here = tl.load({name}_ + j, mask=here, other=0.0)" for name in copied if name in self.names),
            *(f"    {name}_here = zero" for name in cleared),
            *(f"    {line}" for line in work),
            *(f"    tl.store({name}_ + j, {name}_here, mask=here)" for name in kept),
            *(f"    tl.store({name}_ + tl.program_id(0), tl.sum(select(here, {name}_here, zero)))" for name in summed),
        ]
        source = "\n".join(lines) + "\n"
        return HEAD.format(", ".join(sorted(_called(source) & set(FUNCTIONS)))) + source


def _called(code: str) -> set[str]:
    return set(re.findall(r"(?<!\.)\b(\w+)\(", code))
