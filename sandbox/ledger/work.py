"""What a network does for a sample: pairs of an input and a weight, counted in a forward pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Work(NamedTuple):
    """Pairs of an input and a weight, per sample: all, those where neither is zero, and of what kind those are."""

    layer: str
    dense: float
    multiplied: float  # effective, in layers whose input is graded
    accumulated: float  # effective, in layers whose input is -1, 0 or 1
    spikes: float  # share of its inputs that are not zero


def work(model: nn.Module, x: Tensor, samples: int | None = None) -> list[Work]:
    """What each weighted layer does for a sample of a batch `[T, B, ...]`, in one forward pass.

    Argument `samples`: how many there are in x, if not B.

    Biases, pooling and normalisation are left out; a layer that is called at every step counts every call.

    >>> class Once(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weigh = nn.Linear(3, 3, bias=False)
    ...         self.weigh.weight.data = torch.tensor([[1.3, 0.0, -3.2], [0.0, 1.2, -5.1], [-1.1, 2.7, 0.0]])
    ...     def forward(self, x):
    ...         return self.weigh(x)
    >>> found = work(Once(), torch.tensor([[[0.0, 1.3, -1.0]]]))[0]
    >>> found.dense, found.multiplied
    (9.0, 4.0)

    Reference: NeuroBench (arXiv 2304.04640), synaptic operations; the example is that of its documentation.
    """
    found: dict[str, list[float]] = {}
    graded: set[str] = set()

    def hook(name: str) -> Any:
        def look(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            given = inputs[0].detach()
            active = (given != 0).to(torch.float64)
            counts = found.setdefault(name, [0.0, 0.0, 0.0, 0.0])
            if not bool(((given == 0) | (given.abs() == 1)).all()):
                graded.add(name)
            counts[0] += float(output.numel() * module.weight[0].numel())
            counts[1] += _effective(module, active)
            counts[2] += float(active.sum())
            counts[3] += active.numel()

        return look

    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, _ConvNd))]
    handles = [module.register_forward_hook(hook(name)) for name, module in layers]
    training = model.training
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model(x)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    count = x.shape[1] if samples is None else samples
    rows = []
    for name, (dense, effective, events, inputs) in found.items():
        multiplied, accumulated = (effective, 0.0) if name in graded else (0.0, effective)
        rows.append(Work(name, dense / count, multiplied / count, accumulated / count, events / inputs))
    return rows


def _effective(module: Any, active: Tensor) -> float:
    """Pairs of which neither is zero; what is padded is."""
    there = (module.weight.detach() != 0).to(torch.float64)
    if isinstance(module, nn.Linear):
        return float((active.reshape(-1, active.shape[-1]).sum(0) @ there.t()).sum())
    convolve = CONVOLUTIONS[there.ndim - 2]
    if module.padding_mode != "zeros":
        raise ValueError(f"padding_mode={module.padding_mode!r}: only convolutions padded with zeros are counted")
    counted: Tensor = convolve(active, there, None, module.stride, module.padding, module.dilation, module.groups)
    return float(counted.sum())
