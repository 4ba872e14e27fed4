"""Models whose signals are measured with noise, as an instrument shows a signal plus an error."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, Run
from rules.draws import normal
from rules.forward import run_model
from rules.optional import context_of, lacks, offers, plain, shape_of, takes
from rules.seeds import seeded
from rules.spikes.surrogate import current_pass


class NoisyReadout(nn.Module):
    """A model whose signals can only be measured with noise.

        shown = signal + sigma N(0, 1)

    The noise is in the measurement alone: inside the model the exact signal is passed on. The wrapper has the layers,
    offers, parameters (under `inner.`), carry and traces of the model inside.

    Rules that learn from measurements call `read(signal, generator)` with a generator of their own: flat zero-order
    rules for the output and recorded outputs of layers, layered ones for the end of every probe. Therefore no noise is
    added in a pass from which a rule learns; backpropagation, which measures nothing, sees the exact signals. An
    evaluation returns output and recorded outputs with noise from its own generator, any other call with noise that
    depends on `seed` and on `calls`, the number of such calls so far, a buffer that is saved with the model.

    Args:
        model: `nn.Sequential`, `Network` or any other module.
        sigma: standard deviation of the noise, in the unit of the signals.
        seed: of the noise.

    Raises:
        ValueError: for a sigma below 0 or not finite.

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
    def lacks(self) -> dict[str, str]:
        """Why the model inside does not offer what some rules need."""
        return lacks(self.inner)

    @property
    def keywords(self) -> frozenset[str]:
        """The keywords that `forward` accepts: a carry only if the model inside has one."""
        return frozenset({"carry", "record"} if takes(self.inner, "carry") else {"record"})

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of the model inside, without noise."""
        inner = plain(self.inner)
        parts = inner._modules.values() if isinstance(inner, nn.Sequential) else inner.layers
        return list(parts)  # type: ignore[arg-type]  # a Sequential contains no None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of one sample at one time, if the model inside declares it."""
        return shape_of(plain(self.inner))

    @property
    def context(self) -> int | None:
        """The most steps that the model inside takes, if there is such a number."""
        return context_of(self.inner)

    def forward(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        found = run_model(self.inner, Batch(x, None, carry), record)
        run = found._replace(traces=tuple(trace._replace(weight=f"inner.{trace.weight}") for trace in found.traces))
        around = current_pass()
        if around is None or around.generator is None:
            rng = seeded(self.seed, "read noise", int(self.calls))
            self.calls += 1
        elif around.evaluating:
            rng = around.generator
        else:
            return run
        traces = tuple(trace._replace(post=self.read(trace.post, rng)) for trace in run.traces)
        return run._replace(output=self.read(run.output, rng), traces=traces)

    def read(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """Return a signal `[T, B, ...]`, or a stack of copies of it, with measurement noise."""
        drawn = normal(signal.shape, generator, signal.new_empty(0, dtype=torch.float64))
        return signal + self.sigma * drawn.to(signal)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}, seed={self.seed}"
