"""Run the compiled loop of a layer whose weights change in every step, sample by sample."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sandbox.kernels.launch import store
from sandbox.kernels.launch.buffers import numbers
from sandbox.kernels.launch.compiled import REALS
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.kernels.write.emit_plastic import Plastic, forward
from sandbox.machine.threads import share_out


class Loop(NamedTuple):
    """A loop with what it needs: cells are those of all samples, `[B n]`."""

    key: str  # of the structure
    options: tuple[Any, ...]  # of `Plastic`, behind the structure
    constants: Tensor
    params: list[Tensor]  # [B n] or ()
    draws: list[Tensor]  # [T, B n]
    states: list[Tensor]  # [B n], overwritten by the last ones
    weight: Tensor  # [B, K, n], overwritten
    traces: dict[str, Tensor]  # x, x2 [B, K] and y, y2 [B, n], overwritten
    spikes: Tensor  # [B n], before the first step, overwritten
    bias: Tensor  # [n]
    given: Tensor  # the numbers of the window


@lru_cache(maxsize=256)
def compiled(key: str, options: tuple[Any, ...], dtype: torch.dtype) -> Any:
    """Return a compiled loop with the names of its buffers and integers."""
    source, reals, whole = forward(Plastic(STRUCTURES[key], *options), dtype == torch.float64)
    return store.compiled(source, REALS[dtype]), reals, whole


def run(loop: Loop, x: Tensor) -> Tensor:
    """Run all samples of an input `[T, B, K]` on as many threads as torch uses; return the outputs `[T, B, n]`."""
    steps, samples, inputs = x.shape
    cells, width = loop.weight.shape[2], loop.weight.shape[1]
    function, reals, whole = compiled(loop.key, loop.options, x.dtype)
    output = x.new_empty(steps, samples * cells)
    shared = numbers(loop.constants, loop.params, x)
    flows = {"out": (output, cells), "spikes": (loop.spikes, cells), "w": (loop.weight, width * cells)}
    flows |= {"bias": (loop.bias, 0), "given": (loop.given, 0)}
    flows |= {name: (trace, trace.shape[1]) for name, trace in loop.traces.items()}
    flows |= {f"s{i}": (state, cells) for i, state in enumerate(loop.states)}
    flows |= {f"p{i}": (p.contiguous(), cells) for i, p in enumerate(loop.params) if p.ndim}
    flows |= {f"d{i}": (draw.contiguous(), cells) for i, draw in enumerate(loop.draws)}

    def one(sample: int) -> None:
        at = np.flatnonzero(x[:, sample].ne(0).numpy())  # several times as fast as nonzero of floats
        rows = torch.zeros(steps + 1, dtype=torch.int64)
        rows[1:] = torch.from_numpy(np.bincount(at // inputs, minlength=steps).cumsum())
        fired = torch.from_numpy((at % inputs).astype(np.int32))
        sizes = x[:, sample].reshape(-1)[torch.from_numpy(at)]
        own = {"sizes": sizes, "total": x.new_empty(cells), "was": x.new_empty(cells)}
        lists = {name: torch.empty(cells, dtype=torch.int32) for name in ("now", "new")}
        counts = {"INPUTS": inputs, "WIDTH": width}

        def address(name: str) -> int:
            if name in own:
                return own[name].data_ptr()
            buffer, stride = flows[name]
            return buffer.data_ptr() + sample * stride * buffer.element_size()

        addresses = [0, rows.data_ptr(), fired.data_ptr(), 0, *(address(name) for name in reals)]
        addresses += [counts[name] if name in counts else lists[name].data_ptr() for name in whole]
        size = 0, cells, 0, steps, samples * cells, 0, 0
        function(*size, np.array(addresses, np.int64), shared.data_ptr())

    def some(first: int, last: int) -> None:
        for sample in range(first, last):
            one(sample)

    share_out(some, samples)
    return output.view(steps, samples, cells)
