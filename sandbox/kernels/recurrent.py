"""Recurrent cells in a kernel: which synapses are supported, and the hooks that are called afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch

from rules.optional import tallies
from sandbox.kernels.choice import choice
from sandbox.kernels.launch import registered
from sandbox.kernels.launch.backends import by_triton
from sandbox.kernels.launch.recurrent_ops import recur
from sandbox.kernels.sequence import Result, divided, found_for, operands, returned
from sandbox.kernels.trace.plan import Plan
from sandbox.kernels.trace.step import Body
from sandbox.kernels.unsupported import Unsupported
from sandbox.synapses import EventLinear
from sandbox.synapses.by_input import ByInput
from sandbox.synapses.product import WORTH_A_LOOK_IN_A_LOOP


def recurrence(
    neuron: Any, synapse: nn.Module, body: Body, label: Any, currents: Tensor, state: Any, last: Tensor, dt: float
) -> Result:
    """Run all steps of cells `[T, ..., N]` from a state and from the output `last` `[..., N]`.

    Raises:
        Unsupported: if the plain loop has to run.
    """
    currents, beside = divided(neuron, currents)
    synapses = by_input(synapse)
    for each in synapses:
        admit(each, currents, last)
    found = found_for(neuron, body, label, currents, state, dt)
    if not {"x", *(f"d{i}" for i in range(len(beside)))} <= set(found.structure.backward[1]):
        raise Unsupported("no gradient reaches the current", expected=True)
    return recurring(found, neuron, synapses, currents, state, last, beside)


def by_input(synapse: nn.Module) -> list[Any]:
    """Return the synapse of each input; raise Unsupported for some with a bias and some without, and for hooks."""
    if not isinstance(synapse, ByInput):
        return [synapse]
    synapses = list(synapse.inputs.values())
    if len({getattr(each, "bias", None) is None for each in synapses}) > 1:
        raise Unsupported("of its recurrent synapses some have a bias, and some have none", expected=True)
    if any(each._forward_hooks or each._forward_pre_hooks for each in (synapse, synapse.inputs)):
        raise Unsupported("a hook reads the recurrent synapses in every step", expected=True)
    return synapses


def recurring(
    found: Plan,
    neuron: Any,
    synapses: Sequence[nn.Linear],
    currents: Tensor,
    state: Any,
    last: Tensor,
    beside: Sequence[Tensor] = (),
) -> Result:
    """Run a plan in turn with the synapse of each input, and call the hooks of the synapses."""
    key = registered.register(found.structure, currents.device)
    row = operands(found, neuron, currents, state, beside)
    weights = [synapse.weight for synapse in synapses]
    biases = [synapse.bias for synapse in synapses if synapse.bias is not None]
    tensors = [row.x, last, *weights, *biases, *row.states, *row.params, *row.draws]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    ways = [s.way(last, WORTH_A_LOOK_IN_A_LOOP) if isinstance(s, EventLinear) else "dense" for s in synapses]
    results = recur(row.x, last, weights, biases, *row[1:], found.constants, key, " ".join(ways), save)
    outputs, end = returned(found, results, currents, state)
    for synapse in synapses:
        tell(synapse, last, outputs[0])
    return outputs, end


def admit(synapse: nn.Module, currents: Tensor, last: Tensor) -> None:
    """Raise Unsupported for a synapse that is not just a weight and bias, or has hooks that do more than count."""
    from torch.nn.modules import module

    if type(synapse) not in (nn.Linear, EventLinear):
        raise Unsupported(f"recurrent synapses of type {type(synapse).__name__}")
    others = synapse._backward_hooks or synapse._backward_pre_hooks
    everywhere = module._global_forward_hooks or module._global_forward_pre_hooks or module._global_backward_hooks
    hooks = (*synapse._forward_pre_hooks.values(), *synapse._forward_hooks.values())
    if others or everywhere or not all(map(tallies, hooks)):
        raise Unsupported("a hook reads the recurrent synapse in every step", expected=True)
    if _functorch.maybe_current_level() is not None:
        raise Unsupported("a transform of torch.func", expected=True)
    if by_triton(currents.device, choice().mode):
        raise Unsupported("Triton has no kernel for recurrent layers")
    size, like = currents.shape[-1], (currents.dtype, currents.device)
    if synapse.weight.shape != (size, size) or any((p.dtype, p.device) != like for p in synapse.parameters()):
        raise Unsupported("recurrent weights differ from the currents in size, dtype or device", expected=True)
    if (last.shape, last.dtype, last.device) != (currents.shape[1:], *like) or not last.numel():
        raise Unsupported("the last output differs from the currents in shape, dtype or device", expected=True)


def tell(synapse: nn.Linear, last: Tensor, spikes: Tensor) -> None:
    """Call the hooks of the synapse, which only count, with the input of the first step, then of all others at once."""
    for given in (last[None], spikes[:-1]):
        if len(given):
            free = torch.is_grad_enabled() and (given.requires_grad or synapse.weight.requires_grad)
            for before in synapse._forward_pre_hooks.values():
                before(synapse, (given,))
            for hook in synapse._forward_hooks.values():
                hook(synapse, (given,), torch.empty(given.shape, device="meta", requires_grad=free))
