"""Tiny Shakespeare: forty thousand lines of Shakespeare's plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandbox.tasks import files
from sandbox.tasks.text.base import Corpus, TextTask

SET, NAME = "text", "tinyshakespeare.txt"


@dataclass(frozen=True)
class TinyShakespeare(TextTask):
    """The next character of 1,115,394 of Shakespeare's plays, of 65 kinds: 892,315 / 111,539 / 111,540.

    The first 90 % are to learn from, the last 10 % to test on, as is usual; the end of the first part, a tenth of the
    whole text, is for validation. All characters are ASCII, so that `level="bytes"` has the same tokens under other
    numbers, of 256.

    Args:
        context: tokens of a block, 128 by default.
        level: "characters", the default, or "bytes".
        training: "random" blocks to learn from, the default, or "consecutive".

    Raises:
        ValueError: for options out of range.
        FileNotFoundError: in `load`, where the file is not here and cannot be downloaded.

    >>> TinyShakespeare().load().tokenizer.size  # doctest: +SKIP
    65

    Reference: `data/tinyshakespeare/input.txt` of https://github.com/karpathy/char-rnn, Karpathy 2015.
    """

    def read(self, data_dir: Path | str | None) -> Corpus:
        """Read the file, or download it."""
        return Corpus(files.read_file(files.read_card(SET), NAME, data_dir), NAME)
