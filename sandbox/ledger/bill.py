"""Costs of a run: operations counted by the same code for every rule, and an estimate of energy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from rules import Cost, StepInfo
from rules.plasticity.projected import ProjectedOptimizer, model_size
from rules.plasticity.projected.export import FULL
from sandbox.ledger.training import NEUROMC, Engines, Training


class Share(NamedTuple):
    """Shares of the input-weight pairs in which neither is zero, for graded inputs and for spikes."""

    multiplied: float = 1.0
    accumulated: float = 0.0


ALL = Share()  # until the first measurement


@dataclass
class Bill:
    """The cost of learning so far.

    `cost` is counted at every step. The share of synaptic operations without a zero is measured at health checks, in a
    pass of their own, and applies to the steps up to the next check. Bytes are those of the first step, as defined in
    `rules.diagnostics.footprint`. The size is that of the model as it is stored now: parameters of 32 bits, those that
    a projected plasticity holds at its bits, with its scales.

    >>> bill = Bill()
    >>> bill.add(StepInfo(1, 0, 0.5, Cost(synaptic_operations=100)))
    >>> bill.facts()["effective_multiplications"]
    100
    """

    cost: Cost = field(default_factory=Cost)
    state_bytes: int | None = None  # None where it could not be measured
    peak_bytes: int | None = None
    share: Share = ALL
    multiplied: float = 0.0
    accumulated: float = 0.0
    model_bits: int = 0
    nonzero_parameters: int = 0

    def add(self, info: StepInfo) -> None:
        """Count one step."""
        dense = sum(each.dense for each in info.work)
        if dense:
            pairs = (sum(each.multiplied for each in info.work), sum(each.accumulated for each in info.work))
            self.share = Share(*(part / dense for part in pairs))
        if info.footprint is not None:
            self.state_bytes, self.peak_bytes = info.footprint
        self.cost += info.cost
        self.multiplied += self.share.multiplied * info.cost.synaptic_operations
        self.accumulated += self.share.accumulated * info.cost.synaptic_operations

    def size(self, model: nn.Module, optimizer: object) -> None:
        """Note how large a model is at present."""
        parameters = list(model.parameters())
        if isinstance(optimizer, ProjectedOptimizer):
            self.model_bits = model_size(model, optimizer).bits
        else:
            self.model_bits = FULL * sum(p.numel() for p in parameters)
        self.nonzero_parameters = sum(int(torch.count_nonzero(p)) for p in parameters)

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to continue counting, as dicts and numbers."""
        return {**asdict(self), "share": list(self.share)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue counting from a `state_dict`."""
        for name, value in {**state, "cost": Cost(**state["cost"]), "share": Share(*state["share"])}.items():
            setattr(self, name, value)

    def facts(self) -> dict[str, Any]:
        """Return all counts that do not depend on the machine, and the energy estimated from them."""
        spent = learning(self.cost, self.multiplied, self.accumulated)
        return {
            **asdict(self.cost),
            "effective_multiplications": round(self.multiplied),
            "effective_accumulations": round(self.accumulated),
            "state_bytes": self.state_bytes,
            "model_bits": self.model_bits,
            "nonzero_parameters": self.nonzero_parameters,
            "energy_nanojoules": spent.total * 1e-3,
        }


def learning(cost: Cost, multiplied: float, accumulated: float, engines: Engines = NEUROMC) -> Training:
    """Estimate the energy [pJ] of counted operations on engines that skip zero inputs, but not zero errors.

        E_FP = M e_MAC + A e_AC + N e_soma_fp
        E_BP = O e_MAC + N (backwards / forwards) e_soma_bp
        E_WG = W (M e_MAC + A e_AC) / S

    with S synaptic operations, of which M had a graded input and A a spike, O error operations, W weight operations and
    N neuron steps. It covers computation alone: no memory, no optimiser, no random numbers.

    Args:
        cost: the counts.
        multiplied: M, the synaptic operations with a graded input that is not zero.
        accumulated: A, the synaptic operations with a spike.
        engines: energy of each operation, NEUROMC by default.

    >>> dense = Cost(forwards=1, backwards=1, synaptic_operations=1000, error_operations=1000, weight_operations=1000)
    >>> [round(part) for part in learning(dense, 0, 200)]
    [116, 1360, 116]

    Reference: as for `training`; using counts in place of shapes is ours.
    """
    met = multiplied * engines.mac + accumulated * engines.ac
    back = cost.backwards / cost.forwards if cost.forwards else 0.0
    return Training(
        forward=met + cost.neuron_steps * engines.soma_forward,
        backward=cost.error_operations * engines.mac + cost.neuron_steps * back * engines.soma_backward,
        weight=cost.weight_operations * met / max(cost.synaptic_operations, 1),
    )
