"""The linear baseline against scikit-learn, for each kind of answer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.preprocessing import StandardScaler

from sandbox import LazySplit, Task
from sandbox.comparisons.linear import linear_baseline

RNG = np.random.default_rng(0)
X = RNG.random((200, 4))
NOISE = RNG.standard_normal((200, 2)) / 4


def parts(task):
    data = task.load()
    scaler = StandardScaler().fit(data.train.x.numpy())
    return [(scaler.transform(part.x.numpy()), part.y.numpy()) for part in (data.train, data.test)]


def test_values():
    task = Task.from_arrays(X, X[:, :2] + NOISE)
    (x, y), test = parts(task)
    wanted = 100 * LinearRegression().fit(x, y).score(*test)
    assert linear_baseline(task.load()) == pytest.approx(wanted, rel=1e-5)  # least squares in float32


def test_labels():
    task = Task.from_arrays(X, np.c_[X[:, :2] + NOISE > 0.5, np.zeros(200, bool)])
    (x, y), (x_test, y_test) = parts(task)
    model = MultiOutputClassifier(LogisticRegression(max_iter=1000, tol=1e-3)).fit(x, y[:, :2])
    wanted = 100 * f1_score(y_test[:, :2], model.predict(x_test), average="micro")  # nobody has the third label
    assert linear_baseline(task.load()) == pytest.approx(wanted, rel=1e-9)


def test_none_where_a_linear_model_does_not_apply():
    sequences = Task.from_arrays(X[..., None], X > 0.5, sequence=True, by_step=True).load()
    padded = Task.from_arrays([x[: 2 + n % 3, None] for n, x in enumerate(X)], X[:, 0]).load()
    data = Task.from_arrays(X, X[:, 0]).load()
    for each in (sequences, padded, data._replace(train=LazySplit([(x, x[0]) for x in X]))):
        assert linear_baseline(each) is None
