"""A dense synapse that computes by events if that is faster, and otherwise behaves as nn.Linear."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sandbox.synapses.choice import MODES, mode
from sandbox.synapses.product import WORTH_A_LOOK, Product, finite, ordinary


class EventLinear(nn.Linear):
    """An `nn.Linear`, `y = x W.T + b`, that computes with the active inputs alone if they are few.

    Arguments, parameters, their names and their initial values are those of `nn.Linear`. Inputs are `[..., in]`; an
    entry is active if it is not zero, whatever its value. `sandbox.synapses.using` sets the mode. Output and gradients
    are those of `nn.Linear` up to the order of summation. Special cases use the dense product: torch.func transforms,
    torch.compile, forward-mode differentiation, autocast, modes of torch, other devices and dtypes, and weights that
    hold a NaN or an infinity or are not parameters (parametrised, or replaced in a functional call).

    >>> from sandbox.synapses import using
    >>> synapse = EventLinear(3, 2)
    >>> spikes = torch.tensor([[0.0, 1.0, 0.0]])
    >>> with using("events"):
    ...     bool(torch.equal(synapse(spikes)[0], synapse.weight[:, 1] + synapse.bias))
    True
    """

    only_weighs = True

    def forward(self, input: Tensor) -> Tensor:
        """Map `[..., in]` to `[..., out]`."""
        way = self.way(input)
        if way == "dense":
            return F.linear(input, self.weight, self.bias)
        flat = input.reshape(-1, self.in_features)
        y: Tensor = Product.apply(flat, self.weight, self.bias, below(way))  # type: ignore[no-untyped-call]
        return y.reshape(*input.shape[:-1], self.out_features)

    def way(self, input: Tensor, worth: int | None = None) -> str:
        """Return the mode for `input`: "dense", "events", or if its density decides "auto" or the density as text.

        Args:
            input: `[..., in]`.
            worth: multiplications of a product below which "auto" is the dense one; None for WORTH_A_LOOK, which always
                holds for a density.
        """
        if torch.compiler.is_compiling() or not usual(input, self.weight, self.bias):
            return "dense"
        chosen, rows = mode(), input.numel() // max(self.in_features, 1)
        least = worth if chosen == "auto" and worth is not None else WORTH_A_LOOK
        little = rows == 0 or (chosen != "events" and rows * self.weight.numel() < least)
        return "dense" if little or chosen == "dense" or not finite(self.weight) else str(chosen)


def below(way: str) -> float | None:
    """Return the density below which a way goes by events: 1 for all, None if timings decide.

    >>> below("0.2"), below("events"), below("auto")
    (0.2, 1.0, None)
    """
    return {"events": 1.0, "auto": None}[way] if way in MODES else float(way)


def usual(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether these are plain tensors on the CPU in an ordinary pass."""
    return (
        type(x) in (Tensor, nn.Parameter)
        and type(weight) is nn.Parameter
        and (bias is None or (type(bias) is nn.Parameter and bias.dtype == weight.dtype))
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and x.device.type == weight.device.type == "cpu"
        and x.layout == weight.layout == torch.strided
        and not x.is_neg()
        and x.ndim > 0
        and x.shape[-1] == weight.shape[1] > 0
        and ordinary()
    )
