"""Count the cost of calls of a model, synapse by synapse."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from rules.contract import Cost
from rules.optional import tallying
from rules.synapses import weighted


def pairs(module: Any, output: Any) -> int:
    """Return the number of pairs of an input and a weight in a call with this output, zeros included.

    >>> import torch
    >>> pairs(nn.Linear(4, 3), torch.zeros(2, 3))
    24
    """
    if isinstance(module, nn.RNNBase):  # every matrix once for each step and sample
        first = output[0]
        return int(first.numel() // first.shape[-1]) * sum(p.numel() for p in module.parameters() if p.ndim == 2)
    return int(output.numel() * module.weight[0].numel())


class Meter:
    """A context that counts the synaptic operations of every forward pass.

    It also counts multiplications and conversions as if each weight matrix were an analogue array between digital
    neurons: forward, and backward where autograd will need it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.operations = 0
        self.conversions = [0, 0]  # to analogue and to digital, forward
        self.reverse = [0, 0, 0, 0]  # operations for errors and for weights, and both conversions, backward
        self._seen: set[int] = set()
        self._weighted = [*weighted(model).values()]
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Meter:
        self._handles = [m.register_forward_hook(self._count) for m in self._weighted]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    @tallying
    def _count(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._seen.add(id(module))
        operations = pairs(module, output)
        output = output[0] if isinstance(module, nn.RNNBase) else output
        self.operations += operations
        incoming, outgoing = inputs[0].numel(), output.numel()
        self.conversions = [self.conversions[0] + incoming, self.conversions[1] + outgoing]
        if output.requires_grad:
            passed_on = inputs[0].requires_grad
            weighed = any(p.requires_grad for p in module.parameters())
            back = (operations * passed_on, operations * weighed, outgoing, incoming * passed_on)
            self.reverse = [before + now for before, now in zip(self.reverse, back, strict=True)]

    def cost(self, forwards: int, backwards: int) -> Cost:
        """Return the cost of `forwards` whole passes and `backwards` reverse passes."""
        back = [count * backwards // max(forwards, 1) for count in self.reverse]  # recomputed passes were counted too
        return Cost(
            forwards,
            backwards,
            layer_evaluations=forwards * len(self._seen),
            synaptic_operations=self.operations,
            error_operations=back[0],
            weight_operations=back[1],
            neuron_steps=self.conversions[1],
            multiplications=self.operations + back[0] + back[1],
            dac_conversions=self.conversions[0] + back[2],
            adc_conversions=self.conversions[1] + back[3],
        )
