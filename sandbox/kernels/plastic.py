"""Layers whose weights change in every step, in a kernel: which are supported, and the tensors around the loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

from rules.credit.spike_timing.at_once import Bounds, Frame, blank, fading
from rules.credit.spike_timing.window import Window
from sandbox.kernels.choice import choice
from sandbox.kernels.sequence import ended, found_for, operands
from sandbox.kernels.trace.step import Body
from sandbox.kernels.unsupported import Unsupported

Found = tuple[Tensor, Any, Tensor, tuple[Tensor, ...]]


def plastic(neuron: Any, body: Body, label: Any, frame: Frame, window: Window, bounds: Bounds, dt: float) -> Found:
    """Return what `rules.credit.spike_timing.at_once.stepped` does, by a compiled loop.

    It touches the weights of inputs and cells that fire, and those alone.

    Raises:
        Unsupported: if the plain loop has to run.
    """
    from sandbox.kernels.launch import plastic_loop, registered

    if _functorch.maybe_current_level() is not None or frame.x.device.type != "cpu" or choice().mode == "triton":
        raise Unsupported("Triton and transforms of torch.func have no kernel for weights that act at once")
    state, heard = frame.carry
    x = frame.x.contiguous()
    samples, cells = x.shape[1], len(frame.weight)
    like = x.new_zeros(1, samples, cells).expand(len(x), samples, cells)
    found = found_for(neuron, body, label, like, state, dt)
    row = operands(found, neuron, like, state)
    if any(t.requires_grad for t in (*row.params, *row.draws)) and torch.is_grad_enabled():
        raise Unsupported("a parameter of the neuron is learned", expected=True)
    inputs = x.shape[2]
    learns = [bool(part.all()) for part in (frame.learns[:inputs], frame.learns[inputs:]) if part.numel()]
    options = (
        tuple(p.ndim > 0 for p in row.params),
        window.pairing == "nearest",
        window.read != "before",
        window.read == "after",
        -1 if window.shape == "causal" else 1,
        window.triplets,
        bounds.low is not None,
        bounds.high is not None,
        learns[0],
        heard is not None,
        heard is not None and learns[1],
    )
    names = ("x", "y", "x2", "y2") if window.triplets else ("x", "y")
    traces = {
        name: t.clone(memory_format=torch.contiguous_format)
        for name, t in zip(names, frame.traces or blank(frame, window), strict=True)
    }
    numbers = [*fading(window, dt), window.a_plus, window.a_minus, window.triplet_plus, window.triplet_minus]
    numbers += [0.0 if bound is None else bound for bound in bounds]
    loop = plastic_loop.Loop(
        registered.register(found.structure, x.device),
        options,
        found.constants,
        [p.detach() for p in row.params],
        row.draws,
        [state.clone(memory_format=torch.contiguous_format) for state in row.states],
        frame.weight.t().expand(samples, -1, cells).clone(memory_format=torch.contiguous_format),
        traces,
        x.new_zeros(samples * cells) if heard is None else heard.reshape(-1).clone(),
        x.new_zeros(cells) if frame.bias is None else frame.bias.contiguous(),
        torch.tensor(numbers, dtype=x.dtype),
    )
    output = plastic_loop.run(loop, x)
    end = ended(found, loop.states, like, state)
    last = loop.weight[0] if samples == 1 else loop.weight.mean(0)
    change = last.t() - frame.weight
    return output, (end, None if heard is None else output[-1]), change, tuple(traces.values())
