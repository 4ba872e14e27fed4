"""A chain of dense layers, run layer by layer on rows of features, with the slopes of its activations."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from rules.chains import unchained
from rules.contract import Batch, Objective, Run, own_parameters
from rules.forward import require_tensor
from rules.metering import Meter
from rules.optional import layers_of, plain


class Link(NamedTuple):
    """A dense layer and the activations behind it."""

    linear: nn.Linear
    active: tuple[nn.Module, ...]

    @property
    def weight(self) -> Tensor:
        """The weight `[out, in]`, detached."""
        return self.linear.weight.detach()

    def fire(self, drive: Tensor) -> Tensor:
        """Return the output `f(a)` for a drive `a` `[rows, out]`."""
        out = drive.clone() if self.active else drive  # an activation may work in place
        for module in self.active:
            out = module(out)
        return out

    def sloped(self, drive: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output `f(a)` and the slope `f'(a)`, `[rows, out]` each."""
        if not self.active:
            return drive, torch.ones_like(drive)
        with torch.enable_grad():
            leaf = drive.detach().requires_grad_()
            out = self.fire(leaf)
            (slope,) = torch.autograd.grad(out.sum(), leaf)
        return out.detach(), slope


class Chain(NamedTuple):
    """The links of a model, and what flattens its input."""

    flat: tuple[nn.Module, ...]
    links: tuple[Link, ...]

    def enter(self, x: Tensor) -> tuple[Tensor, torch.Size]:
        """Return the input as rows `[T B, in]`, or `[B, in]`, and the axes before its features."""
        for module in self.flat:
            x = module(x)
        return x.reshape(-1, x.shape[-1]), x.shape[:-1]


class Judged(NamedTuple):
    """What an objective says of an output."""

    loss: float
    error: Tensor  # dloss/doutput, a row for each row of the output
    own: dict[str, Tensor]  # gradients of the objective's own parameters


def links_of(model: nn.Module, rule: str) -> Chain:
    """Return the chain of a model; raise ValueError, in the name of a rule, for a model without one.

    >>> len(links_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), "PEPITA").links)
    2
    """
    inner = plain(model)
    layers = layers_of(inner) or []
    if broken := unchained(layers):
        raise ValueError(f"{rule} learns a chain of dense layers, and {type(inner).__name__} has none: {broken}")
    links: list[Link] = []
    flat = tuple(layer for layer in layers if type(layer) is nn.Flatten)
    for layer in layers[len(flat) :]:
        if isinstance(layer, nn.Linear):
            links.append(Link(layer, ()))
        else:
            links[-1] = links[-1]._replace(active=(*links[-1].active, layer))
    return Chain(flat, tuple(links))


def chain_of(model: nn.Module, rule: str, batch: Batch) -> tuple[Chain, Tensor, torch.Size]:
    """Return a model's chain, the rows that enter it, and the axes before their features.

    Raises:
        ValueError: for a model without a chain, or an input of several parts.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    >>> chain, rows, lead = chain_of(net, "PEPITA", Batch(torch.zeros(4, 5, 2)))
    >>> len(chain.links), rows.shape, lead
    (2, torch.Size([20, 2]), torch.Size([4, 5]))
    """
    found = links_of(model, rule)
    return found, *found.enter(require_tensor(batch.x, rule))


def as_run(output: Tensor, lead: torch.Size) -> Run:
    """Return rows of an output as a run `[T, B, classes]`, or `[1, B, classes]` where the input has no time."""
    shaped = output.reshape(*lead, output.shape[-1])
    return Run(shaped if shaped.ndim > 2 else shaped[None])


def judge(objective: Objective, output: Tensor, lead: torch.Size, batch: Batch) -> Judged:
    """Return the loss of an output `[rows, classes]`, its slope there, and those at the objective's own parameters."""
    own = own_parameters(objective)
    with torch.enable_grad():
        leaf = output.detach().requires_grad_()
        loss = objective(as_run(leaf, lead), batch)
        error, *slopes = torch.autograd.grad(loss, [leaf, *own.values()], allow_unused=True)
    heads = {name: slope for name, slope in zip(own, slopes, strict=True) if slope is not None}
    return Judged(float(loss), torch.zeros_like(output) if error is None else error, heads)


def back(link: Link, delta: Tensor, meter: Meter) -> Tensor:
    """Return `delta W`, the error at the inputs of a link for one at its drive `[rows, out]`, and count it."""
    meter.add(error_operations=len(delta) * link.weight.numel())
    return delta @ link.weight


def products(model: nn.Module, pairs: list[tuple[Link, Tensor, Tensor]], meter: Meter) -> dict[str, Tensor]:
    """Return the gradients of weights and biases by name, from the error at each drive and the input of each link.

        dL/dW = delta^T pre,    dL/db = sum over rows of delta

    Args:
        model: whose parameters are named; frozen ones get no gradient.
        pairs: of each link, with `delta` `[rows, out]` and `pre` `[rows, in]`.
        meter: counts the products.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for link, delta, pre in pairs:
        if link.linear.weight.requires_grad:
            found[names[id(link.linear.weight)]] = delta.T @ pre
            meter.add(weight_operations=len(delta) * link.weight.numel())
        bias = cast("nn.Parameter | None", link.linear.bias)
        if bias is not None and bias.requires_grad:
            found[names[id(bias)]] = delta.sum(0)
    return found


def refuse_inside(rule: str, objective: Objective) -> None:
    """Raise ValueError for an objective of hidden layers, in a rule that knows the error at the output alone."""
    if inside := sorted({"layers", "features", "internals"} & objective.needs):
        raise ValueError(
            f"{rule} knows the error at the output alone, and {type(objective).__name__} needs {', '.join(inside)}: "
            'use an objective of the output, such as rules.OBJECTIVES["ce_mean"](), or rules.BPTT()'
        )
