"""Whether a view of a sample keeps its label, by the function that labels the task."""

from __future__ import annotations

import torch

from rules.views import View
from sandbox.tasks.base import Task


def label_flips(view: View, task: Task, *, samples: int = 1000, steps: int = 6, seed: int = 0) -> float:
    """Return the share of test samples that a view shows with the features of another class, or of none.

    Samples are shown as constant features at every step. Those that are silent, all features 0, show nothing; a sample
    counts where any other step of it has another label than its own.

    Args:
        view: one view; a Siamese objective has a `pair` of them.
        task: a task with a labelling function, `Task.label`.
        samples: how many test samples, at most; 1000 by default.
        steps: time steps, 6 by default.
        seed: of the view's draws.

    Raises:
        ValueError: for a task without a labelling function, such as one of recorded data.

    >>> from rules.views import Identity
    >>> from sandbox.tasks.yinyang import YinYang
    >>> label_flips(Identity(), YinYang(train=1, validation=1, test=50))
    0.0
    """
    test, rng = task.load().test, torch.Generator().manual_seed(seed)
    x, y = test.take(torch.arange(min(samples, len(test))), rng)
    if task.label(x) is None:
        raise ValueError(
            f"{type(task).__name__} has no function that labels features, so nobody knows where a view changes a "
            "label: give the class a method label(x), as sandbox.tasks.YinYang has, or look at the views"
        )
    shown = view(x.expand(steps, *x.shape).contiguous(), rng)  # [T, B, *features]
    found = task.label(shown.flatten(0, 1))
    assert found is not None
    visible = shown.flatten(2).any(2)
    changed = (found.view(visible.shape) != y) & visible
    return float(changed.any(0).double().mean())
