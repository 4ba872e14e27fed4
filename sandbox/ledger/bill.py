"""The bill of a run: what its steps cost, counted by the same code for every rule, and an estimate of energy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from rules import Cost, StepInfo
from sandbox.ledger.energy import NEUROMC, Engines, Training


class Share(NamedTuple):
    """Of the pairs of an input and a weight, those where neither is zero: with a graded input, and with a spike."""

    multiplied: float = 1.0
    accumulated: float = 0.0


ALL = Share()  # until a look says otherwise


@dataclass
class Bill:
    """What learning has cost so far.

    `cost` is counted at every step. What part of the synaptic operations met no zero is counted at looks, in a pass of
    their own, and holds for the steps up to the next; bytes are those of the first step, `rules.diagnostics.footprint`
    says of what.

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

    def state_dict(self) -> dict[str, Any]:
        """Everything that counting on needs, as dicts and numbers."""
        return {**asdict(self), "share": list(self.share)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count on where `state_dict` was taken."""
        for name, value in {**state, "cost": Cost(**state["cost"]), "share": Share(*state["share"])}.items():
            setattr(self, name, value)

    def facts(self) -> dict[str, Any]:
        """Every number that is the same on every machine, and the energy that follows from them."""
        spent = learning(self.cost, self.multiplied, self.accumulated)
        return {
            **asdict(self.cost),
            "effective_multiplications": round(self.multiplied),
            "effective_accumulations": round(self.accumulated),
            "state_bytes": self.state_bytes,
            "energy_nanojoules": spent.total * 1e-3,
        }


def learning(cost: Cost, multiplied: float, accumulated: float, engines: Engines = NEUROMC) -> Training:
    """Picojoules of what was counted, on engines that skip inputs that are zero, but no error.

        E_FP = M e_MAC + A e_AC + N e_soma_fp
        E_BP = O e_MAC + N (backwards / forwards) e_soma_bp
        E_WG = W (M e_MAC + A e_AC) / S

    with S synaptic operations, of which M met a graded input and A a spike, O error operations, W weight operations and
    N steps of neurons. Compute alone: no memory, no optimiser, no dice.

    >>> dense = Cost(forwards=1, backwards=1, synaptic_operations=1000, error_operations=1000, weight_operations=1000)
    >>> [round(part) for part in learning(dense, 0, 200)]
    [116, 1360, 116]

    Reference: as `training`; counts in place of shapes are ours.
    """
    met = multiplied * engines.mac + accumulated * engines.ac
    back = cost.backwards / cost.forwards if cost.forwards else 0.0
    return Training(
        forward=met + cost.neuron_steps * engines.soma_forward,
        backward=cost.error_operations * engines.mac + cost.neuron_steps * back * engines.soma_backward,
        weight=cost.weight_operations * met / max(cost.synaptic_operations, 1),
    )
