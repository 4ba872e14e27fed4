"""Sampling with a carry and without give the same tokens, with the probabilities that the model says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules import Run
from rules.optional import context_of
from sandbox.networks.models import MODELS
from sandbox.networks.sampling import drawn, goes_on, sampled
from tests.rules.test_perplexity import Letters

INF = float("inf")


class Whole(nn.Module):
    """The same model without a carry, as plain torch: [L, B] to [L, B, tokens]; counts the tokens of its passes."""

    def __init__(self, inner, context=None):
        super().__init__()
        self.inner, self.context, self.passes = inner, context, []

    def forward(self, x):
        self.passes.append(len(x))
        return self.inner(x).output


class Bigram(nn.Module):
    """Logits of the next token from a table."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, x):
        return self.table[x]


def letters(size=7):
    torch.manual_seed(0)
    model = Letters(size, 16).eval()
    with torch.no_grad():
        model.out.weight.mul_(8)  # so that the past matters
    return model


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=8),
    st.integers(1, 20),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.sampled_from([None, 1, 3, 100]),
    st.integers(0, 2**16),
)
def test_a_carry_changes_no_token(prompt, length, temperature, top_k, seed):
    model, tokens = letters(), torch.tensor(prompt)
    options = {"temperature": temperature, "top_k": top_k}
    streamed = sampled(model, tokens, length, rng(seed), **options)
    anew = sampled(model, tokens, length, rng(seed), **options, stream=False)
    without = sampled(Whole(model), tokens, length, rng(seed), **options)
    windowed = sampled(Whole(model), tokens, length, rng(seed), **options, window=len(prompt) + length)
    assert streamed.tolist() == anew.tolist() == without.tolist() == windowed.tolist()
    assert streamed.dtype == torch.int64
    assert len(streamed) == length


def test_a_token_is_read_once_with_a_carry_and_a_window_without():
    model = letters()
    seen = []
    handle = model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    sampled(model, torch.tensor([1, 2, 3]), 4, rng())
    handle.remove()
    assert seen == [3, 1, 1, 1]
    for context, window, wanted in ((None, None, [3, 4, 5, 6]), (None, 4, [3, 4, 4, 4]), (2, 4, [2, 2, 2, 2])):
        whole = Whole(model, context)
        sampled(whole, torch.tensor([1, 2, 3]), 4, rng(), window=window)
        assert whole.passes == wanted


def test_a_context_that_is_too_short_is_a_window():
    """A model with a carry whose context ends within the text reads the last tokens anew."""
    model = letters()
    plain = sampled(Whole(model), torch.tensor([1, 2, 3]), 100, rng(), window=2)
    model.context = 2
    assert not goes_on(model, 3)
    assert goes_on(model, 2)
    assert sampled(model, torch.tensor([1, 2, 3]), 100, rng()).tolist() == plain.tolist()
    assert plain.tolist() != sampled(Whole(model), torch.tensor([1, 2, 3]), 100, rng()).tolist()


def test_frequencies_are_the_probabilities_of_the_softmax():
    """Of 4000 draws each share is within 5 standard errors, 0.04; top-k and temperature as by hand."""
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    dice = rng()
    for temperature, top_k in ((1.0, None), (0.5, None), (1.0, 2), (2.0, 3)):
        kept = logits.argsort(descending=True)[:top_k]
        wanted = torch.zeros(4).index_put((kept,), (logits[kept] / temperature).softmax(0))
        found = torch.bincount(
            torch.tensor([drawn(logits, dice, temperature, top_k) for _ in range(4000)]), minlength=4
        )
        assert torch.allclose(found / 4000, wanted, atol=0.04)
        assert bool((found[wanted == 0] == 0).all())


