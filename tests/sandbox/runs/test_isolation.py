"""A run gives the same bits alone and in company; what a user's code leaves behind harms no other run."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import pytest

from sandbox.comparisons.comparison import Comparison, compare
from sandbox.config.experiment import NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.runs import index
from sandbox.runs.run import run
from tests.sandbox.runs.test_run import TINY
from tests.sandbox.runs.test_sources import TASK

ONE = replace(TINY, epochs=1)
OWN = """
import multiprocessing, os, rules, torch
from torch import nn

G = torch.Generator().manual_seed(0)

class Noisy(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.inner = nn.Linear(shape[0], classes)

    def forward(self, x):
        return self.inner(x + 0.1 * torch.randn(x.shape, generator=G))

def noisy(shape, classes, *, seed):
    torch.manual_seed(seed)
    return Noisy(shape, classes)

def rude():
    if multiprocessing.parent_process() is not None:  # in a worker only
        nn.Linear.forward = lambda self, x: x.mean() + self.weight.sum() + self.bias
        torch.set_default_dtype(torch.float64)
        os.chdir("/")
    return rules.make("bptt")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(dedent(OWN))
    return tmp_path


def results(folder):
    return {path.parent.name: files.read_json(path) for path in sorted(folder.glob("*/result.json"))}


@pytest.mark.slow
def test_a_generator_in_a_users_file_starts_anew_in_every_run(own):
    """Four runs on one worker, and on two, give the bits of the run that is alone."""
    network = NetworkConfig(model=Choice("own.py:noisy"))
    plan = Comparison(replace(ONE, network=network, encoder=Choice("still")), ["bptt"], seeds=2)
    for jobs in (1, 2):
        compare(plan, own / f"jobs{jobs}", jobs=jobs)
    assert results(own / "jobs1") == results(own / "jobs2")
    (first, _), _ = plan.experiments().values()
    compare(replace(plan, seeds=1), own / "alone", jobs=1)
    assert results(own / "alone")[first.identity] == results(own / "jobs1")[first.identity]


def test_patches_and_settings_end_with_their_run(own):
    plan = Comparison(ONE, [RuleConfig("own.py:rude"), "bptt"], seeds=1)
    compare(plan, own / "c", jobs=1)  # the rude one goes first
    compare(Comparison(ONE, ["bptt"], seeds=1), own / "clean", jobs=1)
    clean = results(own / "clean")
    assert len(clean) == 2
    assert clean.items() <= results(own / "c").items()


def test_edited_data_are_loaded_again_in_the_same_process(own):
    """The file of a task is imported again after an edit."""
    sums = []
    for seed in (0, 1):
        (own / "task.py").write_text(TASK.format(seed=seed))
        run(replace(ONE, task=Choice("task.py:Drawn")), own / f"r{seed}")
        sums.append(files.read_json(own / f"r{seed}" / "provenance.json")["data_sha256"])
    assert sums[0] != sums[1]


def test_leaving_the_process_is_a_failure_of_that_run(own):
    (own / "task.py").write_text(TASK.format(seed=0).replace("x = torch.rand", "raise SystemExit(3); x = torch.rand"))
    with pytest.raises(SystemExit):
        run(replace(ONE, task=Choice("task.py:Drawn")), own / "runs" / "r")
    assert [row["status"] for row in index.rows(own / "runs")] == ["failed"]
