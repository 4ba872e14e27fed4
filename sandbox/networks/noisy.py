"""Models that are read with noise: what an instrument shows of a signal is the signal and an error."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, Run
from rules.forward import plain, run_model, takes
from rules.optional import offers, shape_of
from rules.seeds import seeded
from rules.spikes.surrogate import generator_of_pass


class NoisyReadout(nn.Module):
    """A model whose signals can only be measured with noise.

        shown = signal + sigma N(0, 1)

    The noise is in the measurement alone: what runs on inside of the model is the signal itself. It has the layers,
    offers, parameters (under `inner.`), carry and traces of the model inside.

    Rules that learn from measurements call `read(signal, generator)`, with dice of their own, on whatever they measure:
    flat zero-order rules the output and recorded outputs of layers, layered ones the end of every probe. So in a pass
    to which a rule has handed dice nothing is added: backpropagation, which measures nothing, sees the signals. Any
    other call, an evaluation say, shows output and recorded outputs with noise, fresh in every call; the same `seed`
    and the same number of `calls` before, a buffer that is saved with the model, give the same noise.

    Arguments: a model, `nn.Sequential`, `Network` or any other; `sigma`, absolute, in units of the signals;
    `seed`. Raises ValueError for a sigma below 0.

    >>> noisy = NoisyReadout(nn.Sequential(nn.Linear(2, 3)), sigma=0.1)
    >>> x = torch.ones(4, 2)
    >>> first, second = noisy(x).output, noisy(x).output
    >>> first.shape, bool((first == second).any())
    (torch.Size([1, 4, 3]), False)
    """

    calls: Tensor

    def __init__(self, model: nn.Module, sigma: float, *, seed: int = 0) -> None:
        super().__init__()
        if not (sigma >= 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma={sigma}: give a finite standard deviation of at least 0")
        self.inner = model
        self.sigma, self.seed = sigma, seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @property
    def offers(self) -> frozenset[str]:
        """What the model inside offers."""
        return offers(self.inner)

    @property
    def keywords(self) -> frozenset[str]:
        """What its forward understands: a carry only where the model inside has one."""
        return frozenset({"carry", "record"} if takes(self.inner, "carry") else {"record"})

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of the model inside, as they are."""
        inner = plain(self.inner)
        parts = inner._modules.values() if isinstance(inner, nn.Sequential) else inner.layers
        return list(parts)  # type: ignore[arg-type]  # a Sequential holds no None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of one sample at one time, where the model inside says it."""
        return shape_of(plain(self.inner))

    def forward(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        found = run_model(self.inner, Batch(x, None, carry), record)
        run = found._replace(traces=tuple(trace._replace(weight=f"inner.{trace.weight}") for trace in found.traces))
        if generator_of_pass() is not None:
            return run
        dice = seeded(self.seed, int(self.calls))
        self.calls += 1
        traces = tuple(trace._replace(post=self.read(trace.post, dice)) for trace in run.traces)
        return run._replace(output=self.read(run.output, dice), traces=traces)

    def read(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """A signal `[T, B, ...]`, or any stack of copies of it, as it is measured."""
        drawn = torch.randn(signal.shape, generator=generator, dtype=torch.float64).to(signal)
        return signal + self.sigma * drawn

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}, seed={self.seed}"
