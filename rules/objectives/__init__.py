"""Objectives: losses on a run of a model. Imports the contract, views and processes."""

from rules.contract import Objective
from rules.objectives.assignment import Assignment, Probe
from rules.objectives.distillation import CurriculumDistillation, SelfEnsemble, SpikeAwareDistillation
from rules.objectives.fitted import Huber, MeanSquaredError, MultiLabelCrossEntropy
from rules.objectives.goodness import Goodness
from rules.objectives.mixing import Mixed
from rules.objectives.output_error import BinaryCrossEntropy, BitError
from rules.objectives.readout import (
    CROSS_ENTROPIES,
    CountError,
    MembraneError,
)
from rules.objectives.regularisers import MembranePenalty, RateBand, RateL1, RatePenalty, Sum
from rules.objectives.spike_timing import FirstSpikeCrossEntropy, FirstSpikeError, VanRossum
from rules.objectives.temporal_contrast import SiameseTemporalContrast, TemporalContrast

OBJECTIVES: dict[str, type[Objective]] = {
    **CROSS_ENTROPIES,
    "mse_count": CountError,
    "mse_membrane": MembraneError,
    "ce_ttfs": FirstSpikeCrossEntropy,
    "mse_ttfs": FirstSpikeError,
    "van_rossum": VanRossum,
    "bit_error": BitError,
    "bce_probabilities": BinaryCrossEntropy,
    "mse": MeanSquaredError,
    "huber": Huber,
    "bce": MultiLabelCrossEntropy,
    "goodness": Goodness,
    "assignment": Assignment,
    "probe": Probe,
    "temporal_contrast": TemporalContrast,
    "siamese_temporal_contrast": SiameseTemporalContrast,
    "self_ensemble": SelfEnsemble,
    "mixed": Mixed,
    "kdcl": CurriculumDistillation,
    "spad": SpikeAwareDistillation,
}

REGULARISERS: dict[str, type[Objective]] = {
    "rate_l1": RateL1,
    "rate_penalty": RatePenalty,
    "rate_band": RateBand,
    "membrane": MembranePenalty,
}

__all__ = ["OBJECTIVES", "REGULARISERS", "Sum"]
