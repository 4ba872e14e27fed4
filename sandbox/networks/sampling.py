"""Sampling: tokens that a model continues a sequence with, one drawn after the other."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor, nn

from rules.batches import moved
from rules.contract import Batch
from rules.forward import run_model
from rules.optional import context_of, offers


def sampled(
    model: nn.Module,
    prompt: Tensor,
    length: int,
    rng: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    window: int | None = None,
    stream: bool = True,
) -> Tensor:
    """Return tokens that continue a prompt, `[length]` int64, each drawn from what the model says to those before it.

        p(token) = softmax(output[last] / temperature),    among the `top_k` likeliest tokens alone

    A model that offers "carry" reads every token once and goes on from the carry of its run. Any other model, and one
    whose context would not hold prompt and text, reads its last `window` tokens anew for each new one. As long as all
    tokens fit into the window, both give the same text, because there is one random number for each token, whatever
    the model has to do for it.

    Args:
        model: of tokens `[L, B]` to logits `[L, B, tokens]`, in the mode in which it is.
        prompt: `[n]` int64, at least one token.
        length: tokens to draw.
        rng: on the CPU; source of every draw.
        temperature: above 0; below 1 likely tokens become likelier. 1 by default.
        top_k: how many tokens may be drawn; None, the default, for all.
        window: tokens that are read anew where there is no carry, from 1 to the model's context; None for all.
        stream: False reads anew even where there is a carry.

    Raises:
        ValueError: for numbers out of range, a prompt that is empty or no row, and outputs of which nothing can be
            drawn: NaN, +inf, or -inf for all tokens.
        TypeError: for a length, `top_k` or `window` that is not a whole number.

    >>> model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3))
    >>> sampled(model, torch.tensor([0, 1]), 5, torch.Generator().manual_seed(0)).shape
    torch.Size([5])
    """
    check(length, temperature, top_k, window)
    if prompt.ndim != 1:
        raise ValueError(f"the prompt has shape {tuple(prompt.shape)}; wanted [n], one text: give prompt[0]")
    if not len(prompt):
        raise ValueError("the prompt is empty: give at least one token, whose follower the model can say")
    streams = stream and goes_on(model, len(prompt) + length)
    most = min(each for each in (window, context_of(model), len(prompt) + length) if each is not None)
    seen, new, carry = prompt, len(prompt), None
    device = next(model.parameters()).device
    with torch.no_grad():
        for _ in range(length):
            shown = moved(seen[-new:] if streams else seen[-most:], device)
            run = run_model(model, Batch(shown[:, None], carry=carry))
            carry, new = (run.carry, 1) if streams else (None, len(seen) + 1)
            token = drawn(run.output[-1, 0], rng, temperature, top_k)
            seen = torch.cat([seen, torch.tensor([token])])
    return seen[len(prompt) :]


def goes_on(model: nn.Module, tokens: int) -> bool:
    """Return whether a model reads so many tokens one after the other, each once."""
    context = context_of(model)
    return "carry" in offers(model) and (context is None or tokens <= context)


def drawn(logits: Tensor, rng: torch.Generator, temperature: float = 1.0, top_k: int | None = None) -> int:
    """Draw a token from logits `[tokens]`, by one uniform number in float64 and the cumulative probabilities.

    Logits of -inf are those of tokens that are never drawn. Raises ValueError for NaN, +inf, and -inf alone.

    >>> drawn(torch.tensor([0.0, 50.0, 0.0]), torch.Generator().manual_seed(0))
    1
    """
    found = logits.detach().double().cpu()
    if bool(found.isnan().any()):
        raise ValueError("the model puts out NaN, of which nothing can be drawn: its weights are no numbers any more")
    if bool(found.isposinf().any()):
        raise ValueError(
            "the model puts out +inf, of which nothing can be drawn: its weights or its inputs are too large"
        )
    if bool(found.isneginf().all()):
        raise ValueError(
            "the model puts out -inf for every token, of which nothing can be drawn: leave one of them finite"
        )
    if top_k is not None and top_k < len(found):
        kept = found.topk(top_k).indices
        found = torch.full_like(found, -torch.inf).scatter(0, kept, found[kept])
    cumulative = ((found - found.max()) / temperature).softmax(0).cumsum(0)
    mark = torch.rand((), generator=rng, dtype=torch.float64) * cumulative[-1]
    return int((cumulative <= mark).sum())


def check(length: int, temperature: float, top_k: int | None, window: int | None = None) -> None:
    """Raise ValueError for numbers that nothing can be drawn with, TypeError for counts that are no whole numbers."""
    for name, value in (("length", length), ("top_k", top_k), ("window", window)):
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise TypeError(f"{name}={value!r}: give a whole number")
    if length < 1:
        raise ValueError(f"length={length}: give the number of tokens to draw, at least 1")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature}: give a number above 0; top_k=1 always takes the likeliest token")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k}: give the number of tokens that may be drawn, at least 1, or None for all")
    if window is not None and window < 1:
        raise ValueError(f"window={window}: give the number of tokens that are read anew, at least 1, or None for all")
