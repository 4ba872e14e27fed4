"""The named rules, each composed of an objective, a credit rule and a plasticity.

Options that several recipes share: `lr`, the learning rate; `optimizer`, "adam", "sgd" or "rmsprop", the first for
rules with a gradient and the second for those that probe, with `lr` as in `RATES` where neither is given; `momentum` of
SGD, 0.9, and of RMSprop, 0; `weight_decay`, decoupled in Adam, otherwise added to the gradient;
`objective`, a name in `OBJECTIVES` or an objective; `surrogate`, which replaces every neuron's own; `every`, of all
recipes, the time steps between two updates of the weights (see `LearningRule`). Further keyword arguments are fields of
the credit rule or objective that the decorator `also_takes` names.

One file a family. Imports objectives, credits and plasticities.
"""

from rules.recipes.base import LearningRule, pick
from rules.recipes.dendritic import burst, microcircuit, urbanczik_senn
from rules.recipes.feedback import brsf, dfa, drtp, fa, frsf, kolen_pollack, sdfa, usf, weight_mirror
from rules.recipes.forward_passes import forward_forward, pepita
from rules.recipes.gradient import (
    backprop,
    binary_stochastic,
    binary_stochastic_ideal,
    bptt,
    bptt_on_memristor,
    readout_only,
    stcl,
    supcon_per_step,
    tcl,
    tet,
)
from rules.recipes.named import CREDITS, RULES, compose, make, whole
from rules.recipes.online import decolle, eprop, ostl, otpe, ottt, rtrl, sltt, snap1, three_factor, uoro
from rules.recipes.relaxation import equilibrium_propagation, predictive_coding, target_propagation
from rules.recipes.spike_timing import bcpnn, escape_noise, eventprop, r_stdp, stdp, triplet_stdp, voltage_stdp
from rules.recipes.zero_order import (
    coordinate_wise,
    evolution_strategy,
    forward_gradient,
    hzo,
    layerwise_zo,
    node_perturbation,
    sequential_local,
    spsa,
)

__all__ = [
    "CREDITS",
    "RULES",
    "LearningRule",
    "backprop",
    "bcpnn",
    "binary_stochastic",
    "binary_stochastic_ideal",
    "bptt",
    "bptt_on_memristor",
    "brsf",
    "burst",
    "compose",
    "coordinate_wise",
    "decolle",
    "dfa",
    "drtp",
    "eprop",
    "equilibrium_propagation",
    "escape_noise",
    "eventprop",
    "evolution_strategy",
    "fa",
    "forward_forward",
    "forward_gradient",
    "frsf",
    "hzo",
    "kolen_pollack",
    "layerwise_zo",
    "make",
    "microcircuit",
    "node_perturbation",
    "ostl",
    "otpe",
    "ottt",
    "pepita",
    "pick",
    "predictive_coding",
    "r_stdp",
    "readout_only",
    "rtrl",
    "sdfa",
    "sequential_local",
    "sltt",
    "snap1",
    "spsa",
    "stcl",
    "stdp",
    "supcon_per_step",
    "target_propagation",
    "tcl",
    "tet",
    "three_factor",
    "triplet_stdp",
    "uoro",
    "urbanczik_senn",
    "usf",
    "voltage_stdp",
    "weight_mirror",
    "whole",
]
