"""Weights of each cell with a constant sum, within bounds: competition between the inputs of a cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, overload

import torch
from torch import Tensor, nn

from rules.contract import Cost
from rules.fields import check_fields
from rules.optional import Tissue, method_of, tissue
from rules.plasticity.eager import Eager
from rules.plasticity.projected.chosen import Entry, unnamed
from rules.plasticity.projected.inner import Inner, Recipe, moved_by
from rules.synapses import Weights


@dataclass(frozen=True)
class Normalised:
    """A plasticity that moves weights, keeps them within bounds, and scales those of each cell to a constant sum.

        w <- inner(w, g),   w <- min(max(w, low), high),   w <- w total / sum over the inputs of a cell of |w|

    The scaling may lift a weight above `high` by as much as it lifts all; the next update brings it back. A cell whose
    weights would all be 0 keeps those it had. Weights begin within the bounds, and where `low` is 0 with their absolute
    values. Weight matrices and kernels are scaled, that is parameters of two dimensions or more; dimension 0 is that of
    the cells. Recurrent weights have a sum of their own. All other parameters are moved by the inner plasticity alone.

    Args:
        total: sum of the absolute weights of a cell; None, by default, for that which each cell begins with.
        low: lower bound, 0 by default.
        high: upper bound; None, by default, for none.
        inner: moves the weights: a name in `rules.plasticity.projected.INNER`, `{"name": ..., "options": {...}}`, or
            any plasticity; SGD without momentum by default.
        lr: learning rate of the inner plasticity; None for its own, which in a configuration is that of the rule.

    Raises:
        ValueError: for a total that is not positive, bounds that leave nothing between them, and devices as the inner
            plasticity, whose weights cannot be scaled. When used, if no parameter is a matrix, and for a cell that
            begins with weights that are all 0.

    >>> p = nn.Parameter(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    >>> optimizer = Normalised(lr=1.0)([p])
    >>> p.grad = torch.tensor([[-1.0, -3.0], [4.0, 1.0]])
    >>> optimizer.step()
    >>> p.data
    tensor([[1., 3.],
            [0., 4.]])

    Reference: Goodhill & Barrow 1994 (doi 10.1162/neco.1994.6.2.255), for multiplicative normalisation, recalled; with
    STDP, Diehl & Cook 2015 (doi 10.3389/fncom.2015.00099).
    """

    total: float | None = None
    low: float = 0.0
    high: float | None = None

    _: KW_ONLY
    inner: Inner | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.total is not None and not self.total > 0:
            raise ValueError(f"total={self.total}: give the sum of the absolute weights of a cell, above 0")
        if self.high is not None and not self.low < self.high:
            raise ValueError(f"low={self.low}, high={self.high}: give a lower bound below the upper one")
        if method_of(inner := self.recipe(), "seeded") is not None:
            raise ValueError(
                f"inner={inner!r} writes to devices, which cannot be scaled: take it as the plasticity itself, whose "
                "own bounds keep the weights, or another inner plasticity, such as 'sgd'"
            )

    def recipe(self) -> Recipe:
        """Return the plasticity that moves the weights, at the learning rate given."""
        inner = {"name": "sgd", "options": {"momentum": 0.0}} if self.inner is None else self.inner
        return moved_by(inner, self.lr)

    @property
    def unrated(self) -> str | None:
        """Name of the inner plasticity if its learning rate was left open; None if it was given, or is an object's."""
        named: Any = {"name": self.inner or "sgd"} if self.inner is None or isinstance(self.inner, str) else self.inner
        open_ = self.lr is None and isinstance(named, dict) and "lr" not in named.get("options", {})
        return str(named["name"]) if open_ else None

    def __call__(self, parameters: Iterable[Any]) -> NormalisedOptimizer:
        return NormalisedOptimizer(parameters, self)

    def informed(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        factor: Callable[[int], float] | None,
        weights: Mapping[str, nn.Parameter],
    ) -> NormalisedOptimizer:
        """Return the optimizer of named parameters."""
        return NormalisedOptimizer(parameters, self, weights)


class NormalisedOptimizer(Eager, Tissue):
    """Moves weights by an inner optimizer, bounds and scales them; see `Normalised`.

    Weights are bounded and scaled when the optimizer is made, and so are those that are loaded before the first step.
    Both optimizers share their groups, so a schedule reaches the inner one. Frozen parameters stay as they are.

    Args:
        params: parameters or groups of them, each alone or as (name, parameter).
        recipe: what is done.
        weights: those that weigh signals; transposed convolutions among them have the cells in dimension 1.

    Raises:
        ValueError: as `Normalised`, and for the state of another optimizer.

    >>> import torch
    >>> NormalisedOptimizer([nn.Parameter(torch.ones(1, 2))], Normalised(total=1.0)).totals[0].tolist()
    [[1.0]]
    """

    sparse: ClassVar[bool] = True  # weights at the lower bound are what competition leaves
    _begun = False  # torch's constructor adds the groups that the inner optimizer has already

    def __init__(
        self, params: Iterable[Any], recipe: Normalised, weights: Mapping[str, nn.Parameter] | None = None
    ) -> None:
        plain, entries = unnamed([params] if isinstance(params, Tensor) else params)
        self.recipe = recipe
        self._inputs_first = weights.inputs_first if isinstance(weights, Weights) else frozenset()
        self._grouped = weights.grouped if isinstance(weights, Weights) else frozenset()
        self._known = None if weights is None else {id(p) for p in weights.values()}
        self._matrices = self._scaled(entries)
        if not self._matrices:
            raise ValueError("no parameter is a weight matrix, whose cells have sums: use another plasticity")
        self.inner = recipe.recipe()(plain)
        super().__init__(self.inner.param_groups, self.inner.defaults)
        self.param_groups = self.inner.param_groups
        self._begun = True
        self.totals = [self._begun_with(p) for p in self._matrices]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Move more parameters, and scale their matrices."""
        if not self._begun:
            super().add_param_group(param_group)
            return
        (plain,), entries = unnamed([param_group])
        self.inner.add_param_group(plain)
        more = self._scaled(entries)
        self._matrices += more
        self.totals += [self._begun_with(p) for p in more]

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move the weights, bound them, scale them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = [pair for pair in zip(self._matrices, self.totals, strict=True) if pair[0].grad is not None]
        before = [p.clone() for p, _ in moved]
        self.inner.step()
        for (p, total), kept in zip(moved, before, strict=True):
            if p.requires_grad:
                self._constrain(p, total, kept)
        return loss

    def bounds(self, p: nn.Parameter) -> tuple[Tensor, Tensor] | None:
        """Return the bounds of a weight matrix; None without an upper one, and for other parameters."""
        if self.recipe.high is None or not any(p is each for each in self._matrices):
            return None
        return p.new_tensor(self.recipe.low), p.new_tensor(self.recipe.high)

    def spent(self) -> Cost:
        """Return the cost of the inner optimizer since the last call."""
        return tissue(self.inner).spent()

    def settle(self) -> None:
        """Before the first update, take the sums of what was loaded or calibrated since."""
        if not self.state:
            self.totals = [self._begun_with(p) for p in self._matrices]
            for p, total in zip(self._matrices, self.totals, strict=True):
                self.state[p]["total"] = total

    def state_dict(self) -> dict[str, Any]:
        """Return what a bit-exact continuation needs: the sums, and the inner optimizer's state."""
        return {"inner": self.inner.state_dict(), "totals": [total.clone() for total in self.totals]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state."""
        theirs = [tuple(total.shape) for total in state_dict.get("totals", [])]
        if theirs != (mine := [tuple(total.shape) for total in self.totals]):
            raise ValueError(f"the state has sums of shapes {theirs}, and these weights have {mine}: build that one")
        self.inner.load_state_dict(state_dict["inner"])
        self.param_groups = self.inner.param_groups
        self.totals = [kept.to(total).clone() for kept, total in zip(state_dict["totals"], self.totals, strict=True)]
        for p, total in zip(self._matrices, self.totals, strict=True):
            self.state[p]["total"] = total

    def __getstate__(self) -> dict[str, Any]:
        mine = ("recipe", "inner", "totals", "_known", "_matrices", "_inputs_first", "_grouped", "_begun")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in mine}}

    def _scaled(self, entries: Iterable[Entry]) -> list[nn.Parameter]:
        """Return the parameters that are scaled: matrices and kernels, of those known to weigh signals."""
        return [p for _, p in entries if p.ndim >= 2 and (self._known is None or id(p) in self._known)]

    def _sums(self, p: nn.Parameter) -> Tensor:
        """Return the sum of the absolute weights of each cell, in a shape that divides the parameter."""
        cells = 1 if p in self._inputs_first else 0
        whole = p.detach().abs()
        if p.dtype in (torch.float16, torch.bfloat16):  # whose sums would round, or end at 65,504
            whole = whole.float()
        return whole.sum([axis for axis in range(p.ndim) if axis != cells], keepdim=True)

    @torch.no_grad()
    def _begun_with(self, p: nn.Parameter) -> Tensor:
        """Bound and scale the weights that a parameter begins with; return what its sums are to be."""
        if p.requires_grad:
            if self.recipe.low == 0:
                p.abs_()
            p.clamp_(self.recipe.low, self.recipe.high)
        if p in self._grouped:
            raise ValueError(
                f"a transposed convolution in groups has weights of shape {tuple(p.shape)}, in which the cells of all "
                "groups share an axis: use groups=1, or another plasticity"
            )
        sums = self._sums(p)
        if not bool((sums > 0).all()):
            raise ValueError(
                f"{int((sums == 0).sum())} of {sums.numel()} cells begin with weights that are all 0, and nothing can "
                "be scaled: draw the weights"
            )
        total = sums if self.recipe.total is None else torch.full_like(sums, self.recipe.total)
        inputs, low, high = p.numel() // sums.numel(), self.recipe.low, self.recipe.high
        least, most = inputs * max(low, 0.0), math.inf if high is None else inputs * max(high, -low)
        if self.recipe.total is not None and not least <= self.recipe.total <= most:
            raise ValueError(
                f"total={self.recipe.total:g} with {inputs} weights between {low:g} and "
                f"{math.inf if high is None else high:g} for each cell, which sum up to {least:g} to {most:g}: give a "
                "total within"
            )
        if p.requires_grad:
            self._constrain(p, total, p.clone())
        return total

    def _constrain(self, p: nn.Parameter, total: Tensor, kept: Tensor) -> None:
        """Bound the weights, and scale them to their sums; a cell whose weights would all be 0 has those of `kept`."""
        p.clamp_(self.recipe.low, self.recipe.high)
        now = self._sums(p)
        rounding = 2 * torch.finfo(p.dtype).eps + ROUNDING * torch.finfo(now.dtype).eps  # of weights, and of their sum
        off = (now - total).abs() > rounding * total  # others have their sum already
        tiny = now <= total * torch.finfo(now.dtype).tiny ** 0.5  # whose scale would be out of range
        p.copy_(torch.where(tiny, kept, torch.where(off, p * (total / now), p)))  # in the type of p


ROUNDING = 64  # of a sum, in units of the last place: for as many as some thousand weights
