"""What a curriculum over time steps is: one experiment, in stages that see the same samples in ever fewer steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rules.fields import check_fields
from sandbox.config.experiment import Experiment
from sandbox.config.identity import fingerprint, folder_name
from sandbox.config.parent import Parent
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig


def taught() -> Experiment:
    """Return the experiment of a curriculum that says nothing else."""
    return Experiment(rule=RuleConfig("bptt", objective=Choice("kdcl")), keep="best")


@dataclass(frozen=True)
class Curriculum:
    """Knowledge distillation of a curriculum over time steps (KDCL): a network of many steps teaches one of fewer.

    The first stage learns from the labels alone. Each later one begins with the weights of the one before, which is its
    frozen teacher, with a new optimizer; both see the same samples, each in bins of its own, and the teacher sees them
    without augmentation. Every stage is a run of `experiment.epochs` epochs in a folder of its own.

    Args:
        experiment: what all stages share. Its objective takes a teacher, `kdcl`; `keep: best` hands the weights of the
            best epoch on validation data to the next stage, as the authors do, `keep: last` those of the last epoch. By
            default Yin-Yang, `bptt`, `kdcl` and `keep: best`.
        stages: steps of the task that are summed to one of the network, stage by stage (`network.rebin`); they never
            fall. 1, 2 and 4 by default.

    Raises:
        ValueError: for no stage, bins below one step or ones that get smaller, so that steps would become more; for an
            experiment with a parent or bins of its own; for an objective without a teacher where there are several
            stages.

    >>> Curriculum(stages=[4, 2])
    Traceback (most recent call last):
    ...
    ValueError: stages=[4, 2]: stage 2 has bins of 2 steps after bins of 4, so that its steps become more; a ...

    Reference: Wang et al. 2024 (arXiv 2412.12858); the number of steps of each stage is our reconstruction.
    """

    experiment: Experiment = field(default_factory=taught)
    stages: list[int] = field(default_factory=lambda: [1, 2, 4])

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.stages or min(self.stages) < 1:
            raise ValueError(
                f"stages={self.stages}: give for each stage the number of steps that are summed to one, at least 1"
            )
        for number, (before, after) in enumerate(zip(self.stages, self.stages[1:], strict=False), start=2):
            if after < before:
                raise ValueError(
                    f"stages={self.stages}: stage {number} has bins of {after} steps after bins of {before}, so that "
                    "its steps become more; a curriculum goes from many steps to few, so give numbers that never fall"
                )
        if self.experiment.parent is not None:
            raise ValueError("experiment.parent: the stages of a curriculum have parents of their own; leave it out")
        if self.experiment.network.rebin != 1:
            raise ValueError(
                f"experiment.network.rebin={self.experiment.network.rebin}: stages={self.stages} say how many steps "
                "are summed; leave it out"
            )
        if len(self.stages) > 1:
            self.experiment.rule.require_teachable()

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        title = f"curriculum-{self.experiment.task.name}-s{self.experiment.seed}"
        return folder_name(title, fingerprint(self))

    def stage(self, number: int, parent: Parent | None) -> Experiment:
        """Return the experiment of a stage, counted from 0, that begins from a parent."""
        network = replace(self.experiment.network, rebin=self.stages[number])
        return replace(self.experiment, network=network, parent=parent)
