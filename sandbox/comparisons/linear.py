"""What a linear model reaches on the same raw input: the baseline below every table."""

from __future__ import annotations

from typing import Any, NamedTuple

from sandbox.tasks.base import Dataset
from sandbox.tasks.splits import Split


class Scale(NamedTuple):
    """What accuracies are seen beside: a linear model and chance [%], and what the task is judged by."""

    linear: float | None  # None where there is none
    chance: float | None  # None where it is not known
    measure: str
    why: str | None = None  # why the linear model is missing, where a reader would expect it


def scale_of(data: Dataset) -> Scale:
    """Return the linear model, chance and measure of a data set; R2 of the mean, and F1 of no label, are 0."""
    return Scale(linear_baseline(data), 0.0 if data.classes is None else 100 / data.classes, data.measure)


def linear_baseline(data: Dataset) -> float | None:
    """Return the test accuracy, R2 or F1 of a linear model in percent, fitted to the training set alone.

    A logistic regression for classes, one for each label where there are several, and least squares for values. None
    where samples are not in memory, are padded, or have an answer at each step.
    """
    train, test = data.train, data.test
    if not (isinstance(train, Split) and isinstance(test, Split)) or train.by_step or train.lengths is not None:
        return None
    (x, y), (x_test, y_test) = ((part.x.flatten(1).numpy(), part.y.numpy()) for part in (train, test))
    if data.target == "labels":
        return _labels(x, y, x_test, y_test)
    model = _scaled(_least_squares() if data.target == "values" else _logistic())
    model.fit(x, y)
    return 100 * float(model.score(x_test, y_test))


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
