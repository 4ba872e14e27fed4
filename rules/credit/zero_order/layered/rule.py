"""The base of the layered rules (hierarchical, sequential, layerwise): everything except the order of estimates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Cost, Credit, CreditRule, Objective, OverProcesses, Run, own_parameters
from rules.credit.zero_order.layered.admission import confirm, confirm_repeats, refuse, shaped
from rules.credit.zero_order.layered.lab import Lab, Probing
from rules.credit.zero_order.layered.ledger import Ledger
from rules.credit.zero_order.layered.recorded import record
from rules.credit.zero_order.layered.stages import stages
from rules.credit.zero_order.layered.transport import Transport
from rules.credit.zero_order.layered.unitary import report_gains
from rules.credit.zero_order.outer import require_outer_products
from rules.credit.zero_order.sharing import whole
from rules.credit.zero_order.unmoved import warn_of_unmoved
from rules.errors import unknown
from rules.fields import at_least, check_fields
from rules.forward import run_model
from rules.optional import find_layers, plain, reader_of
from rules.processes import processes, summed
from rules.synapses import synaptic_parameters

OPTIONS = {
    "diff": ("central", "forward"),
    "probes": ("basis", "random", "normal", "scattered"),
    "cut": ("pre", "post"),
    "times": ("each", "shared"),
}


@dataclass(frozen=True)
class Layered(CreditRule):
    """Errors of whole layers, carried backwards by perturbing signals and measuring the effect downstream.

    The error at the output is that of the objective, by autograd on the output only. Every earlier error is measured
    with probes, without a gradient, and `rules.weight_gradients` turns the error at a layer's pre-activation into the
    gradients of its `nn.Linear` or convolution. Other parameters are not updated. Where the units in front of a weight
    do not meet, probes on the basis are found from the one column that each of them changes
    (`rules.credit.zero_order.layered.columns`): the same numbers and counts, in less time.

    If a model has a method `read(signal, generator)`, the end of every probe is read through it, and nothing else.
    Under `torch.distributed` processes with the same batch divide the probes of every part; each gets the whole
    gradient and the whole cost. `credit.info` has `probes`, the directions tried times their repeats, and for each
    segment the gain per layer (`rules.credit.zero_order.layered.unitary`).

    Args:
        diff: "central" differences, or "forward" ones at half the cost, with an error one order of eps larger.
        probes: each unit of the "basis" (on a lattice if positions do not interact), or `q` "random" signs, "normal"
            directions, or "scattered" signs over one channel at a time. Parts without weights are always probed on the
            basis, which costs no layer evaluation.
        q: number of random directions, 8 by default.
        step: relative to the rms of each sample's signal; by default the precision's `u^(1/3)` or, forward, `u^(1/2)`,
            and 0.3 in a spiking model.
        repeats: readings averaged per probe, 1 by default.
        cut: at the "pre"-activation (neurons: their current; blocks: their output), or behind the activation, "post".
        times: probes at "each" time, or, if the part has a weight, one "shared" by all: the sum over time, spread
            evenly.
        smooth: replace spikes by the primitives of their surrogates.
        memory: bytes that probes may take at a time.
    """

    diff: Literal["central", "forward"] = "central"
    probes: Literal["basis", "random", "normal", "scattered"] = "basis"
    q: int = 8
    step: float | None = None
    repeats: int = 1
    cut: Literal["pre", "post"] = "pre"
    times: Literal["each", "shared"] = "each"
    smooth: bool = False
    memory: float = 2.0**30

    needs: ClassVar[frozenset[str]] = frozenset({"layers"})
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "input", "deterministic", "independent"})
    over_processes: ClassVar[OverProcesses] = "draws"

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(1, self, "memory")
        for name, valid in OPTIONS.items():
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        for name, value in (("q", self.q), ("repeats", self.repeats)):
            if value < 1:
                raise ValueError(f"{name}={value}: give a whole number, at least 1")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"step={self.step}: give a step above 0, or None for the best of the precision")
        self.check()

    def check(self) -> None:
        """Raise ValueError for impossible settings of a subclass."""
        return

    @abstractmethod
    def plan(self, depth: int) -> Iterator[tuple[int, int]]:
        """Yield pairs (k, j): the error behind layer k is estimated from that behind layer j; 0 < k < j <= depth."""

    @property
    def claim(self) -> Literal["exact", "unbiased", "descent"]:  # type: ignore[override]  # a large step has a bias
        fine = self.diff == "central" and self.times == "each" and (self.step is None or self.step <= 1e-4)
        if not fine:
            return "descent"
        return "exact" if self.probes == "basis" else "unbiased"

    @property
    def probing(self) -> Probing:
        """The settings that measurements use."""
        return Probing(*(getattr(self, name) for name in Probing._fields))

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of every nn.Linear and convolution."""
        return synaptic_parameters(model)

    def init(self, model: nn.Module, rng: torch.Generator) -> bool:
        """Return False: the model has not yet been verified to be the sequence of its layers.

        Later the state is True, and the names of the segments of whose gain it has warned.

        Warns of what this rule does not move.
        """
        warn_of_unmoved(self, model)
        return False

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Compare outer products with autograd where that reaches the weights."""
        require_outer_products(self, model, batch)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the gradient for every weight, estimated from forward passes of parts of the model."""
        refuse(self, model, objective, batch)
        views = objective.views(batch, rng)
        find_layers(model, views.x)
        chain, learned = stages(model), self.parameters(model)
        lab = Lab(self.probing, int(torch.randint(2**62, (), generator=rng)), reader_of(plain(model)))
        with torch.no_grad(), Ledger(model) as ledger:
            with lab.passing() as passing:
                made = record(chain, shaped(model, views.x))
            lab.spikes = passing.used and not self.smooth
            lab.drew = lab.drawn_from(passing)
            ledger.settle()
            if not (state or chain.certain):
                with lab.passing():
                    confirm(model, run_model(model, views), made)
                with lab.passing():
                    confirm_repeats(model, made, shaped(model, views.x))
            loss, error, own = output_error(objective, Run(made.output), views)
            transport = Transport(made, lab, learned)
            grads = transport.gradients(error, self.plan)
        cost = ledger.cost(1 if state or chain.certain else 3, lab)
        cost += Cost(error_operations=lab.compared, multiplications=lab.compared)
        products = transport.weight_operations  # every process forms them all, and they are counted once
        cost = whole(cost) + lab.drawn + Cost(weight_operations=products, multiplications=products)
        gains, told = report_gains(lab.gains, state[1:] if isinstance(state, tuple) else ())
        info = {"probes": float(summed(torch.tensor(lab.probes))), **gains}
        return Credit(own | grads, (True, *told), loss, cost, info=info)


def output_error(objective: Objective, run: Run, batch: Batch) -> tuple[float, Tensor, dict[str, Tensor]]:
    """Return the loss, its derivative with respect to the output `[T, B, classes]`, and to the objective's parameters.

    Raises ValueError if processes see different batches, because they must divide only probes.
    """
    own = own_parameters(objective)
    with torch.enable_grad():
        output = run.output.detach().clone().requires_grad_()
        loss = objective(Run(output), batch)
        error, *rest = torch.autograd.grad(loss, [output, *own.values()], allow_unused=True)
    value = loss.item()
    everywhere = float(summed(loss.double())) / processes()
    if abs(everywhere - value) > 1e-6 * abs(value):  # larger than float32 rounding between machines
        raise ValueError(
            f"this process has a loss of {value:.6g}, the mean over {processes()} is {everywhere:.6g}: "
            "give all the same model and batch; they divide probes, not samples"
        )
    error = torch.zeros_like(output) if error is None else error
    return value, error, {name: g for name, g in zip(own, rest, strict=True) if g is not None}
