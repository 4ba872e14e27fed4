"""Models of text: tokens in, scores of the next one out, with spike steps inside of every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Run
from rules.objectives.distillation.rate_code import RateCode
from sandbox.networks.network import through
from sandbox.networks.population import Population
from sandbox.networks.token_attention import TokenAttention


@dataclass(frozen=True)
class Size:
    """Numbers that make a model of text.

    Attributes:
        depth: number of blocks.
        width: channels D of a token.
        heads: of attention, which divide D.
        ratio: of the units inside a feed-forward part to D.
        context: the longest text, for which there are positions.
    """

    depth: int
    width: int
    heads: int
    ratio: int = 4
    context: int = 128

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name}={value}: give a whole number, at least 1")
        if self.width % self.heads:
            raise ValueError(f"width={self.width}, heads={self.heads}: give a width that is a multiple of the heads")


class Carry(NamedTuple):
    """The state of a causal model behind some tokens."""

    place: int  # of the next token
    histories: tuple[Any, ...]  # of the attention of every block


class Passed(NamedTuple):
    """The result of a block."""

    stream: Tensor  # [S, B, L, D]
    history: Any
    weights: Tensor | None  # of attention, [S, B, heads, queries, keys]
    last: Tensor  # [S, B, L, D]  what the feed-forward part added to the stream


class Block(nn.Module):
    """Attention and a feed-forward part, each of which adds to the stream of a token.

    Args:
        front: parts in front of attention.
        attention: between tokens.
        feed: parts of the feed-forward branch.
    """

    def __init__(self, front: Sequence[nn.Module], attention: TokenAttention, feed: Sequence[nn.Module]) -> None:
        super().__init__()
        self.front, self.attention, self.feed = nn.ModuleList(front), attention, nn.ModuleList(feed)

    def forward(self, x: Tensor, history: Any = None, lengths: Tensor | None = None) -> Passed:
        found = self.attention(through(self.front, x).output, history, lengths)
        x = x + found.output
        last = through(self.feed, x).output
        return Passed(x + last, found.history, found.weights, last)


class TokenModel(nn.Module):
    """A model of text, which takes tokens `[L, B]`, whole numbers, and returns `rules.Run(output [L, B, classes])`.

    Time is the place in the text. A token and its place are embedded, shown to the blocks for some spike steps, and the
    mean over these of what the blocks have added up is normalised and read out. Neurons are at rest when a token
    begins, so that all that connects tokens is attention. A causal model continues from the carry of its run, in which
    each token is one more step: the outputs are those of the whole text, whatever it is cut into.

    Beside its output a run tells its `internals`, for objectives that align a model with a teacher: "embedding"
    `[L, B, D]`, and of block k "hidden.k" `[L, B, D]`, the mean stream, "rate.k" `[L, B, D]`, the mean of what its last
    part puts out, and "attention.k" `[L, B, heads, keys]`, the mean weights.

    Args:
        blocks: first to last; all causal or none.
        size: of the model.
        vocabulary: number of tokens.
        classes: outputs; None for the vocabulary.
        tied: whether the scores of a vocabulary are products with the embeddings themselves.
        spike_steps: S, steps that each token is shown.
        code: neurons that turn a current into a rate, for objectives that compare rates with a teacher's numbers;
            None for a model whose spikes are no code.
        threshold: current [nA] at which such a neuron fires at once.

    Raises:
        ValueError: for sizes below 1; in a call, for a text longer than the context or empty, unknown tokens, an input
            of other axes, and a text that is padding from the first token on.
        TypeError: in a call, for input that is not a tensor of int32 or int64.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        size: Size,
        vocabulary: int,
        classes: int | None = None,
        tied: bool = True,
        spike_steps: int = 1,
        code: Population | None = None,
        threshold: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in (("vocabulary", vocabulary), ("classes", classes), ("spike_steps", spike_steps)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: give a whole number, at least 1")
        self.size, self.spike_steps, self.shape = size, spike_steps, ()
        self.tokens = nn.Embedding(vocabulary, size.width)
        self.places = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList(blocks)
        self.code, self.threshold = code, threshold
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, vocabulary if classes is None else classes, bias=False)
        if classes is None and tied:
            self.head.weight = self.tokens.weight

    @property
    def context(self) -> int:
        """The longest text, what a carry stands for included."""
        return self.size.context

    @property
    def causal(self) -> bool:
        """Whether a token sees itself and those before alone."""
        return all(part.causal for part in self.modules() if isinstance(part, TokenAttention))

    @property
    def offers(self) -> frozenset[str]:
        """`gradient`, `features` and `internals`, and `carry` if it is causal."""
        return frozenset({"gradient", "features", "internals"} | ({"carry"} if self.causal else set()))

    @property
    def keywords(self) -> frozenset[str]:
        """What `forward` accepts from rules: padding is behind the text, where a causal model does not look."""
        return frozenset({"carry" if self.causal else "lengths"})

    def forward(self, x: Tensor, carry: Carry | None = None, lengths: Tensor | None = None) -> Run:
        start, histories = Carry(0, (None,) * len(self.blocks)) if carry is None else carry
        self.check(x, start, lengths)
        place = torch.arange(start, start + len(x), device=x.device)
        embedded = self.tokens(x) + self.places(place)[:, None]  # [L, B, D]
        told: dict[str, Any] = {"embedding": embedded}
        if self.code is not None:
            told["code"] = RateCode(self.coded, self.threshold)
        stream = embedded.transpose(0, 1).expand(self.spike_steps, *embedded.transpose(0, 1).shape)
        ends = []
        for number, (block, history) in enumerate(zip(self.blocks, histories, strict=True)):
            stream, end, weights, last = block(stream, history, lengths)
            ends.append(end)
            told[f"hidden.{number}"] = stream.mean(0).transpose(0, 1)
            told[f"rate.{number}"] = last.mean(0).transpose(0, 1)
            told[f"attention.{number}"] = weights.mean(0).permute(2, 0, 1, 3)  # [L, B, heads, keys]
        output = self.head(self.norm(stream.mean(0).transpose(0, 1)))
        return Run(output, Carry(start + len(x), tuple(ends)) if self.causal else None, internals=told)

    def coded(self, current: Tensor) -> Tensor:
        """Return the mean output of neurons under a constant current `[...]`, over the spike steps of a token."""
        assert self.code is not None
        rates: Tensor = self.code(current.expand(self.spike_steps, *current.shape))[0].mean(0)
        return rates

    def check(self, x: Tensor, start: int, lengths: Tensor | None) -> None:
        """Raise TypeError or ValueError for an input that is not text of this model."""
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        if kind not in (torch.int32, torch.int64):
            scaled = "; where it was torch.uint8, it has been divided by 255, as pictures are"
            scaled = scaled if kind == torch.float32 else ""
            raise TypeError(f"input is {kind}; this model takes tokens [L, B] in torch.int64 or torch.int32{scaled}")
        if x.ndim != 2 or not x.numel():
            raise ValueError(f"input has shape {tuple(x.shape)}; this model takes tokens [L, B], time first")
        if start + len(x) > self.size.context:
            raise ValueError(
                f"{start + len(x)} tokens, and this model has places for {self.size.context}: give shorter texts, or "
                f"build it with context={start + len(x)}"
            )
        low, high = (int(bound) for bound in torch.aminmax(x))
        if low < 0 or high >= self.tokens.num_embeddings:
            raise ValueError(
                f"tokens run from {low} to {high}, and this model knows 0 to {self.tokens.num_embeddings - 1}"
            )
        if lengths is not None and int(lengths.min()) < 1:
            raise ValueError("lengths begin at 0: a text in which everything is padding has nothing to attend to")
