"""Binary stochastic learning: backpropagation whose signals, derivatives and errors have one bit and a sign."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Batch, Claim, Credit, CreditRule, MissingNeed, Objective, OverProcesses, Run
from rules.credit.binary_stochastic.wires import Drawn, Wires, made, probabilities, spikes_of, wired
from rules.errors import unknown
from rules.fields import check_fields
from rules.forward import join, map_tensors, pieces, require_tensor, run_model
from rules.metering import Meter
from rules.models.admission import UnfitModel
from rules.optional import lacks, offers, takes
from rules.spikes.bits import and_not, bernoulli, is_bits, xor
from rules.spikes.surrogate import Surrogate, differentiating

OUTPUTS = ("sampled", "mean")
REMEDY = (
    "Let the read-out put out bits: rules.StochasticBits() behind the last weight, or in the sandbox "
    "`network: {readout: {name: stochastic_binary}}`"
)


@dataclass(frozen=True)
class BinaryStochastic(CreditRule):
    """Backpropagation with one-bit stochastic signals, one-bit stochastic derivatives and signed errors.

        s_0 ~ Bernoulli(x)                              p_l = sigma(gain z_l),  z_l = W_l s_{l-1} + b_l
        s_l ~ Bernoulli(p_l)                            d_l ~ Bernoulli(kappa p_l (1 - p_l))
        e_L = y - s_L                                   e_l = sign(W_{l+1}^T e_{l+1}) d_l
        n_l = sum e_l s_{l-1}^T                         grads = -n_l: a pulse for each coincidence

    summed, not averaged, over batch and steps, so that every entry is a whole number of pulses. Given `e_{l+1}` and
    z, the mean of `n_l` is `kappa (sign(W^T e_{l+1}) sigma'(z_l)) p_{l-1}^T`: backpropagation with signed errors.

    Works on networks whose hidden layers put out bits: `rules.StochasticBits`, the neuron `stochastic_binary`, or
    spiking neurons such as LIF, whose spikes are bits already and whose derivative bit has the probability
    `kappa / 4 g(u) / max g` of their surrogate. The read-out puts out bits, too: the sign of a graded output's error is
    never 0, and needs a dead zone. In a network with memory each step is credited separately (spatial
    credit): no error travels back in time. Signals are integers in the dtype of the weights, so that BLAS can multiply
    them.

    A trained model is evaluated in one of three modes: `mean` propagates probabilities in place of bits, `sample1`
    takes the output probabilities of one draw, and `sample16` their mean over `samples=16` draws.

    Args:
        kappa: scale of the derivative bit's probability, from 0 to 4.
        gain: 1 / temperature, positive.
        output: whether the objective sees the read-out's bits ("sampled") or their probabilities ("mean").
        dead_zone: the output error is the sign of `-T B dLoss/doutput`, or 0 where its size does not exceed this; above
            0 for an output that is not bits.
        sign_hidden: take the sign of hidden errors; False leaves them unchanged.
        reuse_bits: make the derivative bit from the same draw that went forward (AND NOT for kappa = 1, XOR for 2),
            which biases the mean.
        binarise_input: draw the input as bits; False passes it unchanged.
        samples: number of draws in the last mode of evaluation.
        debug: check that every connection carries bits or trits.

    Raises:
        ValueError: for kappa or gain out of range, input outside 0..1, or batch normalisation in training mode.
        MissingNeed: for a model without layers, or one whose neurons offer no derivative bits.
        UnfitModel: for an output that is not bits, without a dead zone or with output="mean".

    >>> BinaryStochastic().claim, BinaryStochastic(kappa=2.0, reuse_bits=True).claim
    ('sign_unbiased', 'none')

    Reference: a reconstruction. The abstract of Li et al. 2023 (arXiv 2304.12866) states that forward signals and
    derivatives are stochastic bits, errors signed and updates stepwise. Sampled output error, kappa, the draws and the
    dead zone are ours, because the paper's equations were not accessible.
    """

    kappa: float = 4.0
    gain: float = 1.0
    output: Literal["sampled", "mean"] = "sampled"
    dead_zone: float = 0.0
    sign_hidden: bool = True
    reuse_bits: bool = False
    binarise_input: bool = True
    samples: int = 16
    debug: bool = False

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "layers", "bits"})
    over_processes: ClassVar[OverProcesses] = "sum"  # numbers of pulses

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.kappa <= 4:
            raise ValueError(f"kappa={self.kappa}: give a number from 0 to 4; at 4 the derivative bit of p = 1/2 is 1")
        if self.reuse_bits and self.kappa not in (1, 2):
            raise ValueError(f"kappa={self.kappa} with reuse_bits: AND NOT of two draws has kappa=1, XOR has kappa=2")
        if not self.gain > 0:
            raise ValueError(f"gain={self.gain}: give a positive number, 1 / temperature")
        if not self.dead_zone >= 0:
            raise ValueError(f"dead_zone={self.dead_zone}: give a number of at least 0")
        if self.output not in OUTPUTS:
            raise unknown("output", self.output, OUTPUTS)
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}: give the number of draws to average, at least 1")

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # the identity above requires the sampled error and fresh bits
        plain_form = self.output == "sampled" and self.sign_hidden and not self.reuse_bits and self.dead_zone < 1
        return "sign_unbiased" if plain_form else "none"

    @property
    def inferences(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("mean", "sample1", f"sample{self.samples}")

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of linear maps and convolutions; no other parameter is updated."""
        known = {id(p) for module in wired(model).values() for p in module.parameters(recurse=False)}
        return {name: p for name, p in model.named_parameters() if p.requires_grad and id(p) in known}

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return pulses for every weight, from one forward and one backward pass of bits."""
        _refuse_batch_norm(model)
        parameters = self.parameters(model)
        views = objective.views(batch, rng)
        shown = self._shown(require_tensor(views.x, type(self).__name__), rng)
        wires = Wires(model, self._derivative(rng), self.gain, self.sign_hidden, self.debug)
        with Meter(model) as meter, wires, differentiating(generator=rng, spike=wires.spike) as context:
            runs = list(_steps(model, views._replace(x=shown)))
            run = join(runs)
            self._check(model, run, context.used)
            self._require_bits(model, run.output.detach(), wires.drawn)
            loss, error = self._output_error(objective, run, views, wires)
            membranes = [piece.traces[-1].u for piece in runs]
            errors = [
                e.reshape(u.shape)
                for e, u in zip(torch.split(error, [len(u) for u in membranes]), membranes, strict=True)
            ]
            slopes = torch.autograd.grad(membranes, list(parameters.values()), errors, allow_unused=True)
        grads = {name: g for name, g in zip(parameters, slopes, strict=True) if g is not None}
        cost = wires.cost(meter.cost(forwards=1, backwards=1), shown.numel() if self.binarise_input else 0)
        return Credit(grads, state, loss, cost, run.carry)

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """Run the model in one of the three modes; carry and traces are those of the last pass."""
        drawn: deque[Drawn] = deque(maxlen=len(batch.x))

        def spike(surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
            drawn.append(made(surrogate, u, strict, noise, self.gain))
            return drawn[-1].p if mode == "mean" else drawn[-1].bits

        outputs = []
        with differentiating(generator=rng, spike=spike):
            for _ in range(self.samples if mode == self.inferences[2] else 1):
                found = run(batch if mode == "mean" else batch._replace(x=self._shown(batch.x, rng)))
                outputs.append(probabilities(found.output, drawn))
        return found._replace(output=torch.stack(outputs).mean(0))

    def _shown(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return the input as random bits."""
        if not self.binarise_input:
            return x
        low, high = (float(bound) for bound in torch.aminmax(x))
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"the input runs from {low:g} to {high:g}; it is the probability of its bits and "
                "must lie between 0 and 1: rescale it, or use binarise_input=False"
            )
        return bernoulli(x, rng)

    def _derivative(self, rng: torch.Generator) -> Callable[[Drawn], Tensor]:
        """Return the function that draws the derivative bits of spikes."""

        def fresh(spikes: Drawn) -> Tensor:
            slope = spikes.surrogate.grad(spikes.u, rng)
            return bernoulli(slope * (self.kappa / 4 / spikes.surrogate.peak), rng)

        def reused(spikes: Drawn) -> Tensor:
            if not spikes.noisy:
                raise ValueError(
                    "reuse_bits compares two draws of a unit, and these units fire without noise: their "
                    "draws are equal; use reuse_bits=False, or stochastic binary units"
                )
            circuit = and_not if self.kappa == 1 else xor
            return circuit(spikes.bits, bernoulli(spikes.p, rng))

        return reused if self.reuse_bits else fresh

    def _output_error(self, objective: Objective, run: Run, views: Batch, wires: Wires) -> tuple[float, Tensor]:
        """Return the loss and minus the output error, `[T, B, classes]` in -1, 0, 1: the sign of the loss's slope."""
        output = run.output.detach()
        if self.output == "mean":
            output = probabilities(output, wires.drawn)
        leaf = output.requires_grad_()
        loss = objective(run._replace(output=leaf), views)
        (slope,) = torch.autograd.grad(loss, leaf)
        error = slope * (leaf.shape[0] * leaf.shape[1])
        return loss.item(), torch.where(error.abs() > self.dead_zone, error.sign(), 0.0)

    def _check(self, model: nn.Module, run: Run, spiked: bool) -> None:
        missing = set()
        if not run.traces:
            missing = {"layers"}
        elif not run.traces[-1].u.requires_grad:
            missing = {"gradient"}
        elif not spiked and len(run.traces) > 1:
            missing = {"bits"}
        if missing:
            raise MissingNeed(type(self).__name__, type(model).__name__, missing, offers(model) - missing, lacks(model))

    def _require_bits(self, model: nn.Module, output: Tensor, drawn: Sequence[Drawn]) -> None:
        """Raise UnfitModel for an output that is not made of bits, whose error would never be 0."""
        if is_bits(output) and spikes_of(output, drawn):
            return
        low, high = (float(bound) for bound in torch.aminmax(output))
        given = f"the output of {type(model).__name__} runs from {low:.3g} to {high:.3g} and is not the spikes of its "
        given += "read-out"
        if self.output == "mean":
            raise UnfitModel(f"output='mean' takes the probabilities of the output's bits, and {given}: {REMEDY}")
        if not self.dead_zone > 0:
            raise UnfitModel(
                f"{given}: the sign of its error is never 0, so that every output gives a pulse in every step, however "
                f"right it is. {REMEDY}; or give dead_zone, the size of error that is none"
            )


def _steps(model: nn.Module, batch: Batch) -> Iterator[Run]:
    """Yield the run step by step if the model takes a carry, so that no error travels back in time.

    Raises:
        MissingNeed: for a model whose parts see the whole sequence at once.
    """
    if "carry" in (why := lacks(model)):
        raise MissingNeed("BinaryStochastic", type(model).__name__, {"carry"}, offers(model), why)
    carry = batch.carry
    for piece in pieces(batch, 1) if takes(model, "carry") else (batch,):
        run = run_model(model, piece._replace(carry=carry), frozenset({"layers"}))
        carry = map_tensors(Tensor.detach, run.carry)
        yield run._replace(carry=carry)


def _refuse_batch_norm(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise ValueError(
                f"{name} normalises each batch by its own mean and variance: numbers of many bits that couple the "
                "samples; call its .eval(), so that it is a fixed gain, or leave it out"
            )
