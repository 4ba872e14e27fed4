"""Node perturbation: noise on the outputs of weights, correlated with the change of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective, OverProcesses, Run
from rules.credit.zero_order.flat.alone import require_mean
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.flat.moving import require_draws, require_size
from rules.credit.zero_order.flat.nodes import Nodes
from rules.credit.zero_order.flat.shaken import Shake, Shaken
from rules.credit.zero_order.outer import require_outer_products
from rules.credit.zero_order.sharing import seeds, shared
from rules.credit.zero_order.unmoved import warn_of_unmoved
from rules.errors import unknown
from rules.fields import check_fields
from rules.optional import plain
from rules.processes import processes, rank
from rules.synapses import synaptic_parameters

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class NodePerturbation(CreditRule):
    """Node perturbation, with noise and losses of each sample.

        z_l <- z_l + xi_l,  xi ~ N(0, s_l^2), of every layer, step and sample;   dl_b = [l_b(xi) - l_b(-xi)] / 2
        e_l = 1/(n s_l^2) sum_draws dl_b xi_l,    dLoss/dW_l = 1/B sum_{t,b} e_l (x) a_{l-1},    s_l = sigma rms(z_l)

    where z is the output of each `nn.Linear` and convolution with trainable parameters at each use, and a its input in
    an unperturbed pass; or, not `antithetic`, `dl_b = l_b(xi) - l_b`. The rms is that of this pass, over all samples
    and steps: through it alone, and so not through the mean of the estimate, a sample's credit depends on the others.
    A use is given at least the rms of all uses of its module. Not `relative`, `s_l = sigma`.

    The mean is the gradient of the smoothed loss, the true one to O(sigma^2). For N nodes, the cosine of a sample's e
    with the true one is `sqrt(n / (n + N + 1))`, the law of `SPSA` with nodes (times steps) in place of weights; over a
    batch, noise averages. In spiking layers only the smoothed loss has a slope, and sigma decides. The cosine of one
    estimate (n = 8) with BPTT's gradient in the hidden weights, and its length over BPTT's, on a batch of 50:

        sigma                            0.01        0.1         0.3         1           3
        LIF, digits 64-30-10          0.18, 6.0   0.43, 1.8   0.59, 1.3   0.58, 1.1   0.29, 0.7
        LIF, Yin-Yang 4-30-3          0.24, 2.7   0.67, 1.1   0.66, 0.9   0.52, 0.6   0.28, 0.3
        tanh, digits 64-30-10         0.38, 2.8   0.38, 2.8   0.38, 2.7   0.37, 2.7   0.30, 2.4

    printed by `pytest -m slow -s tests/slow/test_fair_settings.py`, as means of 15.

    Takes 2 n + 1 forward passes, or n + 1, and returns loss and carry of the unperturbed one. Only weights and biases
    of those modules are updated; the objective's own parameters get their gradient by autograd. Processes divide the
    draws as in `SPSA`, and exchange a loss for each sample. It works with any model that calls such modules; their
    hooks are restored. Products that no noise has reached are not computed again, and passes of small networks are made
    together (`rules.credit.zero_order.flat.shaken`), which changes the gradient by rounding and no count of its cost.

    Args:
        draws: n.
        sigma: standard deviation of the noise; by default 0.3 for a model with spikes, otherwise 0.01.
        antithetic: use pairs of xi and -xi.
        noise: the precision in which xi is drawn, "float64" or "float32". The first gives models of every dtype equal
            numbers; the second gives others, in a fraction of the time, which is most of a step of a float32 model.
        relative: whether sigma is in units of the rms of z; False for those of z.

    Raises:
        ValueError: for an objective that is not a mean over samples (a contrast between them, a bound on their mean
            rate), a model without such modules or one that changes the number of samples, an impossible setting, a
            sigma that vanishes beside z, none in units of z, and batch normalisation or dropout in training mode.
        NonFinite: for a NaN in a probe.

    >>> from rules.check.toy import Quadratic, batch, smooth
    >>> rule, rng = NodePerturbation(draws=4), torch.Generator().manual_seed(0)
    >>> rule.assign(smooth(frozenset()), Quadratic(), batch(), (), rng).cost.forwards
    9

    Reference: Widrow & Lehr 1990 (madaline rule III), Williams 1992, Fiete & Seung 2006, all recalled; losses of each
    sample, the unperturbed a, and the scale of noise are choices of ours.
    """

    draws: int = 8
    sigma: float | None = None
    antithetic: bool = True
    noise: Literal["float64", "float32"] = "float64"
    relative: bool = True

    needs: ClassVar[frozenset[str]] = frozenset()
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "input", "deterministic", "independent"})
    over_processes: ClassVar[OverProcesses] = "draws"
    claim: ClassVar[Claim] = "unbiased"

    def __post_init__(self) -> None:
        check_fields(self)
        require_draws("draws", self.draws)
        require_size("sigma", self.sigma, self.relative)
        if self.noise not in DTYPES:
            raise unknown("noise", self.noise, DTYPES)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights and biases of every nn.Linear and convolution."""
        return synaptic_parameters(model)

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return an empty state; warn of what this rule does not move."""
        warn_of_unmoved(self, model)
        return ()

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Compare outer products with autograd where that reaches the weights."""
        require_outer_products(self, model, batch)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the gradient for every weight, from losses and the inputs of each layer."""
        asking = Asking(self, plain(model), objective, batch, rng)  # hooks do not fire in compiled graphs
        nodes = Nodes(asking, self.parameters(model), self.sigma, self.relative, DTYPES[self.noise])
        numbers = seeds(self.draws, rng)
        clean, samples = nodes.clean, nodes.samples
        own = own_gradients(asking, clean)
        signs = (1.0, -1.0) if self.antithetic else (1.0,)
        shaken = Shaken(nodes)

        def differences(losses: Tensor) -> Tensor:
            alone, every = losses[0], losses[1:].view(-1, len(signs), samples)
            return (every[:, 0] - every[:, 1]) / 2 if self.antithetic else every[:, 0] - alone

        with torch.no_grad():
            loss = float(objective(clean, asking.views))  # first, so that it says what is wrong with the whole batch
            mine = numbers[rank() :: processes()]
            losses = shaken.losses([Shake(seed, sign) for seed in mine for sign in signs])
            require_mean(objective, loss, losses[0])
            found = shared(self.draws, samples, lambda _: differences(losses), f"sigma={nodes.sigma:g}")  # [draws, B]
            grads = nodes.gradients(numbers, found)
        cost = asking.cost() + nodes.cost(self.draws)
        return Credit(grads | own, state, loss, cost, clean.carry, {"probes": float(self.draws)})


def own_gradients(asking: Asking, clean: Run) -> dict[str, Tensor]:
    """Return the gradients of the objective's own parameters, by autograd on the model's output."""
    if not asking.own:
        return {}
    with torch.enable_grad():
        loss = asking.judged(clean)
        slopes = torch.autograd.grad(loss, list(asking.own.values()), allow_unused=True)
    return {name: g for name, g in zip(asking.own, slopes, strict=True) if g is not None}
