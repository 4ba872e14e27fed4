"""Text that the model of a run writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rules.optional import context_of
from rules.seeds import seeded
from rules.spikes.surrogate import differentiating
from sandbox.networks.sampling import check, goes_on, sampled
from sandbox.runs import attempts
from sandbox.runs import folder as folders
from sandbox.runs.preparing import own_process
from sandbox.runs.trained import admitted, trained
from sandbox.tasks.base import Dataset
from sandbox.tasks.text.tokenizers import said

LENGTH, TEMPERATURE = 200, 0.8


class Sample(NamedTuple):
    """A text, and how it was made."""

    prompt: str
    text: str  # behind the prompt
    tokenizer: str
    streamed: bool  # whether every token was read once; otherwise a window of them was read anew for each
    step: int  # of the training
    options: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {name: value for name, value in self._asdict().items() if name != "options"} | self.options


def sample_run(
    folder: Path,
    prompt: str = "\n",
    length: int = LENGTH,
    temperature: float = TEMPERATURE,
    top_k: int | None = None,
    seed: int = 0,
    data_dir: str | None = None,
    trust: bool = False,
) -> Sample:
    """Let the model of a run, with the weights of its last checkpoint, go on with a text.

    See `sandbox.networks.sampling.sampled`. A model without a carry reads at most as many tokens as the blocks that it
    was trained on have, and so does one with a `context`, whose places behind the end of a block have learned nothing.

    Args:
        folder: of a run of a task with a tokenizer, finished or not; nothing is written into it.
        prompt: at least one character; the end of a line by default.
        length: tokens to write: characters or bytes.
        temperature: above 0; below 1 likely tokens become likelier.
        top_k: how many tokens may be drawn; None for all.
        seed: of all draws; those of a model that is random have a stream of their own.
        data_dir: folder of the data sets, which say what the tokens are; SANDBOX_DATA or the user's cache by default.
        trust: whether to run code that the folder names although it was not made here.

    Raises:
        ValueError: for numbers out of range, a character that the tokenizer does not know, a task without text,
            other data than the run learned from, and a folder that is not that of a run or has no checkpoint.
        RunFailed: for a checkpoint that cannot be read or does not fit the model.
    """
    check(length, temperature, top_k)
    if not prompt:
        raise ValueError("prompt='': give at least one character, whose follower the model can say, such as a letter")
    experiment = admitted(folder, trust)
    with own_process(experiment):
        name = experiment.task.name
        trainer, _, data = trained(folder, experiment, data_dir, suits=lambda data: require_text(data, name, folder))
        tokenizer = data.tokenizer
        assert tokenizer is not None
        tokens, model, draws = tokenizer.encode(prompt), trainer.model.eval(), seeded(seed, "sampling")
        window = data.example[0].shape[1]
        total = len(tokens) + length
        streamed = goes_on(model, total) and (context_of(model) is None or total <= window)
        with trainer.reading(draws), differentiating(generator=seeded(seed, "units"), evaluating=True):
            found = sampled(
                model, tokens, length, draws, temperature=temperature, top_k=top_k, window=window, stream=streamed
            )
        options = {"length": length, "temperature": temperature, "top_k": top_k, "seed": seed}
        return Sample(prompt, tokenizer.decode(found), said(tokenizer), streamed, trainer.steps, options)


def require_text(data: Dataset, task: str, folder: Path) -> None:
    """Raise ValueError for a task without a tokenizer, and for data that a run did not learn from.

    Tokens of other data may stand for other characters.
    """
    if data.tokenizer is None:
        raise ValueError(
            f"task {task!r} has no tokenizer, so that its models write no text: name a run of tiny_shakespeare, "
            "python_docs or text_file, or of a task of yours whose sandbox.Dataset has a tokenizer"
        )
    if attempts.read(folder).get("data_sha256") not in (None, data.checksum):
        raise ValueError(
            f"{folder} learned from other data than are here now, whose tokens may stand for other characters: put the "
            f"file back, use the same Python for python_docs, or {folders.again(folder)}"
        )
