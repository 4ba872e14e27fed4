"""Units that can be perturbed in one probe, because their effects do not overlap where they are measured.

Perturbing a channel at all positions of a lattice costs one probe if the windows that the positions reach do not
overlap; each window then belongs to one position. For n convolutions of k x k, stride 1, the lattice has the spacing
`P = 1 + n (k - 1)`, and a cut of C channels costs `C min(H, P) min(W, P)` probes instead of `C H W`. The receptive
fields are computed exactly, axis by axis, with stride, padding, dilation and pooling.

Reference: we know only second-hand that Cao, Ma & Tian 2026 (arXiv 2602.10607) probe spatial positions in parallel; the
method here is our reconstruction, the colouring of compressed Jacobians (Curtis, Powell & Reid 1974).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _ntuple

from rules.credit.zero_order.layered.stages import Plain, Step

CONVOLUTIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
POOLS = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3, nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3}
ADAPTIVE = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)


class Layout(NamedTuple):
    """The units of a cut, `[channels, *sizes]`, and the part of the measured `[-1, *outs]` that each one reaches."""

    channels: int
    sizes: tuple[int, ...]
    windows: tuple[Tensor | None, ...]  # for each axis [out, size], 1 where out sees size; None: the identity
    spacing: tuple[int, ...]

    @property
    def outs(self) -> tuple[int, ...]:
        """The number of measured positions along each axis."""
        pairs = zip(self.windows, self.sizes, strict=True)
        return tuple(size if window is None else len(window) for window, size in pairs)

    @property
    def probes(self) -> int:
        """The number of probes that perturb every unit once.

        >>> chain = [Plain("0", nn.Conv2d(3, 8, 3, padding=1)), Plain("1", nn.Conv2d(8, 8, 3, padding=1))]
        >>> layout(chain, [(3, 32, 32), (8, 32, 32), (8, 32, 32)]).probes == 3 * 5 * 5
        True
        """
        return self.channels * math.prod(self.spacing)


def layout(steps: Sequence[Step], shapes: Sequence[tuple[int, ...]]) -> Layout:
    """Return the layout for a cut before `steps`, measured behind them.

    `shapes` are those of one sample at one time, one more than there are steps. If the steps mix all positions, or one
    of them is unknown, every unit is probed alone.
    """
    first = shapes[0]
    if all(step.pointwise for step in steps):
        return Layout(1, first, (None,) * len(first), (1,) * len(first))
    sizes = first[1:]
    windows: list[Tensor | None] = [None] * len(sizes)
    current = sizes
    for step, before, after in zip(steps, shapes, shapes[1:], strict=False):
        if step.pointwise:
            continue
        seen = sees(step, before, after) if before[1:] == current else None  # None if positions were rearranged
        if seen is None:
            windows = [torch.ones(1, size) for size in sizes]
            break
        windows = [chained(a, b) for a, b in zip(seen, windows, strict=True)]
        current = after[1:]
    return Layout(first[0] if first else 1, sizes, tuple(windows), tuple(map(spacing, windows)))


def chained(later: Tensor | None, earlier: Tensor | None) -> Tensor | None:
    """Return what the later step's outputs see of the earlier step's input."""
    if later is None or earlier is None:
        return earlier if later is None else later
    return (later @ earlier > 0).to(later.dtype)


def spacing(window: Tensor | None) -> int:
    """Return the smallest distance at which positions can be perturbed together without overlap.

    >>> spacing(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]))  # pairs, as average-pooling by 2 makes them
    2
    """
    if window is None:
        return 1
    size = window.shape[1]
    meet = (window.T @ window > 0).nonzero()
    met = {int(distance) for distance in (meet[:, 1] - meet[:, 0]).tolist() if distance > 0}
    return next(p for p in range(1, size + 1) if not any(distance % p == 0 for distance in met))


def sees(step: Step, before: tuple[int, ...], after: tuple[int, ...]) -> list[Tensor | None] | None:
    """Return for each spatial axis what each output sees, `[out, in]`; None if it may see anything.

    Only torch's own classes are recognised, because a subclass may behave differently.
    """
    module, axes = step.module, len(before) - 1
    if not isinstance(step, Plain) or len(after) != len(before):
        return None
    kind: Any = type(module)
    if kind in ADAPTIVE:
        return [adaptive(a, b) for a, b in zip(before[1:], after[1:], strict=True)]
    if CONVOLUTIONS.get(kind) != axes and POOLS.get(kind) != axes:
        return None
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return None
    spread = _ntuple(axes)
    kernel, stride = spread(module.kernel_size), spread(module.stride)
    dilation = spread(getattr(module, "dilation", 1))
    padding = module._reversed_padding_repeated_twice[-2::-2] if kind in CONVOLUTIONS else spread(module.padding)  # type: ignore[index]
    return [strided(before[a + 1], after[a + 1], kernel[a], stride[a], padding[a], dilation[a]) for a in range(axes)]


@lru_cache(maxsize=256)
def strided(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """Return what each output sees: output o sees `o stride - padding + i dilation`, i below the kernel, if inside."""
    window = torch.zeros(out, size)
    for o in range(out):
        for i in range(kernel):
            y = o * stride - padding + i * dilation
            if 0 <= y < size:
                window[o, y] = 1
    return window


@lru_cache(maxsize=256)
def adaptive(size: int, out: int) -> Tensor:
    """Return what each output sees: output o sees from `floor(o size / out)` up to `ceil((o + 1) size / out)`."""
    window = torch.zeros(out, size)
    for o in range(out):
        window[o, o * size // out : -(-(o + 1) * size // out)] = 1
    return window
