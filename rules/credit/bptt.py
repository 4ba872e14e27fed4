"""Backpropagation through time: the exact gradient of the unrolled network, surrogates standing in for the spikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from rules.contract import Batch, Claim, Continues, Credit, CreditRule, MissingNeed, Objective, Run, own_parameters
from rules.fields import check_fields
from rules.forward import join, map_tensors, pieces, run_model
from rules.generators import Globals
from rules.metering import Meter
from rules.models.admission import warn_unused
from rules.models.continuing import require_carry
from rules.optional import lacks, offers, takes
from rules.spikes.surrogate import Surrogate, differentiating


@dataclass(frozen=True)
class BPTT(CreditRule):
    """Backpropagation through time with surrogate gradients.

    With `h[t]` the membrane before the reset, `u = h - threshold`, `g` the surrogate derivative, `beta` the leak and
    `E[t]` the error that arrives at the spike of step t, autograd computes

        G[t] = E[t] g(u[t]) + beta G[t+1] dv[t]/dh[t],    dLoss/dW = sum_t G[t] (x) s_pre[t],

    where `detach_reset` drops the surrogate from `dv/dh`.

    Args:
        surrogate: replaces every neuron's own surrogate; None keeps those.
        detach_reset: whether gradients skip the reset, True by default.
        window: steps after which the gradient of the state is cut; None for the whole sequence. The loss stays that of
            the whole sequence. 1 keeps only spatial credit.
        checkpoint: steps between stored states; the rest is recomputed, with the same random draws, for the same
            gradient in less memory. None stores every step.
        smooth: replace spikes by the surrogate's primitive, so that the gradient is exact, in training and evaluation.

    Raises:
        ValueError: for window or checkpoint below 1, or a window that is not a multiple of the checkpoint.
        MissingNeed: if the loss does not depend on any parameter through autograd.

    >>> BPTT(window=10).claim, BPTT().claim
    ('descent', 'exact')

    Reference: recursion of Neftci, Mostafa & Zenke 2019 (arXiv 1901.09948), discretised; detaching the reset by default
    is a choice of ours.
    """

    surrogate: Surrogate | str | None = None
    detach_reset: bool = True
    window: int | None = None
    checkpoint: int | None = None
    smooth: bool = False

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    rounds: ClassVar[bool] = True
    continues: ClassVar[Continues] = "state"
    passes_back: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.surrogate, str):  # a name, as in a configuration file
            object.__setattr__(self, "surrogate", Surrogate(self.surrogate))
        for name, steps in (("window", self.window), ("checkpoint", self.checkpoint)):
            if steps is not None and steps < 1:
                raise ValueError(f"{name}={steps}: give a number of steps, at least 1, or None for the whole sequence")
        if self.window and self.checkpoint and self.window % self.checkpoint:
            raise ValueError(
                f"window={self.window} is not a multiple of checkpoint={self.checkpoint}; choose a multiple"
            )

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # a window truncates
        return "descent" if self.window else "exact"

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model that does not go on from its carry, where window or checkpoint cut sequences."""
        name = "window" if self.window else "checkpoint"
        if getattr(self, name) and takes(model, "carry"):  # one that takes none is refused in the step
            require_carry(model, batch, f"{name}={getattr(self, name)}")

    @property
    def inferences(self) -> tuple[str, ...]:  # type: ignore[override]  # the default is the mode of training
        return ("smooth", "plain") if self.smooth else ("plain",)

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """Run the model with spikes, or with the surrogates' primitives in mode "smooth"."""
        with differentiating(self._surrogate, smooth=True) if mode == "smooth" else nullcontext():
            return run(batch)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the gradient for every trainable parameter that the loss depends on, the objective's own included."""
        learned = self.parameters(model)
        parameters = learned | own_parameters(objective)
        views = objective.views(batch, rng)
        with Meter(model, objective) as meter, self._differentiating(rng) as context:
            run = self._unroll(model, views, objective.needs, rng)
            loss = objective(run, views)
            wanted = list(parameters.values()) if loss.requires_grad else []
            slopes = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
        grads = {name: g for name, g in zip(parameters, slopes, strict=False) if g is not None}
        if grads.keys().isdisjoint(learned):
            raise MissingNeed(str(self), type(model).__name__, {"gradient"}, offers(model) - {"gradient"})
        if self.surrogate is not None and not context.used:
            warn_unused(model, self.surrogate)
        return Credit(
            grads=grads,
            state=state,
            loss=loss.item(),
            cost=meter.cost(forwards=2 if self.checkpoint else 1, backwards=1),
            carry=map_tensors(Tensor.detach, run.carry),
        )

    def _differentiating(self, rng: torch.Generator) -> Any:
        return differentiating(self._surrogate, self.detach_reset, self.smooth, rng)

    @contextmanager
    def _again(self, rng: torch.Generator, drawn: Globals) -> Iterator[None]:
        """Repeat a pass with the draws of the first one, from the rule's generator and from the global ones."""
        with drawn.inside(), self._differentiating(rng):
            yield

    @property
    def _surrogate(self) -> Surrogate | None:
        return self.surrogate if isinstance(self.surrogate, Surrogate) else None

    def _unroll(self, model: nn.Module, batch: Batch, record: frozenset[str], rng: torch.Generator) -> Run:
        piece = self.checkpoint or self.window
        if piece is None:
            return run_model(model, batch, record)
        if not takes(model, "carry"):
            if "carry" in (why := lacks(model)):
                raise MissingNeed(str(self), type(model).__name__, {"carry"}, offers(model), why)
            raise ValueError(
                f"window and checkpoint run a sequence piece by piece, and {type(model).__name__}.forward takes no "
                "carry: let forward(x, carry=None) return rules.Run(output, carry), or leave both None"
            )
        # Called before each piece runs: the recomputation gets the surrogate settings and the draws of that first pass.
        contexts = lambda: (nullcontext(), self._again(rng.clone_state(), Globals.now()))  # noqa: E731
        carry, runs = batch.carry, []
        for number, part in enumerate(pieces(batch, piece)):
            if self.window and number * piece % self.window == 0:
                carry = map_tensors(Tensor.detach, carry)
            part = part._replace(carry=carry)
            if self.checkpoint:
                run = recompute(run_model, model, part, record, use_reentrant=False, context_fn=contexts)
            else:
                run = run_model(model, part, record)
            carry = run.carry
            runs.append(run)
        return join(runs)
