"""Products that no module shows: matrix products, convolutions and attention, counted as torch's operators run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from rules.uncompiled import uncompiled

aten: Any = torch.ops.aten
Answer = TypeVar("Answer")


class Products(NamedTuple):
    """Multiply-accumulates of one operator, and the tensors that it multiplies."""

    pairs: int
    operands: tuple[Tensor, ...]


def _matrices(a: Tensor, b: Tensor) -> tuple[Products, ...]:
    return (Products(a.numel() * b.shape[-1] if b.ndim > 1 else a.numel(), (a, b)),)


def _convolution(x: Tensor, weight: Tensor, out: Tensor, transposed: bool) -> tuple[Products, ...]:
    return (Products((x if transposed else out).numel() * weight[0].numel(), (x, weight)),)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Products, ...]:
    scores = q.numel() // q.shape[-1] * k.shape[-2]  # of which an error arrives if it goes on to q or k
    return Products(scores * q.shape[-1], (q, k)), Products(scores * v.shape[-1], (q if q.requires_grad else k, v))


def _fused_attention(x: Tensor, width: int) -> int:
    """Four projections and two products of attention, for `[samples, steps, width]`."""
    samples, steps, _ = x.shape
    return int(4 * x.numel() * width + 2 * samples * steps * steps * width)


def _encoder(args: Any, out: Tensor) -> tuple[Products, ...]:
    x, first = args[0], args[12]
    return (Products(_fused_attention(x, args[1]) + 2 * x.numel() * len(first), (x,)),)


FORMULAS: Mapping[Any, Callable[[Any, Any], tuple[Products, ...]]] = {
    aten.mm: lambda args, out: _matrices(args[0], args[1]),
    aten.bmm: lambda args, out: _matrices(args[0], args[1]),
    aten.mv: lambda args, out: _matrices(args[0], args[1]),
    aten.dot: lambda args, out: _matrices(args[0], args[1]),
    aten.addmm: lambda args, out: _matrices(args[1], args[2]),
    aten.addmv: lambda args, out: _matrices(args[1], args[2]),
    aten.baddbmm: lambda args, out: _matrices(args[1], args[2]),
    aten.addbmm: lambda args, out: _matrices(args[1], args[2]),
    aten.linear: lambda args, out: (Products(out.numel() * args[1].shape[-1], (args[0], args[1])),),
    aten.convolution: lambda args, out: _convolution(args[0], args[1], out, args[6]),
    aten._scaled_dot_product_flash_attention_for_cpu: lambda args, out: _attention(*args[:3]),
    aten._scaled_dot_product_flash_attention: lambda args, out: _attention(*args[:3]),
    aten._scaled_dot_product_efficient_attention: lambda args, out: _attention(*args[:3]),
    aten._scaled_dot_product_cudnn_attention: lambda args, out: _attention(*args[:3]),
    aten._native_multi_head_attention: lambda args, out: (Products(_fused_attention(args[0], args[3]), (args[0],)),),
    aten._transformer_encoder_layer_fwd: _encoder,
}


class Watch(TorchDispatchMode):
    """A context that reports the products of operators, except while `muted` is above 0.

    Args:
        report: called with the products of an operator, and its first output.
    """

    def __init__(self, report: Callable[[Products, Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.report = report
        self.muted = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # `uncompiled` does it, and torch would import the compiler for it

    @uncompiled
    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operator(*args, **(kwargs or {}))
        formula = None if self.muted else FORMULAS.get(operator.overloadpacket)
        for products in () if formula is None else formula(args, out):
            self.report(products, out[0] if isinstance(out, tuple) else out)
        return out


def told(products: Sequence[tuple[Products, Tensor]], work: Callable[[], Answer]) -> Answer:
    """Do work whose operators do not show its products, and report these wherever products are watched.

    Args:
        products: what the work multiplies, each with a tensor of the size of what it puts out.
        work: is not watched itself.
    """
    watches = [mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Watch) and not mode.muted]
    for watch in watches:
        watch.muted += 1
    try:
        done = work()
    finally:
        for watch in watches:
            watch.muted -= 1
    for watch in watches:
        for each in products:
            watch.report(*each)
    return done


def is_weight(operand: Tensor) -> bool:
    """Return whether a tensor is a parameter or a view of one."""
    base = operand if operand._base is None else operand._base
    return isinstance(base, nn.Parameter)
