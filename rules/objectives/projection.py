"""A projection head between features and contrast, so that features can keep what the contrast would discard."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from rules.seeds import seeded


class Projection(LazyModuleMixin, nn.Module):
    """`g(r) = W2 relu(W1 r + b1) + b2` with a hidden layer, else `W1 r + b1`; `[..., d]` to `[..., width]`.

    The size d is that of the first features; weights are then drawn uniformly from `+-1 / sqrt(fan_in)` with a
    generator from `seed`; without one, from the seed of the Trainer, or from 0.

    >>> Projection(8, hidden=True, seed=0)(torch.ones(4, 2, 5)).shape
    torch.Size([4, 2, 8])

    Reference: the head of SimCLR, Chen et al. 2020 (arXiv 2002.05709), in the shape of SupCon's published code.
    """

    def __init__(self, width: int, *, hidden: bool, seed: int | None = None) -> None:
        super().__init__()
        self.width, self.seed, self.layers = width, seed, 1 + hidden
        for layer in range(self.layers):
            for name in ("weight", "bias"):
                self.register_parameter(f"{name}{layer}", UninitializedParameter())  # type: ignore[arg-type]

    def reseed(self, seed: int) -> None:
        """Draw the weights from this seed, unless one was given; the Trainer calls this with a seed of its own."""
        self.seed = seed if self.seed is None else self.seed

    def initialize_parameters(self, features: Tensor) -> None:
        """Create the weights in the size, device and dtype of the first features; torch calls this before `forward`."""
        if self.has_uninitialized_params():
            self._shape(features.shape[-1], features)
            rng = seeded(self.seed or 0, "projection head")
            for parameter in self.parameters():
                drawn = 2 * torch.rand(parameter.shape, generator=rng, dtype=torch.float64) - 1
                parameter.data.copy_(drawn / features.shape[-1] ** 0.5)

    def _shape(self, fan_in: int, like: Tensor) -> None:
        for layer in range(self.layers):
            out = self.width if layer == self.layers - 1 else fan_in
            for name, shape in ((f"weight{layer}", (out, fan_in)), (f"bias{layer}", (out,))):
                parameter = self.get_parameter(name)
                assert isinstance(parameter, UninitializedParameter)
                parameter.materialize(shape, like.device, like.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}weight0")
        if self.has_uninitialized_params() and saved is not None and not isinstance(saved, UninitializedParameter):
            self._shape(saved.shape[1], saved)  # in the dtype of the saved weights; torch's default is float32
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def pairs(self, inputs: tuple[Any, ...], output: Any) -> int:
        """Return the multiply-accumulates of a call."""
        rows = inputs[0].numel() // inputs[0].shape[-1]
        return int(rows * sum(p.numel() for p in self.parameters() if p.ndim == 2))

    def forward(self, features: Tensor) -> Tensor:
        x = features
        for layer in range(self.layers):
            weight, bias = self.get_parameter(f"weight{layer}"), self.get_parameter(f"bias{layer}")
            x = F.linear(torch.relu(x) if layer else x.to(weight.dtype), weight, bias)
        return x
