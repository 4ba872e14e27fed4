"""Difference target propagation: every layer gets a target, by learned inverses of the layers above it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective, OverProcesses
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import Chain, chain_of, judge, links_of, products, refuse_inside


class Inverses(NamedTuple):
    """The state of `TargetPropagation`: one inverse for each layer but the first, from the second one on."""

    matrices: tuple[Tensor, ...]  # V of layer l + 1, [units of l, units of l + 1]
    offsets: tuple[Tensor, ...]  # c, [units of l]


@dataclass(frozen=True)
class TargetPropagation(CreditRule):
    """Difference target propagation in a chain of dense layers.

        t_L = h_L - beta n dloss/dh_L,    t_l = h_l + g_{l+1}(t_{l+1}) - g_{l+1}(h_{l+1})
        credit of W_l = ((h_l - t_l) f'_l) h_{l-1}^T / (beta n)
        g_{l+1}(u) = f_l(V u + c),    V and c learn to give h_l + xi back from f_{l+1}(W_{l+1} (h_l + xi) + b_{l+1})

    with n the number of rows, samples times steps, so that a sample gets the same target in any batch. xi is normal
    noise of `noise` times the root mean square of h_l. V and c take one step a batch down the squared error, after the
    credit, of `rate / (1 + mean |u|^2)`, so that it is stable for signals of any size where f' <= 1 (our choice).

    The parameters of the last layer get their exact gradient. In a linear square network with exact inverses, hidden
    layers get `J^{-1}` of the output's error, a step of Gauss-Newton; with V the transposed weights they get the
    gradient. What the inverses are worth before they have learned is not claimed. Processes of a team each take the
    whole batch, so that their inverses stay alike.

    Args:
        beta: distance of the output's target, 0.1 by default.
        rate: of the inverses, 0.1 by default.
        noise: in units of a layer's root mean square, 0.1 by default.

    Raises:
        ValueError: for a number out of range, an objective of hidden layers, a model without a chain of dense layers,
            and inverses that no longer fit the model.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    >>> TargetPropagation().init(net, torch.Generator().manual_seed(0)).matrices[0].shape
    torch.Size([3, 2])

    Reference: Lee et al. 2015, Difference target propagation (arXiv 1412.7525), reconstructed.
    """

    beta: float = 0.1
    rate: float = 0.1
    noise: float = 0.1

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain"})
    claim: ClassVar[Claim] = "none"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic"})
    over_processes: ClassVar[OverProcesses] = "draws"  # noise of one batch, the same in every process

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.beta > 0:
            raise ValueError(f"beta={self.beta}: give a number above 0")
        for name, most in (("rate", 1.0), ("noise", math.inf)):
            if not 0 <= getattr(self, name) <= most:
                limit = f"from 0 to {most:g}" if most < math.inf else "of at least 0"
                raise ValueError(f"{name}={getattr(self, name)}: give a number {limit}")

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("TargetPropagation", objective)

    def init(self, model: nn.Module, rng: torch.Generator) -> Inverses:
        """Draw inverses with the variance of 1 over the units that they read, and offsets of 0."""
        upper = [link.weight for link in links_of(model, "TargetPropagation").links[1:]]
        drawn = [torch.randn(w.T.shape, generator=rng, device=rng.device).to(w) / w.shape[0] ** 0.5 for w in upper]
        return Inverses(tuple(drawn), tuple(w.new_zeros(w.shape[1]) for w in upper))

    def assign(
        self, model: nn.Module, objective: Objective, batch: Batch, state: Inverses, rng: torch.Generator
    ) -> Credit:
        """Return the credit of one batch, and the inverses after a step of theirs."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "TargetPropagation", seen)
            require_fitting(chain, state)
            pre, out, slopes = [x], list[Tensor](), list[Tensor]()
            for link in chain.links:
                h, slope = link.sloped(link.linear(pre[-1]))
                out, slopes, pre = [*out, h], [*slopes, slope], [*pre, h]
            judged = judge(objective, out[-1], lead, seen)
            away = [self.beta * len(x) * judged.error]  # h - t, from the last layer down
            for number in reversed(range(len(chain.links) - 1)):
                above, v = out[number + 1], state.matrices[number]
                back = [self._inverted(chain, state, number, u)[0] for u in (above, above - away[0])]
                meter.add(error_operations=2 * len(x) * v.numel())
                away = [back[0] - back[1], *away]
            scale = self.beta * len(x)
            deltas = [each * slope / scale for each, slope in zip(away, slopes, strict=True)]
            grads = products(model, list(zip(chain.links, deltas, pre[:-1], strict=True)), meter)
            after = self._learned(chain, state, out, rng, meter)
        return Credit({**grads, **judged.own}, after, judged.loss, meter.cost(forwards=1, backwards=0))

    def _inverted(self, chain: Chain, state: Inverses, number: int, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return `g_{l+1}(u)` for layer number l from 0, and its slope at `V u + c`."""
        return chain.links[number].sloped(u @ state.matrices[number].to(u).T + state.offsets[number].to(u))

    def _learned(
        self, chain: Chain, state: Inverses, out: list[Tensor], rng: torch.Generator, meter: Meter
    ) -> Inverses:
        """Return the inverses after a step towards the noisy activities that caused what they see."""
        if not self.rate:
            return state
        matrices, offsets = list(state.matrices), list(state.offsets)
        for number, link in enumerate(chain.links[1:]):
            h, v = out[number], matrices[number]
            xi = torch.randn(h.shape, generator=rng, device=rng.device).to(h)
            wanted = h + self.noise * h.square().mean().sqrt() * xi
            u = link.fire(link.linear(wanted))
            back, slope = self._inverted(chain, state, number, u)
            delta = (back - wanted) * slope / len(h)
            step = self.rate / (1 + u.square().sum(1).mean())
            matrices[number], offsets[number] = v - step * delta.T @ u, offsets[number] - step * delta.sum(0)
            size = len(h) * v.numel()
            meter.add(layer_evaluations=1, error_operations=size, weight_operations=size, gaussian_draws=h.numel())
        return Inverses(tuple(matrices), tuple(offsets))


def require_fitting(chain: Chain, state: Inverses) -> None:
    """Raise ValueError for inverses of other layers than those of the model."""
    wanted = [tuple(link.weight.T.shape) for link in chain.links[1:]]
    found = [tuple(v.shape) for v in state.matrices]
    if found != wanted:
        raise ValueError(
            f"the inverses of TargetPropagation are {found}, and the model now wants {wanted}: draw new ones by a new "
            "trainer, trainer = rules.Trainer(model, rule)"
        )
