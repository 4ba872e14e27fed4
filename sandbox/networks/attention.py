"""Spiking attention of maps: self-attention, query-key gates over tokens or channels, and saccadic gates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.errors import unknown
from rules.synapses import Product
from rules.traces import alone
from sandbox.networks.network import Part, renamed, through
from sandbox.networks.population import Population

ORDERS = ("kv", "qk", "cheaper")
SCALE = 0.125  # of the currents of self-attention, whatever the width of a head


class Attention(Part):
    """Base class of attention: signals made of maps `[T, B, C, H, W]`, and neurons that they drive together.

    A token is a place, and the channels are divided among heads: `[T, B, heads, C / heads, H W]`.

    Args:
        sources: parts that make each signal, by its name.
        heads: number of heads.
        cells: the neurons behind attention.
        drive: factor of their currents.
    """

    def __init__(
        self, sources: Mapping[str, Sequence[nn.Module]], heads: int, cells: Population, drive: float = 1.0
    ) -> None:
        super().__init__()
        self.sources = nn.ModuleDict({name: nn.ModuleList(parts) for name, parts in sources.items()})
        self.heads = heads
        self.cells = cells
        self.drive = drive

    @abstractmethod
    def currents(self, *signals: Tensor) -> Tensor:
        """Return what drives the neurons, from signals `[T, B, heads, d, N]`."""

    @abstractmethod
    def shown(self, spikes: Tensor, *signals: Tensor) -> Tensor:
        """Return the output `[T, B, heads, d, N]`, from the spikes of the neurons and the signals."""

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a sequence from a carry, which has an entry for each signal and one for the neurons."""
        starts = [None] * (len(self.sources) + 1) if carry is None else carry
        *before, start = starts
        parts: list[Any] = list(self.sources.values())
        runs = [through(each, x, begin, record, lengths) for each, begin in zip(parts, before, strict=True)]
        signals = [run.output.flatten(3).unflatten(2, (self.heads, -1)) for run in runs]
        spikes, end, _ = self.cells(self.drive * self.currents(*signals), start)
        output = self.shown(spikes, *signals).reshape(runs[0].output.shape)
        return Run(output, (*(run.carry for run in runs), end), of_sources(self.sources, runs))

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


def of_sources(names: Iterable[str], runs: Sequence[Run]) -> tuple[Trace, ...]:
    """Return the traces of the neurons of all signals; those behind attention are not driven by one weight of them."""
    told = (renamed(f"sources.{name}", run.traces) for name, run in zip(names, runs, strict=True))
    found = [trace for each in told for trace in each if not alone(trace)]
    return tuple(sorted(found, key=lambda trace: trace.weight != ""))


class SelfAttention(Attention):
    """Spiking self-attention (SSA): `s = SN(scale q (k' v))`, without a softmax.

    Both orders of the products give the same integers. `q (k' v)` takes `2 N d^2` multiply-accumulates for each head
    and step, and `(q k') v` takes `2 N^2 d`.

    Args:
        sources: parts that make "query", "key" and "value".
        heads: number of heads.
        cells: the neurons behind attention.
        drive: factor of their currents, the scale included.
        order: "kv", "qk", or "cheaper" for the one with fewer operations.

    Raises:
        ValueError: for an unknown order.

    Reference: Zhou et al. 2023 (arXiv 2209.15425), from the authors' code.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[nn.Module]],
        heads: int,
        cells: Population,
        drive: float = SCALE,
        order: Literal["kv", "qk", "cheaper"] = "kv",
    ) -> None:
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        super().__init__(sources, heads, cells, drive)
        self.order = order
        self.inner, self.outer = Product(), Product()

    def currents(self, *signals: Tensor) -> Tensor:
        q, k, v = signals  # channels first, so that each product is the transpose of the one in the formula
        wide, long = q.shape[-2:]
        first = self.order == "kv" or (self.order == "cheaper" and wide <= long)
        made: Tensor = self.outer(self.inner(v, k.mT), q) if first else self.outer(v, self.inner(k.mT, q))
        return made

    def shown(self, spikes: Tensor, *signals: Tensor) -> Tensor:
        return spikes


class TokenGate(Attention):
    """Query-key attention over tokens (QKTA): `a = SN(sum over channels of q)`, output `a k`.

    Each head has one gate for each token. It takes sums and not products of matrices: work and memory are linear in N.

    Reference: Zhou et al. 2024 (arXiv 2403.16552), from the authors' code.
    """

    def currents(self, *signals: Tensor) -> Tensor:
        return signals[0].sum(-2, keepdim=True)

    def shown(self, spikes: Tensor, *signals: Tensor) -> Tensor:
        return spikes * signals[1]


class ChannelGate(Attention):
    """Query-key attention over channels (QKCA): `a = SN(sum over tokens of q)`, output `a k`.

    Reference: Zhou et al. 2024 (arXiv 2403.16552), from its text; the authors' code does not have it.
    """

    def currents(self, *signals: Tensor) -> Tensor:
        return signals[0].sum(-1, keepdim=True)

    def shown(self, spikes: Tensor, *signals: Tensor) -> Tensor:
        return spikes * signals[1]


class SaccadicGate(Attention):
    """Saccadic spike self-attention (SSSA): counts of spikes, weighed over time, say which tokens are looked at.

        Q' = sum over the channels of a head of q,    K' likewise             [T, B, heads, N]
        p  = Q' sum over tokens of K'    with a key,    Q' without one        salience
        s[t] = Th( sum over i <= t of M[t, i] p[i] - threshold[t] ),    output s v

    With a key it is the first version, and `p` is the row sum of the cross attention `Q' K''`, which is not formed.
    Without one it is the second version, where the positive factor `sum K'` has gone into the threshold.

    The neurons are those of `sandbox.MaskedPSN` with an order of T: M is learned, shared by tokens and heads.

    Args:
        sources: parts that make "query", "value", and "key" for the first version.
        heads: number of heads.
        cells: neurons with a weight of each earlier step.

    Reference: Wang et al. 2025 (arXiv 2502.12677), equations 5 to 11, as two summaries and public reviews give them;
    what they leave open is our reconstruction: heads, M shared by them, its initial value, and a learned threshold in
    place of `threshold / alpha`.
    """

    def currents(self, *signals: Tensor) -> Tensor:
        count = signals[0].sum(-2, keepdim=True)
        return count if len(signals) == 2 else count * signals[2].sum((-2, -1), keepdim=True)

    def shown(self, spikes: Tensor, *signals: Tensor) -> Tensor:
        return spikes * signals[1]


def decoupled(salience: Tensor, weight: Tensor, threshold: Tensor) -> Tensor:
    """Return the spikes of saccadic attention without a product over time, `p[t] >= (M^-1 threshold)[t]`.

    Equal to `Th(M p - threshold)` where M is diagonal and positive, and otherwise an approximation: an inequality of
    vectors does not survive a product with a matrix.

    Args:
        salience: `[T, ...]`.
        weight: M `[T, T]`, invertible.
        threshold: `[T]`.

    >>> import torch
    >>> p = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    >>> decoupled(p, torch.diag(torch.tensor([2.0, 0.5])), torch.tensor([4.0, 1.0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]

    Reference: Wang et al. 2025 (arXiv 2502.12677), inference of the second version, as summaries give it.
    """
    moved = torch.linalg.solve(weight, threshold)
    fires: Tensor = salience >= moved.reshape(-1, *[1] * (salience.ndim - 1))
    return fires.to(salience.dtype)