def test_one_candidate_is_the_likeliest_and_follows_a_table():
    table = torch.full((3, 3), -50.0)
    table[0, 1] = table[1, 2] = table[2, 0] = 50.0
    assert sampled(Bigram(table), torch.tensor([0]), 5, rng(), temperature=9.0, top_k=1).tolist() == [1, 2, 0, 1, 2]
    assert sampled(Bigram(table), torch.tensor([0]), 5, rng(), temperature=1e-9).tolist() == [1, 2, 0, 1, 2]


def test_the_seed_alone_decides():
    model = letters()
    one, again, other = (sampled(model, torch.tensor([1]), 30, rng(seed)).tolist() for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0: give a number above 0; top_k=1 always takes the likeliest token"),
        ({"temperature": -1.0}, "temperature=-1.0: give a number above 0"),
        ({"temperature": float("nan")}, "temperature=nan: give a number above 0"),
        ({"top_k": 0}, "top_k=0: give the number of tokens that may be drawn, at least 1, or None for all"),
        ({"window": 0}, "window=0: give the number of tokens that are read anew, at least 1, or None for all"),
        ({"window": -3, "stream": False}, "window=-3: give the number of tokens that are read anew, at least 1"),
        (
            {"prompt": torch.zeros(1, 3).long()},
            r"the prompt has shape \(1, 3\); wanted \[n\], one text: give prompt\[0\]",
        ),
        ({"length": 0}, "length=0: give the number of tokens to draw, at least 1"),
        ({"prompt": torch.tensor([], dtype=torch.int64)}, "the prompt is empty: give at least one token"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    given_ = {"prompt": torch.tensor([0]), "length": 1, **options}
    with pytest.raises(ValueError, match=message):
        sampled(letters(), given_.pop("prompt"), given_.pop("length"), rng(), **given_)


@pytest.mark.parametrize("name", ["length", "top_k", "window"])
@pytest.mark.parametrize("value", [1.5, 2.0, True, "2"])
def test_counts_are_whole_numbers(name, value):
    options = {"length": 1, name: value}
    with pytest.raises(TypeError, match=f"{name}={value!r}: give a whole number"):
        sampled(letters(), torch.tensor([0]), options.pop("length"), rng(), **options)


@pytest.mark.parametrize("top_k", [None, 1])
@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (
            [0.0, INF, 0.0],
            r"the model puts out \+inf, of which nothing can be drawn: its weights or its inputs are too",
        ),
        ([-INF, INF, INF], r"the model puts out \+inf"),
        ([INF, float("nan"), 0.0], "the model puts out NaN"),
        ([-INF] * 3, "the model puts out -inf for every token, of which nothing can be drawn: leave one of them fin"),
    ],
)
def test_logits_without_probabilities_are_refused(logits, message, top_k):
    with pytest.raises(ValueError, match=message):
        drawn(torch.tensor(logits), rng(), top_k=top_k)


@pytest.mark.parametrize("top_k", [None, 1, 2, 3])
def test_a_token_of_minus_infinity_is_never_drawn(top_k):
    assert {drawn(torch.tensor([-INF, 1.0, -INF]), rng(seed), top_k=top_k) for seed in range(20)} == {1}


def test_outputs_that_are_no_numbers_are_refused():
    class Broken(Letters):
        def forward(self, x, carry=None):
            return Run(super().forward(x, carry).output * float("nan"))

    with pytest.raises(ValueError, match="the model puts out NaN, of which nothing can be drawn"):
        sampled(Broken(), torch.tensor([0]), 1, rng())


def test_a_spiking_model_of_attention_writes_the_same_from_its_carry():
    """Its places end at its context, up to which it reads every token once."""
    model = MODELS["bispikclm"]((), 7, seed=0, size="tiny").eval()
    most = context_of(model)
    assert most == model.places.num_embeddings
    assert goes_on(model, most)
    assert not goes_on(model, most + 1)
    prompt = torch.tensor([1, 2, 3])
    one, other = (sampled(model, prompt, 25, rng(), stream=stream).tolist() for stream in (True, False))
    assert one == other
    assert len(sampled(model, torch.arange(most) % 7, 2, rng())) == 2  # its last tokens alone
