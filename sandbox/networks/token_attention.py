"""Attention between the tokens of a text at every spike step, with an explicit history from which it continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.synapses import Product
from sandbox.networks.competitions import Raw
from sandbox.networks.network import through
from sandbox.networks.population import Population


class Seen(NamedTuple):
    """Keys and values of all tokens so far, `[S, B, heads, L, d]` each."""

    key: Tensor
    value: Tensor


class Summed(NamedTuple):
    """What attention without normalisation needs of earlier tokens, however many there were."""

    total: Tensor | None  # [S, B, heads, d, d]  sum of k' v over the tokens of all calls but the last
    key: Tensor  # of the last call
    value: Tensor


class Attended(NamedTuple):
    """The result of attention."""

    output: Tensor  # [S, B, L, D]
    weights: Tensor | None  # [S, B, heads, queries, keys]; None where they are not formed
    history: Seen | Summed | None  # what the next tokens need


class Fires(nn.Module):
    """Neurons in place of a softmax: they run over the spike steps, driven by the scores that are allowed.

        A = SN(scores) where allowed, else 0

    Each score drives a neuron of its own, so that the scores need no mask in front.

    Args:
        cells: their threshold is reached by as many common spikes of a query and a key.
    """

    def __init__(self, cells: Population) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, scores: Tensor, allowed: Tensor) -> Tensor:
        spikes, _, _ = self.cells(scores)
        shown: Tensor = spikes * allowed
        return shown


class TokenAttention(nn.Module):
    """Attention `compete(scale q k') v` of signals `[S, B, L, D]`: S spike steps, L tokens.

    Every spike step attends by itself; neurons run over the spike steps, from rest for every token. Causal attention
    continues from the keys and values of the tokens before. Without normalisation (`Raw`) their products add up, and
    the history is one matrix `k' v` for each head, whatever the number of tokens.

    Args:
        sources: parts that make "query", "key" and "value".
        heads: number of heads, which divide D.
        compete: weights from scores and which of them are allowed (`sandbox.networks.competitions`, `Fires`).
        behind: parts behind the weighted values.
        causal: whether a token sees itself and those before alone.
        scale: of the scores; a power of two changes no bit of them.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[nn.Module]],
        heads: int,
        compete: nn.Module,
        behind: Sequence[nn.Module],
        causal: bool,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.sources = nn.ModuleDict({name: nn.ModuleList(parts) for name, parts in sources.items()})
        self.heads, self.causal, self.scale = heads, causal, scale
        self.compete = compete
        self.behind = nn.ModuleList(behind)
        self.scored, self.mixed = Product(), Product()

    def forward(self, x: Tensor, history: Any = None, lengths: Tensor | None = None) -> Attended:
        """Attend from the tokens of `x` to those of the history and of `x`; `lengths [B]` are those that count."""
        parts: list[Any] = list(self.sources.values())
        q, k, v = (self.divided(through(each, x).output) for each in parts)
        if self.causal and isinstance(self.compete, Raw):
            mixed, weights, history = self.summed(q, k, v, history)
        else:
            if history is not None:
                k, v = torch.cat([history.key, k], -2), torch.cat([history.value, v], -2)
            weights = self.compete(self.scores(q, k), self.allowed(q, k, lengths))
            mixed, history = self.mixed(weights, v), Seen(k, v) if self.causal else None
        joined = mixed.transpose(2, 3).flatten(3)
        return Attended(through(self.behind, joined).output, weights, history)

    def divided(self, signal: Tensor) -> Tensor:
        """Return `[S, B, L, D]` as `[S, B, heads, L, d]`."""
        found: Tensor = signal.unflatten(-1, (self.heads, -1)).transpose(2, 3)
        return found

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return `scale q k'`."""
        found: Tensor = self.scored(q, k.mT)
        return found if self.scale == 1 else self.scale * found

    def summed(self, q: Tensor, k: Tensor, v: Tensor, history: Summed | None) -> tuple[Tensor, Tensor, Summed]:
        """Return the mixed values, the weights among these tokens, and what later tokens need."""
        weights = self.compete(self.scores(q, k), self.allowed(q, k, None))
        mixed = self.mixed(weights, v)
        if history is None:
            return mixed, weights, Summed(None, k, v)
        total = self.mixed(history.key.mT, history.value)
        total = total if history.total is None else total + history.total
        return mixed + self.scale * self.mixed(q, total), weights, Summed(total, k, v)

    def allowed(self, q: Tensor, k: Tensor, lengths: Tensor | None) -> Tensor:
        """Return which keys a query may see, `[queries, keys]`, or `[B, 1, 1, keys]` where lengths differ."""
        queries, keys = q.shape[-2], k.shape[-2]
        place = torch.arange(keys, device=q.device)
        if self.causal:
            return place <= place[keys - queries :, None]
        if lengths is not None:
            return (place < lengths[:, None])[:, None, None]
        return torch.ones(1, keys, dtype=torch.bool, device=q.device)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, causal={self.causal}, scale={self.scale}"
