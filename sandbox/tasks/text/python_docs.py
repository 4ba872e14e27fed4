"""The documentation that comes with Python: a text that is always there."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sandbox.tasks.text.base import Corpus, TextTask

BETWEEN = "\n\n"  # topics


@dataclass(frozen=True)
class PythonDocs(TextTask):
    r"""The next character of the topics of Python's own `help`, in the order of their names: no file is needed.

    The text, its length and its alphabet are those of the Python that runs, so that accuracies of two versions are not
    comparable: the version is part of the checksum of the data. In Python 3.11 there are 465,126 characters of 103
    kinds. Topics repeat passages of each other: of the lines of the test part with more than 30 characters 9 % are in
    the first part, too, word for word (Python 3.11).

    Args:
        context: tokens of a block, 128 by default.
        level: "characters", the default, or "bytes".
        training: "random" blocks to learn from, the default, or "consecutive".

    Raises:
        ValueError: for options out of range.

    >>> data = PythonDocs(level="bytes").load()
    >>> data.tokenizer.decode(data.train.tokens[:23])
    'The "assert" statement\n'

    Reference: `pydoc_data.topics` of Python's standard library, made from the language reference.
    """

    imports: ClassVar[tuple[str, ...]] = ("pydoc_data.topics",)

    def read(self, data_dir: Path | str | None) -> Corpus:
        """Join the topics; no file is read."""
        from pydoc_data.topics import topics

        text = BETWEEN.join(topics[name] for name in sorted(topics))
        return Corpus(text.encode(), "pydoc_data.topics", f"Python {platform.python_version()}")
