"""Bits of 64 numbers at once, for loops compiled by numba; importing this module imports numba."""

# mypy: disable-error-code="untyped-decorator,no-untyped-call,no-any-return"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def pointer(context: Any, address: Any, like: Any) -> Any:
    """Turn an address into a pointer to values of the type of `like`."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], args[1].type.as_pointer())

    return types.CPointer(like)(address, like), code


@intrinsic
def nonzero(context: Any, memory: Any, i: Any) -> Any:
    """Return integers `memory[i : i + 64]` as the bits of one, the first the lowest: 1 for each that is not zero."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = args[0].type.pointee
        row = ir.VectorType(one, 64)
        place = builder.bitcast(builder.gep(args[0], [args[1]]), row.as_pointer())
        marks = builder.load(place, align=one.width // 8)
        return builder.bitcast(builder.icmp_unsigned("!=", marks, ir.Constant(row, None)), ir.IntType(64))

    return types.uint64(memory, i), code
