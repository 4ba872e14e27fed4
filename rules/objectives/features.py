"""Features of a run at every step: signals at or just before the read-out."""

from __future__ import annotations

from torch import Tensor

from rules.contract import Run, Trace
from rules.steps import wide


def gap_spike_rate_t(run: Run) -> Tensor:
    """Return the input of the read-out at every step, `[T, B, d]`, averaged over space if it has any.

    Raises:
        ValueError: for a run without traces.

    >>> import torch
    >>> from rules.contract import Trace
    >>> maps = torch.ones(4, 2, 8, 5, 5)
    >>> gap_spike_rate_t(Run(torch.zeros(4, 2, 3), traces=(Trace("weight", maps, maps, maps),))).shape
    torch.Size([4, 2, 8])
    """
    return pooled(_traced(run, 1)[-1].pre)


def pre_spike_membrane_t(run: Run) -> Tensor:
    """Return the membrane minus threshold of the last hidden layer at every step, `[T, B, d]`, averaged over space.

    Raises:
        ValueError: for a run with fewer than two traces.
    """
    return pooled(_traced(run, 2)[-2].u)


def logits_t(run: Run) -> Tensor:
    """Return the output itself, `[T, B, classes]`."""
    return run.output


FEATURES = {
    "gap_spike_rate_t": gap_spike_rate_t,
    "pre_spike_membrane_t": pre_spike_membrane_t,
    "logits_t": logits_t,
}

READ_FROM = {  # what the model must offer for a feature, keys of NEEDS
    "gap_spike_rate_t": frozenset({"features"}),
    "pre_spike_membrane_t": frozenset({"layers"}),
    "logits_t": frozenset[str](),
}


def pooled(x: Tensor) -> Tensor:
    """Average `[T, B, d, *space]` over space: global average pooling, in float32 at least."""
    return wide(x).flatten(3).mean(3) if x.ndim > 3 else x


AWAY = {  # what else may be missing, by the number of traces that are wanted
    1: "",
    2: "; the membrane before the read-out needs 'layers': build the model as an nn.Sequential, adapt it by "
    "rules.adapt(model), or let its forward(x, carry, record) return rules.Run(output, carry, traces)",
}


def _traced(run: Run, least: int) -> tuple[Trace, ...]:
    if len(run.traces) < least:
        raise ValueError(
            f"features come from the traces of {least} or more layers, and this run recorded {len(run.traces)}: record "
            f"them, rules.run_model(model, batch, record=True){AWAY[least]}; feature='logits_t' needs none"
        )
    return run.traces
