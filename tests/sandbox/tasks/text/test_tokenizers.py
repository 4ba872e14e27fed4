"""Tokenizers give back what they were given, and name what they cannot take."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.tasks.text.tokenizers import Bytes, Characters, require_same

FAST = settings(max_examples=50, deadline=None)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@FAST
@given(TEXTS)
def test_a_text_comes_back_from_its_tokens(text):
    for tokenizer in (Characters.of(text), Bytes()):
        tokens = tokenizer.encode(text)
        assert tokens.dtype == torch.int64
        assert int(tokens.min()) >= 0
        assert int(tokens.max()) < tokenizer.size
        assert tokenizer.decode(tokens) == text


@FAST
@given(TEXTS)
def test_tokens_are_code_points_in_order_and_bytes_of_utf8(text):
    """NumPy's `unique` and Python's codec number them independently."""
    import numpy as np

    points = np.array([ord(letter) for letter in text])
    assert Characters.of(text).encode(text).tolist() == np.unique(points, return_inverse=True)[1].tolist()
    assert bytes(Bytes().encode(text).tolist()) == text.encode("utf-8")


@FAST
@given(st.binary(max_size=20))
def test_bytes_that_are_no_utf8_are_decoded_as_python_replaces_them(content):
    assert Bytes().decode(torch.tensor(list(content), dtype=torch.int64)) == content.decode("utf-8", errors="replace")


def test_they_are_frozen_and_equal_where_their_settings_are():
    assert Characters("ab") == Characters("ab") != Characters("ba")
    assert Characters("ab").checksum != Characters("ba").checksum
    assert Bytes() == Bytes()
    with pytest.raises(FrozenInstanceError):
        Characters("ab").alphabet = "c"


@pytest.mark.parametrize(
    ("alphabet", "message"),
    [("", "alphabet='': give at least one character"), ("aba", "alphabet has 'a' more than once: give each")],
)
def test_an_alphabet_is_refused(alphabet, message):
    with pytest.raises(ValueError, match=message):
        Characters(alphabet)


def test_an_unknown_character_is_named_with_its_position():
    message = r"character 'ß' \(U\+00DF\) at position 2 is not one of the 3 of this tokenizer: 'abc'; .* level='bytes'"
    with pytest.raises(ValueError, match=message):
        Characters("abc").encode("abß")
    with pytest.raises(ValueError, match=r"at position 1 is half of a surrogate pair, which UTF-8 cannot hold; leave"):
        Bytes().encode("a\ud800")


@pytest.mark.parametrize("tokenizer", [Characters("abc"), Bytes()])
def test_tokens_out_of_range_are_refused(tokenizer):
    for wrong in (-1, tokenizer.size):
        with pytest.raises(ValueError, match=f"tokens run from .* there are {tokenizer.size}: give numbers from 0 to"):
            tokenizer.decode(torch.tensor([0, wrong]))
    assert tokenizer.decode(torch.tensor([], dtype=torch.int64)) == ""


@pytest.mark.parametrize("tokenizer", [Characters("abc"), Bytes()])
@pytest.mark.parametrize(
    ("tokens", "kind", "message"),
    [
        (
            torch.tensor([0.0, 1.0]),
            TypeError,
            r"tokens are torch.float32; wanted whole numbers \[n\], such as a tensor",
        ),
        (torch.tensor([True]), TypeError, r"tokens are torch.bool; wanted whole numbers \[n\]"),
        ([0, 1], TypeError, r"tokens are list; wanted whole numbers \[n\], such as a tensor of torch.int64"),
        (torch.zeros(2, 3).long(), ValueError, r"tokens have shape \(2, 3\); wanted \[n\]: decode one text after the"),
        (torch.tensor(1), ValueError, r"tokens have shape \(\); wanted \[n\]"),
    ],
)
def test_what_is_no_row_of_tokens_is_refused(tokenizer, tokens, kind, message):
    with pytest.raises(kind, match=message):
        tokenizer.decode(tokens)


def test_a_teacher_of_another_tokenizer_is_refused_by_name():
    require_same(Characters("ab"), Characters("ab"))
    require_same(None, None)
    for teacher, student in ((Characters("ab"), Characters("ba")), (Bytes(), Characters("ab")), (None, Bytes())):
        with pytest.raises(ValueError, match=r"the teacher has the tokenizer \w+.*, and the student \w+ of .* train a"):
            require_same(teacher, student)
