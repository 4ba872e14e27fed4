"""What each learning rule asks of the three engines, beside the forward pass, and what it keeps until the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rules.errors import unknown
from sandbox.hardware.workload import Layer
from sandbox.ledger.training import Schedule

KEPT = {
    "steps": "membranes and spikes of every step, O(T N)",
    "sampled": "membranes and spikes of k steps, O(k N)",
    "cells": "one state for each cell, O(N)",
    "synapses": "one trace for each synapse and sample, O(synapses)",
    "spikes": "times of spikes",
    "seed": "a seed and losses",
}


ALL = Schedule()
LOCAL = Schedule(backward=0.0)


class NoEstimate(ValueError):
    """A rule for whose work there is no formula."""


def wrong(layer: Layer) -> float:
    """Return the share of errors that are not zero, r_g."""
    return layer.errors


def fired(layer: Layer) -> float:
    """Return the share of steps at which cells fire: work that is done at their spikes alone."""
    return layer.fires


def always(layer: Layer) -> float:
    """Return 1: work that no zero saves."""
    return 1.0


@dataclass(frozen=True)
class Plan:
    """The work of a learning rule for each step of the forward pass, as multiples of what a layer has.

    Args:
        schedule: shares of steps with errors and with weight gradients, further forward passes, and whether errors
            travel in time.
        state: what is kept for learning, a key of KEPT.
        sampled: k, the steps with errors and weight gradients, in place of the shares of the schedule; None for those.
        window: steps that are kept at the same time, where all of them have errors; None for all or for k.
        down: whether errors go down through as many pairs as there are weights.
        direct: products of a hidden cell with all outputs at every step that bring it an error, `n_out` each.
        traces: low-pass filters of each input, one multiply-accumulate a step each.
        cell_traces: the same of each cell.
        eligibility: the same of each synapse and sample.
        adjoint: further multiply-accumulates of each cell and step, back.
        nudges: whether each further pass adds a number to every weight.
        last: whether the last layer alone learns.
        arriving: the share of errors that are sent on, r_g by default.
        gating: the share that is a factor of weight gradients, r_g by default.
        note: what the estimate leaves out for this rule.
    """

    schedule: Schedule = ALL
    state: str = "steps"
    sampled: int | None = None
    window: int | None = None
    down: bool = True
    direct: int = 0
    traces: int = 0
    cell_traces: int = 0
    eligibility: int = 0
    adjoint: int = 0
    nudges: bool = False
    last: bool = False
    arriving: Callable[[Layer], float] = wrong
    gating: Callable[[Layer], float] = wrong
    note: str = ""

    def over(self, steps: int) -> Schedule:
        """Return the schedule for sequences of so many steps."""
        if self.sampled is None:
            return self.schedule
        share = min(self.sampled, steps) / steps
        return replace(self.schedule, backward=share, weight=share)


GRADED = Schedule(spiking=False)
BPTT = Plan(Schedule(recursion=True))
OTTT = Plan(GRADED, "cells", traces=1)
OSTL = Plan(GRADED, "synapses", eligibility=1)
EPROP = Plan(replace(LOCAL, spiking=False), "synapses", direct=1, eligibility=1)
DFA = Plan(BPTT.schedule, direct=1, down=False)
PROBING = Plan(Schedule(backward=0.0, weight=0.0, probes=1.0), "seed", nudges=True)
DEEP = "errors of each step go down through the weights where there are several hidden layers"
HEAD = "its projection head is not counted"

EVENTS = "accesses to memory are those of steps"

FAMILIES: dict[str, Plan] = {  # after the table of the specification, whatever a named rule does
    "forward": Plan(Schedule(backward=0.0, weight=0.0), "seed"),
    "bptt": BPTT,
    "sampled": Plan(state="sampled", sampled=1),
    "ottt": OTTT,
    "eprop": EPROP,
    "dfa": Plan(Schedule(), direct=1, down=False),
    "eventprop": Plan(state="spikes", adjoint=1, arriving=fired, gating=always, note=EVENTS),
    "stdp": Plan(LOCAL, "cells", traces=1, cell_traces=1, gating=fired),
    "three_factor_local": Plan(LOCAL, "cells", traces=1, cell_traces=1),
    "probing": PROBING,
}

FEEDBACK = "matrices that carry errors back are not counted as memory"
DEVICES = "its weights and signals are those of analogue devices: sandbox.ledger.energy.estimate prices their counts"
SETTLES = "how often it runs its layers depends on the data, until they rest: `cost` in result.json has the operations"
INVERTS = "it learns layers without spikes and their inverses: `cost` in result.json has the operations"
TWICE = "it learns from two forward passes of layers without spikes: `cost` in result.json has the operations"
SOMA = "the nudge of the soma is not counted"
BURSTS = "it learns layers of rates, without spikes: `cost` in result.json has the operations"
LAYERED = "how often a layer runs again depends on its place: `cost` in result.json has the operations as counted"
TRIPLETS = "the product of a fast and a slow trace at a spike is not counted"
MEMBRANES = "the products of membranes and their traces are not counted"
LOGARITHMS = "logarithms of probabilities are not counted"
REWARD = "the reward is not counted"

PLANS: dict[str, Plan | str] = {  # of every name in rules.RULES; a sentence says why there is no estimate
    "bptt": BPTT,
    "tet": BPTT,
    "tcl": replace(BPTT, note=HEAD),
    "stcl": replace(BPTT, note=f"{HEAD}; a workload by hand needs both views of a sample in its batch"),
    "supcon_per_step": replace(BPTT, note=HEAD),
    "binary_stochastic": DEVICES,
    "binary_stochastic_ideal": DEVICES,
    "bptt_on_memristor": DEVICES,
    "hzo": LAYERED,
    "layerwise_zo": LAYERED,
    "sequential_local": LAYERED,
    "spsa": PROBING,
    "node_perturbation": replace(PROBING, nudges=False, note="noise on the cells is not counted"),
    "forward_gradient": PROBING,
    "coordinate_wise": LAYERED,
    "evolution_strategy": PROBING,
    "fa": replace(BPTT, note=FEEDBACK),
    "dfa": replace(DFA, note=FEEDBACK),
    "sdfa": replace(DFA, note=FEEDBACK),
    "drtp": replace(DFA, note=FEEDBACK),
    "usf": BPTT,
    "brsf": BPTT,
    "frsf": replace(BPTT, note=FEEDBACK),
    "weight_mirror": replace(BPTT, note=f"{FEEDBACK}; passes of noise that teach them are not either"),
    "kolen_pollack": replace(BPTT, note=f"{FEEDBACK}; their updates are not either"),
    "rtrl": "its traces have an entry for each pair of a state and a weight, for which there is no formula",
    "snap1": replace(OSTL, note="a cell's own recurrent weight is not counted in its trace"),
    "uoro": "its traces are two vectors over all states and all weights, for which there is no formula",
    "eprop": replace(EPROP, note=DEEP),
    "ostl": OSTL,
    "otpe": replace(OSTL, eligibility=2),
    "ottt": OTTT,
    "sltt": Plan(state="cells"),
    "decolle": Plan(replace(LOCAL, spiking=False), "cells", direct=2, traces=1),
    "three_factor": Plan(replace(LOCAL, spiking=False), "synapses", eligibility=1, note=REWARD),
    "triplet_stdp": Plan(LOCAL, "cells", traces=2, cell_traces=2, gating=fired, note=TRIPLETS),
    "voltage_stdp": Plan(LOCAL, "cells", traces=1, cell_traces=2, note=MEMBRANES),
    "r_stdp": Plan(LOCAL, "synapses", traces=1, cell_traces=1, eligibility=1, gating=fired, note=REWARD),
    "bcpnn": Plan(replace(LOCAL, spiking=False), "synapses", eligibility=1, note=LOGARITHMS),
    "escape_noise": Plan(replace(LOCAL, spiking=False), "synapses", eligibility=2, note=REWARD),
    "eventprop": Plan(state="spikes", adjoint=1, arriving=fired, gating=always, note=EVENTS),
    "predictive_coding": SETTLES,
    "equilibrium_propagation": SETTLES,
    "pepita": TWICE,
    "forward_forward": TWICE,
    "target_propagation": INVERTS,
    "burst": BURSTS,
    "microcircuit": SETTLES,
    "urbanczik_senn": Plan(replace(LOCAL, spiking=False), "synapses", eligibility=1, last=True, note=SOMA),
    "readout_only": Plan(LOCAL, "cells", last=True),
}

# Forward passes beyond the first, by the settings of a credit.
PROBES: Mapping[str, Callable[[Any], int]] = {
    "spsa": lambda credit: 2 * credit.draws - 1 if credit.diff == "central" else credit.draws,
    "node_perturbation": lambda credit: 2 * credit.draws - 1 if credit.antithetic else credit.draws,
    "forward_gradient": lambda credit: credit.draws,
    "evolution_strategy": lambda credit: credit.population - 1,
}


def plan_of(name: str, credit: Any = None) -> Plan:
    """Return the plan of a named rule, or of a family.

    Args:
        name: a name in `rules.RULES`, or a family: forward, sampled, eventprop, stdp, three_factor_local, probing.
        credit: with settings that change the work, such as the number of draws or a window; None for one probe.

    Raises:
        NoEstimate: for a rule without a formula; the message says why.
        ValueError: for an unknown name.

    >>> plan_of("ottt").state
    'cells'
    >>> plan_of("eventprop").state
    'spikes'
    """
    found = PLANS.get(name, FAMILIES.get(name))
    if found is None:
        raise unknown("rule or family", name, [*PLANS, *(family for family in FAMILIES if family not in PLANS)])
    if isinstance(found, str):
        raise NoEstimate(f"no estimate for {name!r}: {found}")
    if credit is None:
        return found
    if name in PROBES:
        found = replace(found, schedule=replace(found.schedule, probes=float(PROBES[name](credit))))
    window = getattr(credit, "window", None)
    return found if window is None else replace(found, state="sampled", window=window)
