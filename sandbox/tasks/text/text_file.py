"""Any text file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandbox.tasks.text.base import Corpus, TextTask


@dataclass(frozen=True)
class TextFile(TextTask):
    """The next character, or byte, of a file of yours: the first 80 %, the next 10 % and the last 10 % of it.

    Characters are those of UTF-8, ends of lines as they are in the file; a mark of UTF-8 (U+FEFF) at its beginning is
    left out. A file of another encoding, and one with a NUL, is refused, with the place, unless `level` is "bytes":
    then every byte of the file is a token, those of the mark included.

    Args:
        path: of the file.
        context: tokens of a block, 128 by default.
        level: "characters", the default, or "bytes".
        training: "random" blocks to learn from, the default, or "consecutive".

    Raises:
        ValueError: for options out of range; in `load`, for a file that is empty, no text in UTF-8, or too short for a
            block.
        FileNotFoundError: in `load`, for a file that is not there.

    >>> TextFile("mine.txt", level="bytes").memory
    128
    """

    path: str = ""

    def read(self, data_dir: Path | str | None) -> Corpus:
        """Read the file."""
        if not self.path:
            raise ValueError("path='': name the file, such as path='mine.txt'")
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"there is no file {self.path}: give the path of a text, seen from {Path.cwd()}")
        return Corpus(Path(self.path).read_bytes(), self.path)
