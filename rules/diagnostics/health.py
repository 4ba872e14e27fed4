"""Health checks: silent, saturated, uncredited or vanishing parts, each with a cause and a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Batch, Credit
from rules.forward import leaves, looking, pieces, run_model
from rules.optional import plain, takes
from rules.spikes.bits import is_bits
from rules.steps import power_of_two, wide

SILENT = 0.005  # firing probability per step below which a layer carries no signal
SATURATED = 0.90  # firing probability per step above which a layer carries no signal
PIECE = 32  # steps per piece if a model takes a carry, so that a check needs less memory than a training step
VANISHING = 1e-5  # root-mean-square gradient, relative to the largest of the model


class Finding(NamedTuple):
    """One problem of a model: what it is, where, why, and what to do."""

    kind: str
    where: str
    value: float
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where} is {self.kind} ({self.value:.3g}): {self.cause}; {self.remedy}"


class HealthWarning(UserWarning):
    """Warns of a problem that will keep a model from learning."""


def firing_rates(model: nn.Module, batch: Batch, learning: bool = False) -> dict[str, float]:
    """Return the share of ones in the output of every module whose outputs are zeros and ones, by module name.

    Modules with a `weight`, those whose inputs were zeros and ones already, and those that return the output of a
    module inside them are left out. The model is run once in evaluation mode; its mode and the global generator are
    restored.

    Args:
        model: the network.
        batch: its input.
        learning: whether batch normalisations that are in training mode use the statistics of this batch, as they do
            while the model learns; their running ones may not be settled yet.

    >>> import torch
    >>> class Step(nn.Module):
    ...     def forward(self, x):
    ...         return (x > 0).float()
    >>> firing_rates(nn.Sequential(Step()), Batch(torch.tensor([[2.0, -2.0]])))
    {'0': 0.5}
    """
    model = plain(model)
    counts: dict[str, list[float]] = {}
    graded: set[str] = set()
    returned: list[Tensor] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            spikes, drive = _first_tensor(output), _first_tensor(inputs)
            if name in graded or spikes is None or any(spikes is other for other in returned):
                return
            if not is_bits(spikes) or (drive is not None and is_bits(drive) and bool(drive.any())):
                graded.add(name)
                return
            returned.append(spikes)
            ones, all_ = counts.get(name, (0.0, 0.0))
            counts[name] = [ones + float(spikes.sum(dtype=torch.float64)), all_ + spikes.numel()]

        return hook

    watched = [(n, m) for n, m in model.named_modules() if n and not isinstance(getattr(m, "weight", None), Tensor)]
    by_batch = [m for m in model.modules() if learning and isinstance(m, _BatchNorm) and m.training]
    with looking(model, {module: watch(name) for name, module in watched}), _by_batch(by_batch):
        carry = batch.carry
        cut = takes(model, "carry") and len({len(leaf) for leaf in leaves(batch.x)}) == 1
        for piece in pieces(batch, PIECE) if cut else (batch,):
            returned.clear()
            carry = run_model(model, piece._replace(carry=carry)).carry
    return {name: ones / all_ for name, (ones, all_) in counts.items() if name not in graded and all_}


@contextmanager
def _by_batch(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let normalisations use the statistics of each batch, and keep no trace of it."""
    kept = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.train().track_running_stats = False
    try:
        yield
    finally:
        for norm, before in zip(norms, kept, strict=True):
            norm.track_running_stats = before


def _first_tensor(values: Any) -> Tensor | None:
    first = values[0] if isinstance(values, tuple) and values else values
    return first if isinstance(first, Tensor) else None


def check_firing(rates: dict[str, float], silent: float = SILENT, saturated: float = SATURATED) -> Iterator[Finding]:
    """Yield layers under 0.5 % or over 90 % of their possible spikes."""
    for name, rate in rates.items():
        if rate < silent:
            yield Finding(
                "silent",
                name,
                rate,
                f"under {silent:.1%} of its units fire in a step",
                "scale its weights or input up, or lower the threshold (sandbox.calibrate does it from a batch)",
            )
        elif rate > saturated:
            yield Finding(
                "saturated",
                name,
                rate,
                f"over {saturated:.0%} of its units fire in every step",
                "scale its weights or input down, raise the threshold, or add a refractory period",
            )


def check_credit(
    parameters: dict[str, nn.Parameter], credit: Credit, vanishing: float = VANISHING
) -> Iterator[Finding]:
    """Yield parameters of the rule that got a zero or a vanishing gradient."""
    sizes = {name: rms(g) for name, g in credit.grads.items() if g.numel()}
    largest = max(sizes.values(), default=0.0)
    for name in parameters:
        size = sizes.get(name, 0.0)
        if size == 0.0:
            yield Finding(
                "without credit",
                name,
                0.0,
                "the rule gave it a gradient of 0 in this batch",
                "use its output in forward, activate the silent layer behind it, or freeze it: requires_grad_(False); "
                "a rule that moves some weights in a step may have left it out",
            )
        elif size < vanishing * largest:
            rounded = size < torch.finfo(credit.grads[name].dtype).eps * largest
            aside = "freeze it if the loss does not depend on it, as on a bias of keys before a softmax; otherwise "
            yield Finding(
                "vanishing",
                name,
                size,
                f"its gradient is {'0 but for rounding, beside' if rounded else f'under {vanishing:g} of'} the largest "
                f"one ({largest:.3g})",
                f"{aside if rounded else ''}use a wider surrogate or normalize='area', a shorter path, or a larger "
                "initial scale",
            )


def rms(x: Tensor) -> float:
    """Return the root mean square, whose squares neither over- nor underflow; 0 for an empty tensor.

    >>> round(rms(torch.tensor([3e-30, 4e-30])) / 1e-30, 4)
    3.5355
    """
    if x.layout is not torch.strided:  # zeros that are not stored count as well
        x = x.detach().to_dense()
    if not x.numel():
        return 0.0
    sizes = wide(x.detach().abs())
    scale = power_of_two(sizes.max())
    return float((sizes / scale).square().mean().sqrt() * scale)
