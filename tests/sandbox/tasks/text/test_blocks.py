"""Blocks cover a text, their targets are the next tokens, and the tasks that cut them refuse what they cannot cut."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.objectives.labels import IGNORED
from sandbox.tasks.checked import checked
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.files import File, download, read_card
from sandbox.tasks.loader import Loader
from sandbox.tasks.text.blocks import Blocks
from sandbox.tasks.text.python_docs import PythonDocs
from sandbox.tasks.text.shakespeare import TinyShakespeare
from sandbox.tasks.text.text_file import TextFile
from sandbox.tasks.text.tokenizers import Bytes, Characters

FAST = settings(max_examples=50, deadline=None)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 300))
DATA = os.environ.get("SANDBOX_DATA", "")
needs_file = pytest.mark.skipif(
    not (DATA and (Path(DATA) / "text/tinyshakespeare.txt").exists()),
    reason="SANDBOX_DATA names no folder with text/tinyshakespeare.txt",
)


def everything(split, seed=0):
    return split.take(torch.arange(len(split)), torch.Generator().manual_seed(seed))


@FAST
@given(SIZES)
def test_consecutive_blocks_cover_the_text(sizes):
    """Their inputs, one after the other, are all tokens but the last, and what counts of their targets all but the first."""
    context, more = sizes
    tokens = torch.arange(context + more)
    x, y = everything(Blocks(tokens, context))
    counts = (y != IGNORED).flatten()
    assert x.shape == y.shape == (len(Blocks(tokens, context)), context)
    assert x.flatten()[counts].tolist() == tokens[:-1].tolist()
    assert y.flatten()[counts].tolist() == tokens[1:].tolist()
    assert bool(counts[: len(tokens) - 1].all())  # only the end of the last block is left out
    assert bool((y[:, 0] != IGNORED).all())  # every block has an answer


@FAST
@given(SIZES, st.integers(0, 2**31))
def test_random_blocks_are_pieces_of_the_text(sizes, seed):
    context, more = sizes
    tokens = torch.arange(context + more)
    split = Blocks(tokens, context, random=True)
    x, y = everything(split, seed)
    assert len(split) == len(Blocks(tokens, context))
    assert bool((y == x + 1).all())  # tokens are their own places
    assert bool((x[:, 1:] == x[:, :-1] + 1).all())
    assert int(x.min()) >= 0
    assert int(y.max()) < len(tokens)


def test_random_blocks_begin_everywhere_and_repeat_with_their_generator():
    split = Blocks(torch.arange(8), 5, random=True)
    starts = {int(everything(split, seed)[0][0, 0]) for seed in range(40)}
    assert starts == {0, 1, 2}
    assert torch.equal(everything(split, 3)[0], everything(split, 3)[0])


@pytest.mark.parametrize("training", ["random", "consecutive"])
def test_a_loader_gives_tokens_and_targets_time_first(training, tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be, " * 20)
    task = TextFile(str(tmp_path / "a.txt"), context=8, training=training)
    data = checked(task.load(), "text_file")
    assert data.tokenizer == Characters.of("to be or not, ")
    assert (data.classes, data.sequence, data.shape) == (8, True, ())
    batches = list(Loader(data.train, AsRecorded(), 16))
    assert [batch.x.shape for batch in batches] == [(8, 16), (8, 16), (8, 8)]
    assert batches[0].x.dtype == batches[0].targets.dtype == torch.int64
    counts = batches[0].targets[:-1] != IGNORED
    assert bool((batches[0].x[1:] == batches[0].targets[:-1])[counts].all())
    again = next(iter(Loader(data.train, AsRecorded(), 40, shuffle=False)))
    text = data.tokenizer.decode(again.x.mT[again.targets.mT != IGNORED])
    assert (text == ("to be or not to be, " * 16)[:-1]) == (training == "consecutive")


def test_parts_follow_one_another_and_the_test_is_the_last_tenth(tmp_path):
    content = bytes(range(100))
    (tmp_path / "a.bin").write_bytes(content)
    data = TextFile(str(tmp_path / "a.bin"), context=4, level="bytes").load()
    parts = [bytes(split.tokens.tolist()) for split in data[:3]]
    assert parts == [content[:80], content[80:90], content[90:]]
    assert data.tokenizer == Bytes()
    assert (data.train.random, data.validation.random, data.test.random) == (True, False, False)


def test_the_checksum_follows_text_context_and_source(tmp_path):
    (tmp_path / "a.txt").write_text("ab" * 100)
    (tmp_path / "b.txt").write_text("ab" * 99 + "ba")
    found = [
        TextFile(str(tmp_path / name), context=context).load().checksum
        for name, context in (("a.txt", 4), ("a.txt", 4), ("b.txt", 4), ("a.txt", 5))
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_the_documentation_of_python_is_there_and_its_version_in_the_checksum(monkeypatch):
    from pydoc_data.topics import topics

    data = checked(PythonDocs().load(), "python_docs")
    whole = torch.cat([split.tokens for split in data[:3]])
    assert data.tokenizer.decode(whole) == "\n\n".join(topics[name] for name in sorted(topics))
    monkeypatch.setattr(platform, "python_version", lambda: "9.9.9")
    assert PythonDocs().load().checksum != data.checksum


@needs_file
def test_shakespeare_is_the_published_file():
    data = TinyShakespeare().load()
    assert [len(split.tokens) for split in data[:3]] == [892_315, 111_539, 111_540]
    assert data.tokenizer.size == 65
    whole = data.tokenizer.decode(torch.cat([split.tokens for split in data[:3]]))
    assert hashlib.sha256(whole.encode()).hexdigest() == read_card("text").files[0].sha256
    assert whole.startswith("First Citizen:\nBefore we proceed")


def test_a_file_that_mirrors_call_otherwise_is_asked_for_by_their_name(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    card = read_card("text")._replace(mirrors=("http://127.0.0.1:9/",))
    assert card.files == (File("tinyshakespeare.txt", card.files[0].sha256, 1_115_394, "input.txt"),)
    with pytest.raises(
        FileNotFoundError, match=r"Put tinyshakespeare\.txt into (.|\n)*http://127\.0\.0\.1:9/input\.txt: "
    ):
        download(card, card.files[0], tmp_path)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, r"a\.txt is empty: give a text"),
        (
            b"good \xff bad",
            {},
            r"a\.txt is not UTF-8: byte 0xff at offset 5 \(invalid start byte\); convert the file to UTF-8, or say lev",
        ),
        (b"\xef\xbb\xbfa\xff", {}, r"a\.txt is not UTF-8: byte 0xff at offset 4 \("),
        (b"\xef\xbb\xbf", {}, r"a\.txt is empty behind the mark of UTF-8 that it begins with: give a text"),
        (
            "to bé".encode("utf-16"),
            {},
            r"byte 0xff at offset 0 .* it looks like UTF-16, convert it: iconv -f UTF-16 -t",
        ),
        (
            "to be".encode("utf-32"),
            {},
            r"byte 0xff at offset 0 .* it looks like UTF-32, convert it: iconv -f UTF-32 -t",
        ),
        (
            ("to be, " * 20).encode("utf-16-le"),
            {},
            r"a\.txt is not text: it has a NUL, byte 0x00, at offset 1; it looks like UTF-16LE, convert it: iconv -f UTF-16",
        ),
        (
            ("to be, " * 20).encode("utf-16-be"),
            {},
            r"a NUL, byte 0x00, at offset 0; it looks like UTF-16BE, convert it: ",
        ),
        (
            ("to be, " * 20).encode("utf-32-le"),
            {},
            r"a NUL, byte 0x00, at offset 1; it looks like UTF-32LE, convert it: ",
        ),
        (
            ("to be, " * 20).encode("utf-32-be"),
            {},
            r"a NUL, byte 0x00, at offset 0; it looks like UTF-32BE, convert it: ",
        ),
        (
            b"to be\0or",
            {},
            r"a NUL, byte 0x00, at offset 5; leave out bytes that are no characters, or say level='bytes'$",
        ),
        (
            b"abcdefghij" * 5,
            {},
            r"a\.txt has 50 characters, of which validation gets 5, and a block takes 129, .* 1290",
        ),
        (b"abcdefghij" * 5, {}, r"give at least 1290 characters, or context=4 or less"),
        (b"ab", {"level": "bytes"}, r"a\.txt has 2 bytes, of which validation gets 0, .* give at least 1290 bytes$"),
    ],
)
def test_a_text_is_refused(content, options, message, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        TextFile(str(tmp_path / "a.txt"), **options).load()


@pytest.mark.parametrize("level", ["characters", "bytes"])
def test_a_mark_of_utf8_is_no_character_but_three_bytes(level, tmp_path):
    text = "to be or not, é " * 20
    for name, mark in (("a.txt", b""), ("b.txt", b"\xef\xbb\xbf")):
        (tmp_path / name).write_bytes(mark + text.encode())
    plain, marked = (TextFile(str(tmp_path / name), context=4, level=level).load() for name in ("a.txt", "b.txt"))
    found = [sum(len(split.tokens) for split in data[:3]) for data in (plain, marked)]
    assert found[1] - found[0] == (3 if level == "bytes" else 0)
    assert (plain.checksum == marked.checksum) == (level == "characters")
    assert plain.tokenizer == marked.tokenizer


def test_the_context_that_a_message_names_is_the_largest_that_fits(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abcdefghij" * 5)
    assert len(TextFile(str(tmp_path / "a.txt"), context=4).load().test) == 1
    with pytest.raises(ValueError, match="context=5 and the one that follows"):
        TextFile(str(tmp_path / "a.txt"), context=5).load()


def test_a_file_without_a_name_or_a_context_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path='': name the file, such as path='mine\.txt'"):
        TextFile().load()
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere\.txt: give the path of a text, seen from /"):
        TextFile("nowhere.txt").load()
    with pytest.raises(ValueError, match="context=0: give a whole number, at least 1"):
        TextFile("a.txt", context=0)
    with pytest.raises(ValueError, match="unknown level .words.; valid: characters, bytes"):
        TextFile("a.txt", level="words")
