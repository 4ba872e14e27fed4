"""Where the replacement happens: a pair of hooks on each synapse, which cut its input and join it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rules.contract import Cost
from rules.credit.feedback.output import Sent
from rules.credit.feedback.products import carried
from rules.metering import pairs

Carry = Callable[[Tensor, Tensor], Tensor]  # (input, error at the output) -> error at the input


class Joined(torch.autograd.Function):
    """Forward, the output of a synapse; backward, its error unchanged, and to its input what `carry` makes of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, output: Tensor, carry: Carry) -> Tensor:
        ctx.carry = carry
        ctx.save_for_backward(x)
        return output.clone()  # so that a layer behind it may change it in place

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.carry(x, error) if ctx.needs_input_grad[0] else None, error, None


class Back(NamedTuple):
    """What carries errors back through one synapse: nothing, a matrix shaped as its weight, or one from the output."""

    module: nn.Module
    matrix: Tensor | None
    direct: bool = False


class Replaced:
    """A context in which the errors of synapses go back as `backs` say, by the names of the synapses.

    The synapse itself sees its input cut from the graph, so that its own backward product is neither used nor computed.
    Every error that goes to its parameters is unchanged. `cost` counts what goes to inputs, as `rules.Meter` would.
    """

    def __init__(self, backs: Mapping[str, Back], sent: Sent, known: Mapping[str, nn.Module]) -> None:
        self.backs, self.sent, self.known = backs, sent, known
        self.cost = Cost()
        self.called = False
        self._entered: dict[str, tuple[Tensor, Tensor]] = {}  # the input, and what the synapse sees of it
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Replaced:
        for name, module in self.known.items():
            self._handles.append(module.register_forward_pre_hook(self._cut(name)))
            self._handles.append(module.register_forward_hook(self._join(name), prepend=True))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    def _cut(self, name: str) -> Callable[..., Any]:
        def cut(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
            x, *rest = inputs
            self.called = True
            self._entered.pop(name, None)
            if not (torch.is_grad_enabled() and x.requires_grad):
                return None
            cut_off = x.detach()
            self._entered[name] = x, cut_off
            return (cut_off, *rest)

        return cut

    def _join(self, name: str) -> Callable[..., Any]:
        def join(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            entered = self._entered.pop(name, None)
            if entered is None:
                return None
            x, cut_off = entered
            if name not in self.backs:  # said here: torch would not leave its modes behind a hook before the call
                raise ValueError(unknown_synapse(name))
            if inputs[0] is not cut_off:
                raise ValueError(
                    f"the input of {name!r} was changed between its arrival and its use: a credit that changes "
                    "signals, such as dropout, goes around the feedback, Dropout(rules.Feedback(rules.BPTT()))"
                )
            back = self.backs[name]
            if back.matrix is None:
                return None
            joined: Tensor = Joined.apply(x, output, self._carry(name, back, x, inputs, output))  # type: ignore[no-untyped-call]
            return joined

        return join

    def _carry(self, name: str, back: Back, x: Tensor, inputs: tuple[Any, ...], output: Tensor) -> Carry:
        matrix = back.matrix
        assert matrix is not None
        if back.direct:
            first = self.sent.place(name, x, tuple(matrix.shape[1:]))
            return lambda x, error: self.sent.arriving(name, first, x, matrix)
        if torch._C._current_graph_task_id() == -1:  # not where a pass is computed again
            operations, frozen = pairs(back.module, inputs, output), not output.requires_grad
            self.cost += Cost(
                error_operations=operations,
                multiplications=operations,
                dac_conversions=output.numel() * frozen,  # otherwise counted with the gradient of the weight
                adc_conversions=x.numel(),
            )
        return lambda x, error: carried(back.module, matrix, x, error)


def unknown_synapse(name: str) -> str:
    """Return what to say of a synapse without feedback that an error goes through."""
    return (
        f"an error goes back through {name!r}, for which no feedback was drawn: the model was changed, or called in "
        "another way, after training began: make a new trainer, trainer = rules.Trainer(model, rule)"
    )
