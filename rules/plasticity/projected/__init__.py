"""Latent weights that learn behind shown ones: soft thresholds, a few levels, signs, masks; what is pruned; exports.

Imports the contract, its optional clauses, and the plasticities of the latent weights.
"""

from rules.plasticity.projected.channels import prune_channels
from rules.plasticity.projected.export import ModelSize, exported, model_size
from rules.plasticity.projected.levels import Levels
from rules.plasticity.projected.magnitude import Magnitude
from rules.plasticity.projected.optimizer import ProjectedOptimizer
from rules.plasticity.projected.projection import Projection, Storage
from rules.plasticity.projected.quantiser import quantised, scale_of, utilisation
from rules.plasticity.projected.recipe import Projected
from rules.plasticity.projected.sign import Sign
from rules.plasticity.projected.singular_values import dense_scores, feature_scores, kept
from rules.plasticity.projected.soft_threshold import SoftThreshold, soft
from rules.plasticity.projected.thresholds import lats, pgh, s_lats

__all__ = [
    "Levels",
    "Magnitude",
    "ModelSize",
    "Projected",
    "ProjectedOptimizer",
    "Projection",
    "Sign",
    "SoftThreshold",
    "Storage",
    "dense_scores",
    "exported",
    "feature_scores",
    "kept",
    "lats",
    "model_size",
    "pgh",
    "prune_channels",
    "quantised",
    "s_lats",
    "scale_of",
    "soft",
    "utilisation",
]
