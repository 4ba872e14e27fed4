"""Learning from a teacher: another network, or the same one. Imports the read-out's objectives and `rules.forward`."""

from rules.objectives.distillation.kdcl import CurriculumDistillation
from rules.objectives.distillation.rate_code import RateCode
from rules.objectives.distillation.self_ensemble import SelfEnsemble
from rules.objectives.distillation.spad import SpikeAwareDistillation

__all__ = ["CurriculumDistillation", "RateCode", "SelfEnsemble", "SpikeAwareDistillation"]
