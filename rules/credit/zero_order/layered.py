"""What hierarchical, sequential and to-the-loss zero-order rules share: all but the plan of which error comes from where."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from rules.contract import Batch, Credit, CreditRule, Objective, Run, own_parameters
from rules.credit.zero_order.ledger import Ledger
from rules.credit.zero_order.probes import Lab
from rules.credit.zero_order.recorded import Recorded, record
from rules.credit.zero_order.stages import SYNAPSES, Chain, stages
from rules.credit.zero_order.transport import Transport
from rules.credit.zero_order.unitary import report_gains
from rules.errors import unknown
from rules.objectives.gathering import processes, summed
from rules.observe import plain, run_model

OPTIONS = {
    "diff": ("central", "forward"),
    "probes": ("basis", "random", "normal", "scattered"),
    "cut": ("pre", "post"),
    "steps": ("each", "shared"),
}


@dataclass(frozen=True)
class Layered(CreditRule):
    """Errors of whole layers, carried backwards by perturbing signals and looking at what follows.

    The error at the output is that of the objective, by autograd on the output alone; everything before it is measured
    by `probes` without a gradient, and `rules.credit.zero_order.local` turns the error at a layer's pre-activation into
    the gradients of its `nn.Linear` or convolution. Other parameters get no opinion.

    Arguments: `diff`, central differences or forward ones, which cost half and err by one order of eps more; `probes`,
    each unit of the `basis` (on a lattice where positions do not interact), or `q` `random` signs, `normal` directions,
    or `scattered` signs over one channel at a time; `eps_rel`, the step relative to the rms of each sample's signal, by
    default the precision's `u^(1/3)` or, forward, `u^(1/2)`; `repeats`, means over so many readings; `cut` at the
    `pre`-activation (neurons: their current; blocks: their output) or behind the activation, `post`; `steps`, probes at
    `each` time, or `shared` by all times, which gives the sum over time and spreads it evenly; `smooth`, spikes replaced
    by the primitives of their surrogates; `memory`, a bound in bytes on what probes take at a time.
    """

    diff: Literal["central", "forward"] = "central"
    probes: Literal["basis", "random", "normal", "scattered"] = "basis"
    q: int = 8
    eps_rel: float | None = None
    repeats: int = 1
    cut: Literal["pre", "post"] = "pre"
    steps: Literal["each", "shared"] = "each"
    smooth: bool = False
    memory: float = 2.0**30

    needs: ClassVar[frozenset[str]] = frozenset({"layers"})

    def __post_init__(self) -> None:
        for name, legal in OPTIONS.items():
            if getattr(self, name) not in legal:
                raise unknown(name, getattr(self, name), legal)
        for name, value in (("q", self.q), ("repeats", self.repeats)):
            if value < 1:
                raise ValueError(f"{name}={value}: give a whole number, at least 1")
        if self.eps_rel is not None and not self.eps_rel > 0:
            raise ValueError(f"eps_rel={self.eps_rel}: give a step above 0, or None for the best of the precision")
        self.check()

    def check(self) -> None:
        """Raises ValueError for what only this member knows to be impossible."""
        return

    @abstractmethod
    def plan(self, depth: int) -> Iterator[tuple[int, int]]:
        """Pairs (k, j) in order: estimate the error behind layer k from that behind layer j, for 0 < k < j <= depth."""

    @property
    def claim(self) -> Literal["exact", "unbiased", "descent"]:  # type: ignore[override]  # a large step has a bias
        fine = self.diff == "central" and self.steps == "each" and (self.eps_rel is None or self.eps_rel <= 1e-4)
        if not fine:
            return "descent"
        return "exact" if self.probes == "basis" else "unbiased"

    def step_for(self, dtype: torch.dtype) -> float:
        """The step relative to the rms of a signal."""
        order = 1 / 3 if self.diff == "central" else 1 / 2
        return self.eps_rel if self.eps_rel is not None else float(torch.finfo(dtype).eps**order)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Weights and biases of every nn.Linear and convolution."""
        owned = {
            id(p)
            for module in model.modules()
            if isinstance(module, SYNAPSES)
            for name, p in module.named_parameters(recurse=False)
            if name in ("weight", "bias") and p.requires_grad
        }
        return {name: p for name, p in model.named_parameters() if id(p) in owned}

    def init(self, model: nn.Module) -> bool:
        """Whether the model was seen to be its layers one after the other."""
        return False

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """The gradient for every weight, estimated from forward passes of parts of the model."""
        refuse(self, model, objective, batch)
        chain, learned = stages(model), self.parameters(model)
        views = objective.views(batch, rng)
        lab = Lab(self, int(torch.randint(2**62, (), generator=rng)), getattr(plain(model), "read", None))
        with torch.no_grad(), Ledger(model) as ledger:
            with lab.passing():
                made = record(chain, shaped(model, views.x), self.steps == "each" and self.probes == "basis")
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


def refuse(rule: Layered, model: nn.Module, objective: Objective, batch: Batch) -> None:
    """Raise ValueError for what would couple samples, draw masks anew, or lie outside of what the output tells."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                f"{name} is batch normalisation in training mode, which couples the samples that probes stack: freeze it "
                f"with .eval() after calibration, or use nn.GroupNorm or nn.LayerNorm"
            )
        if isinstance(module, _DropoutNd) and module.training and module.p > 0:
            raise ValueError(f"{name} is dropout in training mode, which draws a new mask for every probe: put it in "
                             "evaluation mode, take p = 0, or use a module of your own with a fixed mask")  # fmt: skip
    if "layers" in objective.needs:
        raise ValueError(f"{objective} looks at hidden layers, and {type(rule).__name__} knows the error at the output "
                         "alone: use an objective of the output, or BPTT")  # fmt: skip
    if batch.carry is not None and batch.carry != ():
        raise ValueError(f"{type(rule).__name__} runs every part of a model from rest: hand over whole sequences, no carry")


def shaped(model: nn.Module, x: Tensor) -> Tensor:
    """The input as the first layer takes it: a model may say the `shape` of one sample at one time."""
    shape = getattr(plain(model), "shape", None)
    return x if shape is None or isinstance(plain(model), nn.Sequential) else x.reshape(*x.shape[:2], *shape)


def confirm(model: nn.Module, run: Run, made: Recorded) -> None:
    """Raise ValueError where the layers, one after the other, are not the model, beyond what rounding could explain."""
    true, ours = run.output, made.output
    if true.shape == ours.shape and float((true - ours).norm()) <= 1e-2 * float(true.norm()):
        return
    raise ValueError(
        f"{type(model).__name__}.layers, called one after the other, give {tuple(ours.shape)} and other numbers than the "
        f"model, {tuple(true.shape)}: let `layers` hold all that the model does, each taking what the one before put out"
    )


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
        raise ValueError(f"this process has a loss of {value:.6g}, the mean over {processes()} is {everywhere:.6g}: give "
                         "all the same model and batch; probes are divided between them, not samples")  # fmt: skip
    error = torch.zeros_like(output) if error is None else error
    return value, error, {name: g for name, g in zip(own, rest, strict=True) if g is not None}
