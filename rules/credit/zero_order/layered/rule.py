"""What hierarchical, sequential and to-the-loss rules share: all but the plan of which error comes from where."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Credit, CreditRule, Objective, Run, own_parameters
from rules.credit.zero_order.layered.admission import confirm, refuse, shaped
from rules.credit.zero_order.layered.lab import Lab, Probing
from rules.credit.zero_order.layered.ledger import Ledger
from rules.credit.zero_order.layered.recorded import record
from rules.credit.zero_order.layered.stages import stages
from rules.credit.zero_order.layered.transport import Transport
from rules.credit.zero_order.layered.unitary import report_gains
from rules.errors import unknown
from rules.forward import plain, run_model
from rules.optional import reader_of
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
    """Errors of whole layers, carried backwards by perturbing signals and looking at what follows.

    The error at the output is that of the objective, by autograd on the output alone; everything before it is measured
    by `probes` without a gradient, and `rules.weight_gradients` turns the error at a layer's pre-activation into
    the gradients of its `nn.Linear` or convolution. Other parameters get no opinion.

    Arguments: `diff`, central differences or forward ones, which cost half and err by one order of eps more; `probes`,
    each unit of the `basis` (on a lattice where positions do not interact), or `q` `random` signs, `normal` directions,
    or `scattered` signs over one channel at a time (what passes no weight is probed on the basis, which costs no layer
    evaluation); `step`, relative to the rms of each sample's signal, by default the precision's `u^(1/3)` or, forward,
    `u^(1/2)`, and 0.3 in a model that spikes; `repeats`, means over so many readings; `cut` at the `pre`-activation
    (neurons: their current; blocks: their output) or behind the activation, `post`; `times`, probes at `each` time, or,
    where a weight is passed, `shared` by all: the sum over time, spread evenly; `smooth`, spikes replaced by the
    primitives of their surrogates; `memory`, a bound in bytes on what probes take at a time.

    A model with a method `read(signal, generator)` is measured through it: every probe's end, and nothing else. Under
    `torch.distributed` processes with the same batch divide the probes of every part, and all get the whole gradient
    and the whole bill. `credit.info` has `probes`, the directions tried times their repeats, and by segment the gain of
    each layer (`rules.credit.zero_order.layered.unitary`).
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

    def __post_init__(self) -> None:
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
        """Raises ValueError for what only this member knows to be impossible."""
        return

    @abstractmethod
    def plan(self, depth: int) -> Iterator[tuple[int, int]]:
        """Pairs (k, j) in order: estimate the error behind layer k from that behind layer j, for 0 < k < j <= depth."""

    @property
    def claim(self) -> Literal["exact", "unbiased", "descent"]:  # type: ignore[override]  # a large step has a bias
        fine = self.diff == "central" and self.times == "each" and (self.step is None or self.step <= 1e-4)
        if not fine:
            return "descent"
        return "exact" if self.probes == "basis" else "unbiased"

    @property
    def probing(self) -> Probing:
        """The settings that measurements read."""
        return Probing(*(getattr(self, name) for name in Probing._fields))

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Weights and biases of every nn.Linear and convolution."""
        return synaptic_parameters(model)

    def init(self, model: nn.Module) -> bool:
        """Whether the model was seen to be its layers one after the other."""
        return False

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """The gradient for every weight, estimated from forward passes of parts of the model."""
        refuse(self, model, objective, batch)
        chain, learned = stages(model), self.parameters(model)
        views = objective.views(batch, rng)
        lab = Lab(self.probing, int(torch.randint(2**62, (), generator=rng)), reader_of(plain(model)))
        with torch.no_grad(), Ledger(model) as ledger:
            with lab.passing() as passing:
                made = record(chain, shaped(model, views.x))
            lab.spikes = passing.used and not self.smooth
            ledger.settle()
            if not (state or chain.certain):
                with lab.passing():
                    confirm(model, run_model(model, views), made)
            loss, error, own = output_error(objective, Run(made.output), views)
            grads = Transport(made, lab, learned).gradients(error, self.plan)
        cost = ledger.cost(forwards=1 if state or chain.certain else 2)
        if processes() > 1:
            cost = type(cost)(*summed(torch.tensor([*vars(cost).values()])).tolist())
        info = {"probes": float(summed(torch.tensor(lab.probes))), **report_gains(lab.gains)}
        return Credit(own | grads, True, loss, cost, info=info)


def output_error(objective: Objective, run: Run, batch: Batch) -> tuple[float, Tensor, dict[str, Tensor]]:
    """The loss, its derivative by the output `[T, B, classes]`, and by the objective's own parameters.

    Raises ValueError where processes see different batches, since it is the probes that they share out.
    """
    own = own_parameters(objective)
    with torch.enable_grad():
        output = run.output.detach().clone().requires_grad_()
        loss = objective(Run(output), batch)
        error, *rest = torch.autograd.grad(loss, [output, *own.values()], allow_unused=True)
    value = loss.item()
    everywhere = float(summed(loss.double())) / processes()
    if abs(everywhere - value) > 1e-6 * abs(value):  # in float32 the same numbers differ by less between machines
        raise ValueError(
            f"this process has a loss of {value:.6g}, the mean over {processes()} is {everywhere:.6g}: "
            "give all the same model and batch; they divide probes, not samples"
        )
    error = torch.zeros_like(output) if error is None else error
    return value, error, {name: g for name, g in zip(own, rest, strict=True) if g is not None}
