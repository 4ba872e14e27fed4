"""Tokenizers: text to whole numbers and back, one for each character or each byte of UTF-8."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

BYTES = 256
WHOLE = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


class Tokenizer(Protocol):
    """What turns text into tokens; a frozen dataclass, so that equal settings are equal tokenizers.

    `name` is that of its kind, `unit` what a token stands for, `size` the number of tokens, `checksum` a SHA-256 of all
    that its numbers depend on.
    """

    name: ClassVar[str]
    unit: ClassVar[str]

    @property
    def size(self) -> int: ...

    @property
    def checksum(self) -> str: ...

    def encode(self, text: str) -> Tensor:
        """Return the tokens of a text, `[n]` int64; raise ValueError for a character that has none."""
        ...

    def decode(self, tokens: Tensor) -> str:
        """Return the text of tokens `[n]`; raise TypeError or ValueError for what is not a row of whole numbers."""
        ...


@dataclass(frozen=True)
class Characters:
    r"""One token for each character of an alphabet, numbered in its order.

    Args:
        alphabet: at least one character, each once.

    Raises:
        ValueError: for an alphabet that is empty or has a character twice; in a call, for a character that it lacks,
            and for tokens of other axes than `[n]` or out of range.
        TypeError: in a call, for tokens that are no tensor of whole numbers.

    >>> letters = Characters.of("to be")
    >>> letters.alphabet, letters.encode("bet").tolist(), letters.decode(torch.tensor([1, 4, 0, 3, 4, 2]))
    (' beot', [1, 2, 4], 'bt ote')
    >>> letters.encode("bee or")
    Traceback (most recent call last):
    ...
    ValueError: character 'r' (U+0072) at position 5 is not one of the 5 of this tokenizer: ' beot'; leave it out, ...
    """

    alphabet: str

    name: ClassVar[str] = "characters"
    unit: ClassVar[str] = "character"

    def __post_init__(self) -> None:
        if not self.alphabet:
            raise ValueError("alphabet='': give at least one character, as Characters.of(text) does")
        if len(set(self.alphabet)) < len(self.alphabet):
            twice = next(letter for letter in self.alphabet if self.alphabet.count(letter) > 1)
            raise ValueError(
                f"alphabet has {twice!r} more than once: give each character once, Characters.of(alphabet)"
            )

    @classmethod
    def of(cls, text: str) -> Characters:
        """Return the tokenizer of all characters of a text, in the order of their code points."""
        return cls("".join(sorted(set(text))))

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.alphabet)

    @property
    def checksum(self) -> str:
        """SHA-256 of name and alphabet."""
        return _digest(self.name, self.alphabet)

    def encode(self, text: str) -> Tensor:
        """Return the place of each character in the alphabet, `[n]` int64."""
        number = {letter: place for place, letter in enumerate(self.alphabet)}
        try:
            return torch.tensor([number[letter] for letter in text], dtype=torch.int64)
        except KeyError:
            place, letter = next((place, letter) for place, letter in enumerate(text) if letter not in number)
        raise ValueError(
            f"character {letter!r} (U+{ord(letter):04X}) at position {place} is not one of the {self.size} of this "
            f"tokenizer: {_shown(self.alphabet)}; leave it out, or use a tokenizer of bytes, level='bytes'"
        )

    def decode(self, tokens: Tensor) -> str:
        """Return the characters with these numbers."""
        _require_tokens(tokens, self.size)
        return "".join(self.alphabet[token] for token in tokens.tolist())


@dataclass(frozen=True)
class Bytes:
    """One token for each byte of UTF-8, 256 in all, so that every text has tokens.

    Bytes that are no UTF-8, which a model may put out, are decoded as U+FFFD.

    Raises:
        ValueError: in a call, for half a surrogate pair, which UTF-8 cannot hold, and for tokens of other axes than
            `[n]` or out of range.
        TypeError: in a call, for tokens that are no tensor of whole numbers.

    >>> Bytes().encode("né").tolist(), Bytes().decode(torch.tensor([110, 195, 169]))
    ([110, 195, 169], 'né')
    """

    name: ClassVar[str] = "bytes"
    unit: ClassVar[str] = "byte"

    @property
    def size(self) -> int:
        """Number of tokens."""
        return BYTES

    @property
    def checksum(self) -> str:
        """SHA-256 of the name: there is one tokenizer of bytes."""
        return _digest(self.name, "")

    def encode(self, text: str) -> Tensor:
        """Return the bytes of a text, `[n]` int64."""
        try:
            return torch.tensor(list(text.encode()), dtype=torch.int64)
        except UnicodeEncodeError as error:
            raise ValueError(
                f"character {text[error.start]!r} at position {error.start} is half of a surrogate pair, which UTF-8 "
                "cannot hold; leave it out"
            ) from error

    def decode(self, tokens: Tensor) -> str:
        """Return the text that these bytes are."""
        _require_tokens(tokens, self.size)
        return bytes(tokens.tolist()).decode(errors="replace")


def said(tokenizer: Tokenizer) -> str:
    """Return what a tokenizer is, with the first digits of its checksum.

    >>> said(Characters("ab"))
    'characters of 2 tokens (cdc346b3)'
    """
    return f"{tokenizer.name} of {tokenizer.size} tokens ({tokenizer.checksum[:8]})"


def require_same(teacher: Tokenizer | None, student: Tokenizer | None) -> None:
    """Raise ValueError unless a teacher and its student give the same numbers to the same text.

    >>> require_same(Bytes(), Bytes())
    >>> require_same(Characters("ab"), Bytes())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: the teacher has the tokenizer characters of 2 tokens (...), and the student bytes of 256 tokens ...
    """
    one, other = ("none" if each is None else said(each) for each in (teacher, student))
    if one == other and (teacher is None or student is None or teacher.checksum == student.checksum):
        return
    raise ValueError(
        f"the teacher has the tokenizer {one}, and the student {other}: their outputs are of other tokens; train a "
        "teacher on the student's task"
    )


def _require_tokens(tokens: Tensor, size: int) -> None:
    """Raise TypeError for tokens that are no whole numbers, ValueError for other axes and any but 0 to size - 1."""
    kind = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
    if kind not in WHOLE:
        raise TypeError(f"tokens are {kind}; wanted whole numbers [n], such as a tensor of torch.int64")
    if tokens.ndim != 1:
        raise ValueError(f"tokens have shape {tuple(tokens.shape)}; wanted [n]: decode one text after the other")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < size:
        low, high = int(tokens.min()), int(tokens.max())
        raise ValueError(f"tokens run from {low} to {high}, and there are {size}: give numbers from 0 to {size - 1}")


def _shown(alphabet: str) -> str:
    return repr(alphabet) if len(alphabet) <= 100 else f"{alphabet[:100]!r} ..."


def _digest(name: str, content: str) -> str:
    return hashlib.sha256(f"{name}\0{content}".encode(errors="surrogatepass")).hexdigest()
