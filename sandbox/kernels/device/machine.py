"""The operations of a kernel that numba does not provide: memory of a block, and a fused multiply-add.

Numba's arrays could serve as memory, but LLVM does not vectorise loops over so many of them, because it cannot know
that they do not overlap. `elementary` lists what that costs.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-call,no-any-return"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LINE = 64  # bytes of a cache line, and of the widest vector
WIDTH = 1024  # most cells of a block; not checked here, so `launch.compiled.block` must never exceed it
BUFFERS = 64  # most buffers of one kernel


@intrinsic
def stack(context: Any, like: Any) -> Any:
    """Allocate memory for one value of each cell of a block, which no other pointer refers to."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        # in the entry block, because an alloca in a loop takes new stack in every iteration
        with builder.goto_entry_block():
            memory = builder.alloca(args[0].type, WIDTH)
            memory.align = LINE  # or every wide read and write would touch two lines
            return memory

    return types.CPointer(like)(like), code


@intrinsic
def load(context: Any, memory: Any, i: Any) -> Any:
    """Read `memory[i]`."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(args[0], [args[1]]))

    return memory.dtype(memory, i), code


@intrinsic
def store(context: Any, memory: Any, i: Any, value: Any) -> Any:
    """Write `memory[i] = value`."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return target.get_dummy_value()

    return types.void(memory, i, value), code


def _scoped(instruction: Any, builder: Any, buffer: int) -> Any:
    """Declare to LLVM that a buffer overlaps no other, so that it can vectorise without checking.

    Without it the backward kernel of AdEx takes 5 times as long, that of HodgkinHuxley 9 times. LLVM trusts this, so
    callers must ensure it: never pass a tensor to a kernel under two names if the kernel writes to it.
    """
    module = builder.module
    domain = module.add_metadata(["buffers"])
    scopes = [module.add_metadata([f"buffer {i}", domain]) for i in range(BUFFERS)]
    instruction.set_metadata("alias.scope", module.add_metadata([scopes[buffer]]))
    instruction.set_metadata("noalias", module.add_metadata([s for i, s in enumerate(scopes) if i != buffer]))
    return instruction


@intrinsic(prefer_literal=True)
def fetch(context: Any, memory: Any, i: Any, buffer: Any) -> Any:
    """Read `memory[i]` of the buffer with this number."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _scoped(builder.load(builder.gep(args[0], [args[1]])), builder, buffer.literal_value)

    return memory.dtype(memory, i, buffer), code


@intrinsic(prefer_literal=True)
def put(context: Any, memory: Any, i: Any, value: Any, buffer: Any) -> Any:
    """Write `memory[i] = value` in the buffer with this number."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        _scoped(builder.store(args[2], builder.gep(args[0], [args[1]])), builder, buffer.literal_value)
        return target.get_dummy_value()

    return types.void(memory, i, value, buffer), code


@intrinsic
def copy(context: Any, to: Any, i: Any, source: Any, k: Any, n: Any) -> Any:
    """Copy `source[k : k + n]` to `to[i : i + n]`."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        size = target.get_abi_sizeof(args[0].type.pointee)
        ends = [builder.bitcast(builder.gep(a, [at]), byte) for a, at in ((args[0], args[1]), (args[2], args[3]))]
        function = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, ir.IntType(64)])
        count = builder.mul(
            builder.sext(args[4], ir.IntType(64)) if args[4].type.width < 64 else args[4],
            ir.Constant(ir.IntType(64), size),
        )
        builder.call(function, [*ends, count, ir.Constant(ir.IntType(1), 0)])
        return target.get_dummy_value()

    return types.void(to, i, source, k, n), code


@intrinsic(prefer_literal=True)
def interleave(context: Any, vectors: Any) -> Any:
    """Ask LLVM to run the loop before this line for so many vectors at a time; no result changes.

    A step is a chain of operations, each of which waits for the one before, and other cells fill the waits.
    """

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        module, number = builder.module, ir.Constant(ir.IntType(32), vectors.literal_value)
        for jump in _latches(builder.function.blocks):
            wish = module.add_metadata(["llvm.loop.interleave.count", number])
            loop = module.add_metadata([wish, f"loop {len(module.metadata)}"])
            loop.operands = (loop, wish)  # LLVM knows the description of a loop by its reference to itself
            jump.set_metadata("llvm.loop", loop)
        return target.get_dummy_value()

    return types.void(vectors), code


def _latches(blocks: Any) -> list[Any]:
    """Return the jumps of finished blocks that lead back to the head of a loop, which is also entered from outside."""
    jumps = [(block, to) for block in blocks if block.terminator for to in _targets(block)]
    heads = {to for block, to in jumps if not _reaches(to, block)}
    return [block.terminator for block, to in jumps if to in heads and _reaches(to, block)]


def _targets(block: Any) -> list[Any]:
    return [each for each in block.terminator.operands if isinstance(each, ir.Block)]


def _reaches(begin: Any, end: Any) -> bool:
    seen, open_ = {begin}, [begin]
    while open_:
        block = open_.pop()
        if block is end:
            return True
        new = [to for to in _targets(block) if to not in seen] if block.terminator else []
        seen.update(new)
        open_ += new
    return False


@intrinsic
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute `a b + c`, rounded once; slow if the processor has no such instruction."""

    def code(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.fma", [args[0].type] * 3), args)

    return a(a, a, a), code
