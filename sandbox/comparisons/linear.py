"""What a linear model reaches on the same raw input: the baseline below every table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rules.objectives.labels import IGNORED
from rules.seeds import seeded
from sandbox.machine.files import read_json
from sandbox.runs import seal
from sandbox.runs.finished import FinishedRun
from sandbox.tasks.base import Dataset
from sandbox.tasks.events import Recordings
from sandbox.tasks.generated import Generated
from sandbox.tasks.moving_digits_video import Videos
from sandbox.tasks.randman import Timed
from sandbox.tasks.splits import Samples, Split
from sandbox.tasks.text.blocks import Blocks

MADE = (Split, Generated, Recordings, Timed, Videos, Blocks)  # samples at hand; those of a user may take hours to read
MOST = 20_000_000  # numbers of samples that are made when they are needed
LEAST = 20  # samples, however large


class Scale(NamedTuple):
    """What accuracies are seen beside: a linear model and chance [%], and what the task is judged by."""

    linear: float | None  # None where there is none
    chance: float | None  # None where it is not known
    measure: str
    why: str | None = None  # why the linear model is missing, where a reader would expect it


def scale_of(data: Dataset) -> Scale:
    """Return the linear model, chance and measure of a data set; R2 of the mean, and F1 of no label, are 0."""
    return Scale(linear_baseline(data), 0.0 if data.classes is None else 100 / data.classes, data.measure)


def scale_beside(runs: Sequence[FinishedRun], task: str, data: Dataset | None) -> Scale:
    """Return what runs are seen beside: the linear model on the data that they learned from, and no other.

    Runs of several data sets, or of data that are not those here now, have one only if a comparison of them kept it.

    Args:
        runs: of one table.
        task: its name.
        data: the data as they are now; None for a task that is code, where that is not to be run.
    """
    made = made_of(runs)
    if data is not None and made <= {data.checksum}:
        return scale_of(data)
    for checksum in made if len(made) == 1 else ():
        for folder in dict.fromkeys(run.folder.parent for run in runs):
            kept = _kept(folder, task, checksum, runs[0].measure)
            if kept is not None:
                return kept
    if data is None and len(made) < 2:
        why = f"the task {task} is code, which a table does not run, and no comparison kept it"
    else:
        why = "not all runs were made with the data that are here now"
    return Scale(None, None, runs[0].measure if runs else "accuracy", why)


def made_of(runs: Sequence[FinishedRun]) -> set[str]:
    """Return the SHA-256 of all data that runs were made with; those of earlier versions did not record it."""
    return {run.data for run in runs if run.data is not None}


def linear_data(made: Any) -> str | None:
    """Return the SHA-256 of the data that the linear model in a table is of, by the comparison's provenance."""
    found = made.get("linear_data_sha256", made.get("data_sha256")) if isinstance(made, dict) else None
    return found if isinstance(found, str) else None


def _kept(folder: Path, task: str, data: str, wanted: str) -> Scale | None:
    """Return what the table of the comparison in a folder kept of some data; None without it, or if it was edited."""
    try:
        if seal.unsealed(folder, seal.WHOLE):
            return None
        table, made = (read_json(folder / name) for name in ("table.json", "provenance.json"))
        linear, chance, measure = table["linear"], table["chance"], table["measure"]
        same = table["task"] == task and linear_data(made) == data and measure == wanted
        same = same and "without_linear" not in table
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = all(number is None or type(number) in (int, float) for number in (linear, chance))
    return Scale(linear, chance, measure) if same and known else None


def linear_baseline(data: Dataset) -> float | None:
    """Return the test accuracy, R2 or F1 of a linear model in percent, fitted to the training set alone.

    A logistic regression for classes, one for each label where there are several, and least squares for values. It sees
    all steps of a sample at once. Where there is an answer at each step, and no class of whole samples, it has no
    memory: it sees the input of that step alone. Of tokens it then knows the answer that is most frequent for each in
    the training set, which is what a logistic regression of one input for each token comes to. Of the samples of the
    project's own tasks that are made when they are needed it takes the first, as many as have 20 million numbers
    together. None where other samples are not in memory, or sequences are padded.
    """
    if data.train.lengths is not None or not all(isinstance(part, MADE) for part in (data.train, data.test)):
        return None
    (x, y), (x_test, y_test) = (_rows(part) for part in (data.train, data.test))
    if x.ndim == 1:
        return _most_frequent(x, y, x_test, y_test)
    if data.target == "labels":
        return _labels(x, y, x_test, y_test)
    model = _scaled(_least_squares() if data.target == "values" else _logistic())
    model.fit(x, y)
    return 100 * float(model.score(x_test, y_test))


def import_linear() -> None:
    """Import what the linear model needs, before it is fitted, and with it most of what a table needs."""
    _scaled(_logistic())


def _rows(part: Samples) -> tuple[Any, Any]:
    """Return what a linear model sees of a split and its answers, with a row for each answer; a number for a token."""
    if isinstance(part, Split):
        x, y = part.x, part.y
    else:
        size = part.take(torch.arange(1), seeded(0, "linear"))[0].numel()
        x, y = part.take(torch.arange(min(len(part), max(MOST // size, LEAST))), seeded(0, "linear"))
    if part.by_step and part.labels is None:
        x, y = x.flatten(0, 1), y.flatten(0, 1)
        kept = y != IGNORED if y.ndim == 1 and not y.is_floating_point() else slice(None)
        x, y = x[kept], y[kept]
    elif part.labels is not None:
        y = part.labels[: len(x)]
    return (x if x.ndim == 1 else x.flatten(1)).numpy(), y.numpy()


def _most_frequent(x: Any, y: Any, x_test: Any, y_test: Any) -> float:
    """Return how often the most frequent answer to a token is right [%]; to a token never seen, the most frequent."""
    import numpy as np

    counts = np.zeros((1 + max(x.max(), x_test.max()), 1 + max(y.max(), y_test.max())), dtype=np.int64)
    np.add.at(counts, (x, y), 1)
    guess = np.where(counts.any(1), counts.argmax(1), counts.sum(0).argmax())
    return 100 * float((guess[x_test] == y_test).mean())


def _labels(x: Any, y: Any, x_test: Any, y_test: Any) -> float:
    """Return the F1 of one logistic regression for each label."""
    import numpy as np
    from sklearn.metrics import f1_score

    def answers(label: int) -> Any:
        if len(np.unique(y[:, label])) == 1:  # a label that all samples have, or none
            return np.full(len(x_test), y[0, label])
        return _scaled(_logistic()).fit(x, y[:, label]).predict(x_test)

    found = np.stack([answers(label) for label in range(y.shape[1])], 1)
    return 100 * float(f1_score(y_test.ravel(), found.ravel(), zero_division=0.0))  # over all labels of all samples


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, tol=1e-3)


def _least_squares() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression()
