"""Views that keep labels and views that do not, by the function that labels Yin-Yang."""

from __future__ import annotations

import pytest
import torch

import rules
from rules.views import VIEWS, AdditiveNoise, FeatureDrop, Identity
from sandbox.tasks import TASKS, Digits, YinYang, label_flips

TASK = YinYang(train=1, validation=1, test=1000)


def test_the_function_labels_the_data_as_their_authors_do():
    data = TASK.load()
    assert torch.equal(TASK.label(data.test.x), data.test.y)
    outside = torch.tensor([[0.02, 0.02, 0.98, 0.98], [0.5, 1.2, 0.5, -0.2]])
    assert TASK.label(outside).tolist() == [-1, -1]


def test_the_default_views_keep_every_label_and_jitter_does_not(capsys):
    """The jitter that was the default before, noise of 0.1 on four features, moves points across borders."""
    kept = [label_flips(view, TASK) for view in rules.make("stcl").objective.pair]
    moved = [label_flips(view, TASK) for view in VIEWS["vector"]()]
    with capsys.disabled():
        print(f"\nlabels changed on Yin-Yang: time {kept}, vector {moved}")
    assert kept == [0.0, 0.0]
    assert min(moved) > 0.05


def test_shares_grow_with_the_noise():
    found = [
        label_flips(view, TASK) for view in (Identity(), AdditiveNoise(0.01), AdditiveNoise(0.1), FeatureDrop(1.0))
    ]
    assert found[0] == 0.0 < found[1] < found[2]
    assert found[3] == 0.0  # nothing is shown


@pytest.mark.parametrize("task", [Digits()], ids=["digits"])
def test_a_task_of_recorded_data_has_no_function(task):
    with pytest.raises(ValueError, match=r"Digits has no function that labels features, .* a method label\(x\)"):
        label_flips(Identity(), task)


def test_which_tasks_can_label():
    assert [name for name, kind in TASKS.items() if "label" in vars(kind)] == ["yinyang"]
