"""Weights that are moved along directions of low rank, which are added to what a layer puts out.

    W + eps u v^T / sqrt(r):    z = W x + eps u (v^T x) / sqrt(r),    u [out, r] and v [in, r] of mean square 1

Entries of `u v^T / sqrt(r)` are uncorrelated and have the mean square 1, as those of a whole random matrix, so that
estimates along such directions have the same mean. Where the input of a layer is that of the batch, W x is made once.

Reference: directions of low rank for zero-order estimates are known from Chen et al. 2024 (LOZO, arXiv 2410.07698) and
Sarkar et al. 2025 (EGGROLL, arXiv 2511.16652), both recalled; the scale here is derived above.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rules.contract import Cost
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.flat.moving import Draw, Moved
from rules.credit.zero_order.products import Unchanged, only_weighs
from rules.credit.zero_order.sharing import generator
from rules.forward import leaves
from rules.metering import compiled


def moving(asking: Asking, draw: Draw, rank: int | None, scales: Mapping[str, float]) -> Moved | Thin:
    """Return a context in which the parameters of a step can be moved, along directions of a rank if one is given."""
    return Moved(asking.parameters, draw, scales) if rank is None else Thin(asking, draw, rank, scales)


class Thin:
    """A context like `Moved`, in which every nn.Linear moves along a direction of low rank, and all else as there.

    A layer moves so if it is known to be `W x + b`, if its parameters belong to such layers alone, and if u and v have
    fewer numbers than W. Its own parameters are not touched.
    """

    def __init__(self, asking: Asking, draw: Draw, rank: int, scales: Mapping[str, float]) -> None:
        self.asking, self.draw, self.rank, self.parameters = asking, draw, rank, asking.parameters
        self.scales = scales
        self.layers = thin_layers(asking.model, rank)
        here = {id(p) for layer in self.layers for p in layer.parameters()}
        self.apart = {name for name, p in self.parameters.items() if id(p) in here}
        self.kept: dict[str, Tensor] = {}
        self.added: dict[int, Tensor | tuple[Tensor, Tensor]] = {}  # by parameter, of the present direction
        self.products = Unchanged(asking.model, leaves(asking.views.x), self.layers)
        self._stack = ExitStack()

    def __enter__(self) -> Thin:
        self.kept = {name: p.detach().clone() for name, p in self.parameters.items() if name not in self.apart}
        for layer in self.layers:
            self._stack.callback(layer.register_forward_hook(self._add, prepend=True).remove)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()
        for name, kept in self.kept.items():
            self.parameters[name].data.copy_(kept)

    def passing(self) -> AbstractContextManager[None]:
        """Return a context for one pass."""
        return self.products.passing()

    def _add(self, layer: nn.Module, inputs: tuple[Any, ...], z: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear)
        factors, bias = self.added.get(id(layer.weight)), self.added.get(id(layer.bias))
        if isinstance(factors, tuple):
            u, v = factors
            z = z + F.linear(F.linear(inputs[0], v.T), u)
            operations = z.numel() // len(u) * (len(u) + len(v)) * self.rank
            self.asking.spent += Cost(synaptic_operations=operations, multiplications=operations)
        return z + bias if isinstance(bias, Tensor) else z

    def to(self, seed: int, step: float) -> None:
        """Move the weights to their original values plus `step` times scale times the direction of a seed."""
        for name, z in self.directions(seed):
            p, size = self.parameters[name], step * self.scales[name]
            if isinstance(z, tuple):
                self.added[id(p)] = (z[0] * (size / math.sqrt(self.rank)), z[1])
            elif name in self.apart:
                self.added[id(p)] = z * size
            else:
                p.data.copy_(self.kept[name]).add_(z, alpha=size)

    def directions(self, seed: int) -> Iterator[tuple[str, Tensor | tuple[Tensor, Tensor]]]:
        """Yield the direction of a seed, one parameter at a time; of a thin weight u and v."""
        rng = generator(seed)
        for name, p in self.parameters.items():
            if name in self.apart and p.ndim == 2:
                u, v = (self.draw(p.new_empty(size, self.rank), rng) for size in p.shape)
                yield name, (u, v)
            else:
                yield name, self.draw(p, rng)

    def become(self, numbers: Sequence[int], factors: Tensor) -> dict[str, Tensor]:
        """Return `sum_k factors[k] z_k / scale` over these seeds' directions; count what was not computed again."""
        found = {name: torch.zeros_like(p.detach()) for name, p in self.parameters.items()}
        for seed, factor in zip(numbers, factors.tolist(), strict=True):
            for name, z in self.directions(seed):
                share = factor / self.scales[name]
                if isinstance(z, tuple):
                    found[name].addmm_(z[0], z[1].T, alpha=share / math.sqrt(self.rank))
                else:
                    found[name].add_(z, alpha=share)
        self.asking.spare(self.products)
        return found

    @property
    def sizes(self) -> tuple[int, int]:
        """How many numbers a direction has, and multiplications to add it."""
        thin = [p for name, p in self.parameters.items() if name in self.apart and p.ndim == 2]
        weights, every = sum(p.numel() for p in thin), sum(p.numel() for p in self.parameters.values())
        return every - weights + self.rank * sum(sum(p.shape) for p in thin), every - weights + self.rank * weights


def thin_layers(model: nn.Module, rank: int) -> list[nn.Module]:
    """Return the nn.Linear layers of a model whose weights are worth a direction of low rank."""
    if compiled(model):
        return []
    owners: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            owners.setdefault(id(p), []).append(module)

    def fits(module: nn.Module) -> bool:
        if not isinstance(module, nn.Linear) or not only_weighs(module):
            return False
        return rank * sum(module.weight.shape) < module.weight.numel()

    def alone(module: nn.Module) -> bool:
        own = [p for p in (module.weight, module.bias) if isinstance(p, nn.Parameter)]
        return len(own) == len(list(module.parameters())) and all(fits(each) for p in own for each in owners[id(p)])

    return [module for module in model.modules() if fits(module) and alone(module)]
