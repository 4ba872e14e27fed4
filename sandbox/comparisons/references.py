"""Published accuracies that may stand beside a table, each with its source and how we know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from rules.options import built
from sandbox.config.experiment import Experiment
from sandbox.config.given import Given
from sandbox.tasks import TASKS

Mark = Literal["read", "given", "recalled"]


class Reference(NamedTuple):
    """A published test accuracy.

    Args:
        what: the model, and how it was trained.
        value: mean test accuracy [%].
        spread: standard deviation over runs [%]; None where none is published.
        source: where it stands.
        mark: "read" in the source, "given" by somebody who read it, or "recalled" from memory.
        options: of the task, without which it is another task; none by default.
    """

    what: str
    value: float
    spread: float | None
    source: str
    mark: Mark
    options: Mapping[str, Any] = {}


YIN_YANG = (
    "Kriener, Goeltz & Petrovici 2022, doi 10.1145/3517343.3517380; README of lkriener/yin_yang_data_set at d59c1da"
)
MNIST1D = "Greydanus & Kobak 2024, arXiv 2011.14439; README of greydanus/mnist1d at 011d9be"
NOTEBOOK = (
    "Greydanus & Kobak 2024, arXiv 2011.14439; notebooks/mnist1d-classification.ipynb of greydanus/mnist1d at d53784"
)
REFERENCES: dict[str, tuple[Reference, ...]] = {
    "yinyang": (
        Reference("ANN 4-30-3, 300 epochs, 20 runs", 97.6, 1.5, YIN_YANG, "read"),
        Reference("ANN 4-30-3 with frozen lower weights, 20 runs", 85.5, 5.8, YIN_YANG, "read"),
        Reference("shallow network, 20 runs", 63.8, 1.0, YIN_YANG, "read"),
        Reference(
            "EventProp, 200 hidden LIF, latency code, 100 epochs, 10 runs",
            98.10,
            0.18,
            "Wunderlich & Pehle 2021, doi 10.1038/s41598-021-91786-z; last epochs of the ten result files of "
            "eventprop/eventprop at 3cf602e, averaged by us",
            "read",
        ),
    ),
    "mnist": (
        Reference(
            "784-1000-10 LIF, 25 steps, one epoch, one run",
            93.87,
            None,
            "snnTorch's tutorial 5, docs/tutorials/tutorial_5.rst of jeshraghian/snntorch at 7b14df8",
            "read",
        ),
    ),
    "mnist1d": (
        Reference("logistic regression", 32.0, None, MNIST1D, "read"),
        Reference("MLP", 68.0, None, MNIST1D, "read"),
        Reference("CNN", 94.0, None, MNIST1D, "read"),
        Reference("GRU", 91.0, None, MNIST1D, "read"),
        Reference("human expert", 96.0, None, MNIST1D, "read"),
        Reference("MLP 40-100-100-10, 6000 steps, one run", 65.1, None, NOTEBOOK, "read"),
        Reference("CNN of 25 channels, 6000 steps, one run", 92.3, None, NOTEBOOK, "read"),
    ),
    "randman": (
        Reference(
            "20-128-10 LIF, surrogate gradients",
            96.3,
            None,
            "Zenke & Vogels 2021, doi 10.1162/neco_a_01367",
            "given",
            {"units": 20, "dim": 1, "alpha": 1.0},
        ),
    ),
}


def references(task: str, options: Mapping[str, Any] | None = None) -> tuple[Reference, ...]:
    """Return the published figures for a task with these options; none where other options make it another task.

    Args:
        task: its name; one of your own has none.
        options: of the task; those that equal its defaults change nothing. None by default.

    >>> [found.value for found in references("yinyang")]
    [97.6, 85.5, 63.8, 98.1]
    >>> references("yinyang", {"train": 500})
    ()
    """
    known = REFERENCES.get(task, ())
    here = _task(task, options or {}) if known else None
    return tuple(each for each in known if _task(task, each.options) == here)


def _task(name: str, options: Mapping[str, Any]) -> Any:
    return built("task", name, TASKS[name], dict(options))


def reference_lines(task: str, options: Mapping[str, Any] | None = None) -> list[str]:
    """Return a line of a table's notes for each published figure; arguments are those of `references`.

    >>> reference_lines("mnist1d")[0].partition(" (")[0]
    'published: logistic regression: 32 %'
    """
    return [
        f"published: {each.what}: {shown(each)} ({each.source}{_doubt(each)})" for each in references(task, options)
    ]


def published(experiment: Experiment) -> list[str]:
    """Return what is published for the task of an experiment; nothing for data that were given as arrays."""
    task = experiment.task
    return [] if isinstance(task, Given) else reference_lines(task.name, task.options)


def shown(reference: Reference) -> str:
    """Return a published figure with its spread.

    >>> shown(REFERENCES["yinyang"][0])
    '97.6 +- 1.5 %'
    """
    spread = "" if reference.spread is None else f" +- {reference.spread:g}"
    return f"{reference.value:g}{spread} %"


def _doubt(reference: Reference) -> str:
    return "" if reference.mark == "read" else f"; {reference.mark}, not read"
