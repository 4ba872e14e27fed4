"""Kernels for numba: blocks of cells whose states stay in the cache, and a loop over cells in each step."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.kernels.trace.kinds import KINDS
from sandbox.kernels.write.emit import Parts, Words


class Numba(Words):
    """Python with the functions of `elementary` and `machine`; `x_here` is a copy of a block's part of a buffer.

    `fetch` and `put` also get the number of the buffer, so that LLVM knows that no two buffers overlap.
    """

    @staticmethod
    def node(kind: str, args: Sequence[str]) -> str:
        return KINDS[kind].code.format(*args)

    @staticmethod
    def number(place: int) -> str:
        return f"load(C, {place})"

    @staticmethod
    def literal(value: str) -> str:
        return f"F({value})"

    def read(self, name: str, at: str) -> str:
        return f"fetch({name}_, {at} + j, {self.names.index(name)})"

    def carried(self, name: str) -> str:
        return f"load({name}_here, j)"

    def put(self, name: str, value: str, at: str = "i") -> str:
        return f"put({name}_, {at} + j, {value}, {self.names.index(name)})"

    def mark(self, value: str) -> str:
        return f"store(marks, j, select({value} != zero, MARK, NONE))"

    def hold(self, name: str, value: str) -> str:
        return f"store({name}_here, j, {value})"

    def row(self, step: str) -> str:
        return f"({step}) * M + b"

    def keep(self, name: str, row: str) -> str:
        return f"copy(save_{name}_, {self.row(row)}, {name}_here, 0, n)"

    def recall(self, name: str, row: str) -> str:
        return f"copy({name}_here, 0, save_{name}_, {self.row(row)}, n)"

    def meet(self) -> list[str]:
        return []

    def steps(self, times: str, body: Sequence[str], before: Sequence[str] = (), vectors: int = 1) -> list[str]:
        return [
            f"for t in {times}:",
            "    i = t * M + b",
            "    ix = t * sx + b",
            *(f"    {line}" for line in before),
            "    for j in range(n):",
            *(f"        {line}" for line in body),
            *([f"    interleave({vectors})"] if vectors > 1 else []),
            *(f"    pack({name}_, t * ((M + 63) // 64) + b // 64, marks, n)" for name in self.bits),
        ]

    def kernel(self, parts: Parts) -> str:
        # `lo` is a multiple of `width` on every thread, so `b // width` is the index of a block among all blocks
        fetched, copied, cleared, work, kept, summed = parts
        lines = [
            "def kernel(lo, hi, width, T, M, sx, every, A, c):",
            "    C = pointer(c, zero)",
            *(f"    {line}" for line in fetched),
            *(
                f"    {name}_ = pointer(A[{i}], {'WORD' if name in self.bits else 'zero'})"
                for i, name in enumerate(self.names)
            ),
            *(f"    {name}_here = stack(zero)" for name in [*copied, *cleared]),
            *("    marks = stack(NONE)" for _ in self.bits),
            "    for b in range(lo, hi, width):",
            "        n = min(b + width, hi) - b",
            *("        unmark(marks, (n + 63) // 64 * 64)" for _ in self.bits),  # those after the last cell as well
            *(f"        copy({name}_here, 0, {name}_, b, n)" for name in copied if name in self.names),
            *(f"        clear({name}_here, n)" for name in cleared),
            *(f"        {line}" for line in work),
            *(f"        copy({name}_, b, {name}_here, 0, n)" for name in kept),
            *(f"        store({name}_, b // width, total({name}_here, n))" for name in summed),
        ]
        return "\n".join(lines) + "\n"
