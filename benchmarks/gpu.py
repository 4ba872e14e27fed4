"""Triton kernels on a CUDA device, against loops in torch and other libraries on the same device.

python benchmarks/gpu.py          # writes its section of README.md
python benchmarks/gpu.py 1        # with one round of each; only prints
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial

import torch
from kernels import DT, ROUNDS, SHAPES, fastest, ours, peers, row, step
from readme import machine, put, table
from timing import paired
from torch import Tensor

from sandbox.kernels.launch.backends import triton_absent
from sandbox.neurons import ALIF, LIF, AdEx, Neuron

WORDS = """\
Forward and backward in float32. Calls alternate between the sides and last until the device has finished; times are
medians, ratios are medians over neighbouring calls. Currents, errors and results stay on the device. Both sides are
compared before anything is timed. Other libraries compute nearly the same, with their own surrogates.
"""


def on_device(neuron: Neuron, mode: str, x: Tensor) -> Tensor:
    """Spikes, for currents in units of the rheobase."""
    return ours(neuron, mode, DT if isinstance(neuron, AdEx) else 1.0)(x * float(neuron.rheobase))


def finished(call: Callable[[], object]) -> Callable[[], object]:
    """Wrap a call so that it lasts until the device has finished."""

    def whole() -> object:
        found = call()
        torch.cuda.synchronize()
        return found

    return whole


def same(neuron: Neuron, shape: tuple[int, ...]) -> None:
    """Check that both sides agree, except for cells at the threshold to the last digit of float32."""
    (want, wanted), (spikes, gradient) = (
        step(partial(on_device, neuron, mode), shape, "cuda")() for mode in ("plain", "triton")
    )
    alike = (spikes == want).flatten(1).all(0)
    assert alike.double().mean() > 0.99, "spikes differ"
    off = (gradient - wanted).flatten(1)[:, alike].abs().max()
    assert off < 1e-3 * wanted.abs().max(), f"gradients differ by {off}"


def cell(neuron: Neuron, shape: tuple[int, ...], rounds: int) -> list[tuple[str, ...]]:
    same(neuron, shape)
    what = f"{type(neuron).__name__} {list(shape)}"
    plain, kernel = (finished(step(partial(on_device, neuron, mode), shape, "cuda")) for mode in ("plain", "triton"))
    rows: list[tuple[str, ...]] = [row(f"{what}: loop", paired(plain, kernel, rounds))]
    if isinstance(neuron, LIF):
        found, missing = peers(neuron.reset)
        if found:
            name = fastest(found, shape, "cuda")
            theirs = finished(step(found[name], shape, "cuda"))
            rows.append(row(f"{what}: {name}, fastest of {len(found)}", paired(theirs, kernel, rounds)))
        if missing:
            rows.append((f"{what}: {', '.join(missing)}", "not installed", "", "", ""))
    return rows


def main(rounds: int, publish: Callable[[str, str], None]) -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py measures on a CUDA device, and torch finds none here")
    if triton_absent():
        sys.exit(f"benchmarks/gpu.py: {triton_absent()}")
    warnings.simplefilter("ignore")
    rows = [line for neuron in (LIF(), ALIF(), AdEx()) for shape in SHAPES for line in cell(neuron, shape, rounds)]
    body = table(("what", "theirs", "ours", "ratio", "target"), rows)
    place = f"{torch.cuda.get_device_name()}; {machine('torch', 'triton')}"
    publish("Fused time loops on CUDA", f"{WORDS}\n{body}\n\n{place}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(int(sys.argv[1]), lambda title, text: print(f"## {title}\n\n{text}"))
    else:
        main(ROUNDS, put)
