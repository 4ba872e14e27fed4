"""A credit whose errors go back through other matrices than the transposed weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Cost, Credit, CreditRule, Holding, Objective
from rules.credit.feedback.hooks import Back, Replaced
from rules.credit.feedback.kinds import KINDS, fan_out, to_inputs
from rules.credit.feedback.learning import mirror
from rules.credit.feedback.output import Sending, Sent
from rules.credit.feedback.outside import require_inside
from rules.credit.feedback.sites import Site, Sites, find, require_replaceable
from rules.errors import unknown
from rules.fields import check_fields
from rules.following import followed
from rules.models.readout import NotFound
from rules.seeds import seeded
from rules.synapses import synapses

Recurrent = Literal["replaced", "exact", "stop"]


class Held(NamedTuple):
    """The state of `Feedback`."""

    matrices: dict[str, Tensor]  # by the name of the synapse
    weights: dict[str, Tensor]  # of the last step, for kolen_pollack
    key: int  # of what is drawn in each step
    step: int
    inner: Any  # the state of the wrapped credit


@dataclass(frozen=True)
class Feedback(Holding):
    """The credit of another rule, with the weights that carry errors back replaced in one place.

        delta_x = M(delta_y)  instead of  W^T delta_y,    for every synapse y = W x + b whose input wants an error

    Everything else is the wrapped credit's: gradients of weights from the errors that arrive, surrogates, and time.
    The parameters of the last synapse get their exact gradient in every kind.

    | kind | M | learned |
    | --- | --- | --- |
    | `fa` | `B delta_y`, B fixed and random | no |
    | `usf` | `s sign(W)^T delta_y`, s the initial scale of W | follows the signs |
    | `brsf`, `frsf` | the same with random magnitudes, drawn in every step, or fixed | follows the signs |
    | `weight_mirror` | `B delta_y`, B learned from noise, `B <- (1 - decay) B + rate xi (W xi)^T` | yes |
    | `kolen_pollack` | `B delta_y`, B gets the update that W gets, and both decay | yes |
    | `dfa` | `D g`, g the error at the network's output, D fixed and random | no |
    | `sdfa` | `D sign(g) / n` | no |
    | `drtp` | `D y* / n`, y* the one-hot label; no error | no |

    with n the number of samples times that of steps, since objectives are means over both. B is drawn with the scale of
    the initial weight, root mean square, so that errors arrive with the norm that they would have through W; D as
    `rules.credit.feedback.kinds.to_inputs`. Both scales are our choice. A skip connection without weights passes errors
    on as it is.

    In kolen_pollack the update is read off the weights, `u = W[k+1] - (1 - decay) W[k]`, `B <- (1 - decay) B + u`, so
    that B follows W under any plasticity. It is local only if the plasticity shrinks weights by this `decay` in each
    update, as the recipe sets it; otherwise u contains part of W, which a synapse of the way back cannot know.

    Args:
        credit: the wrapped rule; it carries errors back by autograd, as BPTT does.
        kind: a name in `KINDS`, `fa` by default.
        recurrent: of synapses whose output returns to their input: "replaced", as all others, and by a matrix of kind
            `fa` if the kind is direct; "exact", the transposed weights, also inside of nn.LSTM and its like; "stop",
            no error. "replaced" by default, so that no weight is transported.
        decay: of weight_mirror and kolen_pollack, the share of B that is lost in a step, 0.01 by default.
        rate: of weight_mirror, 0.01 by default: where it equals `decay`, the fixed point of B is W.
        noise: of weight_mirror, samples of noise in each step, 10 by default.
        found: what a pass has shown of the model; filled in by `located`.

    Raises:
        ValueError: for an unknown kind, a number out of range, a credit that carries no error back by autograd, or
            feedback that no longer fits the model.
        UnfitModel: for a model with trainable weights on the way back that no hook can replace, such as those that are
            used outside of the call of a synapse.

    >>> from rules.credit.bptt import BPTT
    >>> net, batch = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), Batch(torch.rand(5, 2))
    >>> credit = Feedback(BPTT(), "fa").located(net, batch)
    >>> state = credit.init(net, torch.Generator().manual_seed(0))
    >>> {name: tuple(back.shape) for name, back in credit.feedback(state).items()}
    {'2.weight': (2, 3)}

    Reference: Lillicrap et al. 2016 (fa); Noekland 2016, arXiv 1609.01596 (dfa); Liao et al. 2016 and Moskovitz et al.
    2018 (signs), as in the code of BioTorch; Frenkel et al. 2021 (sdfa, drtp), from the authors' code; Akrout et al.
    2019, arXiv 1904.05391 (weight_mirror, kolen_pollack), reconstructed.
    """

    credit: CreditRule
    kind: str = "fa"
    recurrent: Recurrent = "replaced"
    decay: float = 0.01
    rate: float = 0.01
    noise: int = 10
    found: Sites | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind not in KINDS:
            raise unknown("kind", self.kind, KINDS)
        for name in ("decay", "rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a share for each step, from 0 to below 1")
        if self.noise < 1:
            raise ValueError(f"noise={self.noise}: give a number of samples, at least 1")
        name = type(self.credit).__name__
        if KINDS[self.kind].direct and self.credit.continues == "traces":
            raise ValueError(
                f"kind={self.kind!r} sends the error of a whole pass, and {name} learns before a pass has ended: use "
                'rules.Online(signal="random") for direct feedback, or a kind such as "fa"'
            )
        if not self.credit.passes_back or self.credit.over_processes != "mean":
            other = "rules.Online()" if self.credit.continues == "traces" else "rules.BPTT()"
            raise ValueError(
                f"{name} carries no error back by autograd alone, so that there is nothing to replace: "
                f"rules.Feedback({other}, {self.kind!r})"
            )

    @property
    def passes_back(self) -> bool:  # type: ignore[override]  # not through the weights, which others may replace
        return False

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # at the first step it may point anywhere
        return "none"

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return self.credit.needs | ({"labels"} if self.kind == "drtp" else set())

    def located(self, model: nn.Module, batch: Batch) -> CreditRule:
        """Return this rule with the synapses that carry errors back, around the located one."""
        held = super().located(model, batch)
        return replace(held, found=find(model, batch, KINDS[self.kind].direct))  # type: ignore[type-var]

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise UnfitModel for a model with weights on the way back that no hook can replace; ask the wrapped rule."""
        super().confirm(model, batch)
        require_replaceable(model, batch, self.recurrent == "exact")
        require_inside(model, batch, self.recurrent == "exact")

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters of the wrapped rule; raise NotFound before `located` has seen the model."""
        self._sites(model)
        return super().parameters(model)

    def init(self, model: nn.Module, rng: torch.Generator) -> Held:
        """Draw what is kept of every synapse."""
        sites, known = self._sites(model), synapses(model)
        matrices = {}
        for site in sites.sites:
            weight = cast(nn.Parameter, known[site.name].weight)
            if self._straight(site):
                matrices[site.name] = to_inputs(weight, fan_out(known[site.name]), sites.classes, site.features, rng)
            elif not site.recurrent or self.recurrent == "replaced":
                matrices[site.name] = KINDS[self.kind].start(weight, rng)
        key = int(torch.randint(2**62, (), generator=rng, device=rng.device))
        return Held(matrices, self._weights(known, matrices), key, 0, super().init(model, rng))

    def feedback(self, state: Held) -> dict[str, Tensor]:
        """Return the matrices that are shaped as weights, by the names of those; none that follow the signs."""
        straight = {site.name for site in self.found.sites if self._straight(site)} if self.found else set()
        shown = state.matrices if KINDS[self.kind].paired else {}
        return {f"{name}.weight": matrix for name, matrix in shown.items() if name not in straight}

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Held, rng: torch.Generator) -> Credit:
        """Return the wrapped rule's credit, its errors carried back as the kind says."""
        sites, kind, sent = self._sites(model), KINDS[self.kind], Sent(self.kind)
        known = self._fitting(model, state.matrices)
        own = seeded(state.key, "feedback", state.step)  # the same in every process, and where a step is repeated
        matrices = self._followed(known, state)
        backs = {}
        for site in sites.sites:
            module, back, straight = known[site.name], matrices.get(site.name), self._straight(site)
            if back is not None and not straight:
                back = kind.present(back, cast(Tensor, module.weight), own)
            backs[site.name] = Back(module, back, straight)
        kept = {site.name for site in sites.sites if site.recurrent and self.recurrent == "exact"}
        with Replaced(backs, sent, {name: part for name, part in known.items() if name not in kept}) as hooks:
            asked = Sending(objective, sent) if kind.direct else objective
            credit = self.credit.assign(model, asked, batch, state.inner, rng)
        if backs and not hooks.called:
            raise ValueError(
                f"no synapse of {type(model).__name__} was seen to be called, as in a compiled model, where errors go "
                "back through the weights: train the model inside of it, rules.Trainer(model._orig_mod, rule)"
            )
        drawn = sum(cast(Tensor, known[name].weight).numel() for name in matrices) if kind.draws else 0
        after, learning = self._mirrored(known, matrices, own)
        return credit._replace(
            state=Held(after, self._weights(known, matrices), state.key, state.step + 1, credit.state),
            cost=credit.cost + hooks.cost + sent.cost + learning + Cost(gaussian_draws=drawn),
        )

    def _sites(self, model: nn.Module) -> Sites:
        if self.found is None:
            raise NotFound(
                f"which synapses of {type(model).__name__} carry errors back is found by a pass on a batch: train with "
                "rules.Trainer, which makes one, or use credit = credit.located(model, batch)"
            )
        return self.found

    def _straight(self, site: Site) -> bool:
        """Return whether the error of the output goes straight to the input of a synapse."""
        return KINDS[self.kind].direct and not site.recurrent

    def _fitting(self, model: nn.Module, matrices: dict[str, Tensor]) -> dict[str, nn.Module]:
        """Return the synapses by name; raise ValueError for feedback that does not fit them."""
        known, straight = synapses(model), {site.name for site in self._sites(model).sites if self._straight(site)}
        for name, matrix in matrices.items():
            weight = cast(Tensor, known[name].weight) if name in known else None
            if weight is None or (name not in straight and matrix.ndim and matrix.shape != weight.shape):
                now = "the model has lost that synapse" if weight is None else f"its weight is {tuple(weight.shape)}"
                raise ValueError(
                    f"the feedback of {name!r} is {tuple(matrix.shape)}, and {now}: the model was changed after "
                    "training began. Draw new feedback by a new trainer, trainer = rules.Trainer(model, rule)"
                )
        return known

    def _weights(self, known: dict[str, nn.Module], matrices: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return copies of the weights, if their updates are to be read off in the next step."""
        names = matrices if self.kind == "kolen_pollack" else ()
        return {name: cast(Tensor, known[name].weight).detach().clone() for name in names}

    def _followed(self, known: dict[str, nn.Module], state: Held) -> dict[str, Tensor]:
        """Return the matrices of this step: in kolen_pollack after the update that the weights have had."""
        now = {name: cast(Tensor, known[name].weight).detach() for name in state.weights}
        moved = {
            name: followed(state.matrices[name], now[name], old, self.decay) for name, old in state.weights.items()
        }
        return {**state.matrices, **moved}

    def _mirrored(
        self, known: dict[str, nn.Module], matrices: dict[str, Tensor], rng: torch.Generator
    ) -> tuple[dict[str, Tensor], Cost]:
        """Return the matrices of the next step, and the cost of a mirror's phase of noise."""
        if self.kind != "weight_mirror":
            return matrices, Cost()
        cost, after = Cost(), {}
        for site in self.found.sites if self.found else ():
            if site.name in matrices:
                shape = (self.noise, self.decay, self.rate, rng)
                after[site.name], work = mirror(known[site.name], matrices[site.name], site.features, *shape)
                cost += work
        return after, cost
