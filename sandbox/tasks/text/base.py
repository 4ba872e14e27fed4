"""The base class of tasks that predict the next token of a text."""

from __future__ import annotations

import codecs
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.dataset import SPLITS
from sandbox.tasks.text.blocks import Blocks
from sandbox.tasks.text.tokenizers import Bytes, Characters, Tokenizer


class Corpus(NamedTuple):
    """The bytes of a text, what messages call it, and what it depends on beside its bytes."""

    content: bytes
    name: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """Base class of tasks that predict the next token of a text, `[n, context]` int64, with a target at each step.

    Args:
        context: tokens of a block, 128 by default.
        level: "characters", the default: one token for each character that occurs in the text, in any of its parts,
            but for a mark of UTF-8 (U+FEFF) at its beginning, which is left out; or "bytes", 256 tokens, for all bytes
            of a file as they are.
        training: "random", the default: blocks to learn from begin anywhere, drawn anew in each epoch; or
            "consecutive". Those to validate and to test on are consecutive and do not overlap.

    Raises:
        ValueError: for a context below 1; in `load`, for a text that is empty or too short for a block, and characters
            that are no UTF-8 or NUL, as text in UTF-16 and UTF-32 has it.
    """

    context: int = 128
    level: Literal["characters", "bytes"] = "characters"
    training: Literal["random", "consecutive"] = "random"

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(context=self.context)

    @property
    def memory(self) -> int:
        """The tokens of a block: nobody knows how many of them have to do with the next one."""
        return self.context

    @abstractmethod
    def read(self, data_dir: Path | str | None) -> Corpus:
        """Return the whole text."""

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the text: the first 80 % to learn from, the next 10 % for validation, the last 10 % to test on."""
        corpus = self.read(data_dir)
        tokenizer, tokens = tokenized(corpus, self.level)
        size = len(tokens)
        begin, middle = size * 8 // 10, size * 9 // 10
        parts = (tokens[:begin], tokens[begin:middle], tokens[middle:])
        require_blocks(parts, self.context, corpus.name, tokenizer.unit)
        random = self.training == "random"
        train, validation, test = (
            Blocks(part, self.context, random and place == "train", corpus.source)
            for place, part in zip(SPLITS, parts, strict=True)
        )
        return Dataset(train, validation, test, tokenizer.size, sequence=True, tokenizer=tokenizer)


def tokenized(corpus: Corpus, level: str) -> tuple[Tokenizer, Tensor]:
    """Return the tokenizer of a text and all of its tokens; raise ValueError for one that has none."""
    if not corpus.content:
        raise ValueError(f"{corpus.name} is empty: give a text")
    if level == "bytes":
        return Bytes(), torch.frombuffer(bytearray(corpus.content), dtype=torch.uint8).long()
    text = decoded(corpus)
    if not text:
        raise ValueError(f"{corpus.name} is empty behind the mark of UTF-8 that it begins with: give a text")
    tokenizer = Characters.of(text)
    return tokenizer, tokenizer.encode(text)


def decoded(corpus: Corpus) -> str:
    """Return the characters of a text in UTF-8, without its mark; raise ValueError, with the place, for what is not."""
    likely = encoding(corpus.content)
    said = f"it looks like {likely}, convert it: iconv -f {likely} -t UTF-8 OLD > NEW" if likely else ""
    try:
        text = corpus.content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        start = error.start + len(codecs.BOM_UTF8) * corpus.content.startswith(codecs.BOM_UTF8)
        raise ValueError(
            f"{corpus.name} is not UTF-8: byte 0x{corpus.content[start]:02x} at offset {start} "
            f"({error.reason}); {said or 'convert the file to UTF-8'}, or say level='bytes'"
        ) from error
    if "\0" in text:
        raise ValueError(
            f"{corpus.name} is not text: it has a NUL, byte 0x00, at offset {corpus.content.index(0)}; "
            f"{said or 'leave out bytes that are no characters'}, or say level='bytes'"
        )
    return text


def encoding(content: bytes) -> str:
    """Return in which encoding of two or four bytes a text is, by its mark or by where most NULs are; "" for neither.

    >>> encoding("to be".encode("utf-16-be")), encoding("to be".encode("utf-32-le")), encoding(b"to be")
    ('UTF-16BE', 'UTF-32LE', '')
    """
    marks = {"UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)}
    for name, found in marks.items():
        if content.startswith(found):
            return name
    empty = [content[place::4].count(0) > len(content) / 8 for place in range(4)]
    kinds = {"0111": "UTF-32LE", "1110": "UTF-32BE", "0101": "UTF-16LE", "1010": "UTF-16BE"}
    return kinds.get("".join(map(str, map(int, empty))), "")


def require_blocks(parts: tuple[Tensor, ...], context: int, name: str, unit: str) -> None:
    """Raise ValueError for a text of which a part has no block with the token behind it."""
    place, shortest = min(zip(SPLITS, map(len, parts), strict=True), key=lambda pair: pair[1])
    if shortest <= context:
        raise ValueError(
            f"{name} has {sum(map(len, parts))} {unit}s, of which {place} gets {shortest}, and a block takes "
            f"{context + 1}, context={context} and the one that follows: give at least {10 * (context + 1)} {unit}s"
            + (f", or context={shortest - 1} or less" if shortest > 1 else "")
        )
