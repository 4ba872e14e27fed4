"""The registry of named rules, and rules made from names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rules.contract import CreditRule
from rules.credit.binary_stochastic.rule import BinaryStochastic
from rules.credit.bptt import BPTT
from rules.credit.dendritic import Burst, Microcircuit, UrbanczikSenn
from rules.credit.eventprop import EventProp
from rules.credit.forward_forward import ForwardForward
from rules.credit.online import Online, Spatial
from rules.credit.pepita import PEPITA
from rules.credit.relaxation import EquilibriumPropagation, PredictiveCoding
from rules.credit.spike_timing import BCPNN, STDP, EscapeNoise, RewardSTDP
from rules.credit.target_propagation import TargetPropagation
from rules.credit.zero_order import (
    HZO,
    SPSA,
    CoordinateWise,
    EvolutionStrategy,
    ForwardGradient,
    LayerwiseZO,
    NodePerturbation,
    SequentialLocal,
)
from rules.errors import unknown
from rules.objectives import OBJECTIVES
from rules.plasticity import PLASTICITIES
from rules.recipes.base import LearningRule, pick
from rules.recipes.dendritic import burst, microcircuit, urbanczik_senn
from rules.recipes.feedback import (
    brsf,
    dfa,
    drtp,
    fa,
    frsf,
    kolen_pollack,
    sdfa,
    usf,
    weight_mirror,
)
from rules.recipes.forward_passes import forward_forward, pepita
from rules.recipes.gradient import (
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
from rules.recipes.online import (
    decolle,
    eprop,
    ostl,
    otpe,
    ottt,
    rtrl,
    sltt,
    snap1,
    three_factor,
    uoro,
)
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

RULES: dict[str, Callable[..., LearningRule]] = {
    "bptt": bptt,
    "tet": tet,
    "tcl": tcl,
    "stcl": stcl,
    "supcon_per_step": supcon_per_step,
    "binary_stochastic": binary_stochastic,
    "binary_stochastic_ideal": binary_stochastic_ideal,
    "bptt_on_memristor": bptt_on_memristor,
    "hzo": hzo,
    "layerwise_zo": layerwise_zo,
    "sequential_local": sequential_local,
    "spsa": spsa,
    "node_perturbation": node_perturbation,
    "forward_gradient": forward_gradient,
    "coordinate_wise": coordinate_wise,
    "evolution_strategy": evolution_strategy,
    "fa": fa,
    "dfa": dfa,
    "sdfa": sdfa,
    "drtp": drtp,
    "usf": usf,
    "brsf": brsf,
    "frsf": frsf,
    "weight_mirror": weight_mirror,
    "kolen_pollack": kolen_pollack,
    "rtrl": rtrl,
    "snap1": snap1,
    "uoro": uoro,
    "eprop": eprop,
    "ostl": ostl,
    "otpe": otpe,
    "ottt": ottt,
    "sltt": sltt,
    "decolle": decolle,
    "three_factor": three_factor,
    "predictive_coding": predictive_coding,
    "equilibrium_propagation": equilibrium_propagation,
    "pepita": pepita,
    "forward_forward": forward_forward,
    "target_propagation": target_propagation,
    "stdp": stdp,
    "triplet_stdp": triplet_stdp,
    "voltage_stdp": voltage_stdp,
    "r_stdp": r_stdp,
    "escape_noise": escape_noise,
    "burst": burst,
    "microcircuit": microcircuit,
    "urbanczik_senn": urbanczik_senn,
    "bcpnn": bcpnn,
    "eventprop": eventprop,
    "readout_only": readout_only,
}

CREDITS: dict[str, Callable[..., CreditRule]] = {
    "bptt": BPTT,
    "binary_stochastic": BinaryStochastic,
    "hzo": HZO,
    "layerwise_zo": LayerwiseZO,
    "sequential_local": SequentialLocal,
    "spsa": SPSA,
    "node_perturbation": NodePerturbation,
    "forward_gradient": ForwardGradient,
    "coordinate_wise": CoordinateWise,
    "evolution_strategy": EvolutionStrategy,
    "online": Online,
    "spatial": Spatial,
    "predictive_coding": PredictiveCoding,
    "equilibrium_propagation": EquilibriumPropagation,
    "pepita": PEPITA,
    "forward_forward": ForwardForward,
    "target_propagation": TargetPropagation,
    "stdp": STDP,
    "reward_stdp": RewardSTDP,
    "escape_noise": EscapeNoise,
    "burst": Burst,
    "microcircuit": Microcircuit,
    "urbanczik_senn": UrbanczikSenn,
    "bcpnn": BCPNN,
    "eventprop": EventProp,
}


def whole(rule: Any) -> LearningRule:
    """Return a learning rule, from its name or as it is.

    Raises:
        TypeError: for a credit alone, or anything else; the message says how to complete it.
    """
    rule = make(rule) if isinstance(rule, str) else rule
    if isinstance(rule, CreditRule):
        raise TypeError(
            f"{type(rule).__name__} is a credit, one of three parts of a rule: rules.LearningRule("
            f'rules.OBJECTIVES["ce_mean"](), {type(rule).__name__}(), rules.make("bptt").plasticity)'
        )
    if not isinstance(rule, LearningRule):
        raise TypeError(f"{rule!r} is not a rule: give a rules.LearningRule, or a name in rules.RULES")
    return rule


def make(name: str, **overrides: Any) -> LearningRule:
    """Build a named rule.

    Args:
        name: a name in `RULES`.
        overrides: options of that recipe.

    Raises:
        ValueError: for an unknown name or option; the message lists the valid ones and the nearest.

    >>> make("bptt", lr=0.01).plasticity.lr
    0.01
    """
    rule: LearningRule = pick("rule", RULES, name, **overrides)
    return rule


def compose(objective: str, credit: str, plasticity: str, **options: dict[str, Any]) -> LearningRule:
    """Build a rule from the names of its three parts.

    Args:
        objective: a name in `OBJECTIVES`.
        credit: a name in `CREDITS`.
        plasticity: a name in `PLASTICITIES`.
        options: a dict of options for each part, `objective_options`, `credit_options`, `plasticity_options`.

    >>> compose("tet", "bptt", "sgd", plasticity_options={"lr": 0.1}).plasticity.lr
    0.1
    """
    parts: dict[str, tuple[dict[str, Any], str]] = {
        "objective": (OBJECTIVES, objective),
        "credit": (CREDITS, credit),
        "plasticity": (PLASTICITIES, plasticity),
    }
    valid = [f"{part}_options" for part in parts]
    for option in options:
        if option not in valid:
            raise unknown("option of compose", option, valid)
    made = {part: pick(part, *found, **options.get(f"{part}_options", {})) for part, found in parts.items()}
    return LearningRule(**made)
