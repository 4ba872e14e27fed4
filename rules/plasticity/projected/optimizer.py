"""An optimizer whose latent weights learn, and whose parameters show a projection of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, overload

import torch
from torch import Tensor, nn

from rules.contract import Cost
from rules.optional import Tissue, method_of, tissue
from rules.plasticity.eager import Eager
from rules.plasticity.projected.chosen import chosen, unnamed
from rules.plasticity.projected.inner import Recipe
from rules.plasticity.projected.projection import Factor, Projection, Storage
from rules.plasticity.projected.written import Print, prints, written
from rules.state import copied_to
from rules.synapses import Weights


class ProjectedOptimizer(Eager, Tissue):
    r"""Moves latent weights by an inner optimizer and shows a projection of them.

    .. math::
        g = \frac{\partial L}{\partial w}\Big|_{w_t}, \qquad
        \theta_{t+1} = \text{inner}(\theta_t,\, \text{pull}(g, \theta_t)), \qquad
        w_{t+1} = \text{show}(\theta_{t+1})

    `p.data` always holds the shown weights w, so that any credit differentiates what the model computes with. Weights
    that are loaded or calibrated before the first update become the latent ones; later they are refused. Momentum and
    weight decay of the inner optimizer act on the latent weights. Both optimizers share their groups, so a schedule
    reaches the inner one. A frozen parameter, `requires_grad_(False)`, stays as it is shown.

    Args:
        params: parameters or groups of them, each alone or as (name, parameter).
        projection: what is shown.
        inner: the plasticity of the latent weights, and of the parameters that are not projected.
        ends: whether the first and the last weight matrix are projected too, True by default.
        keep: names, or patterns as in `fnmatch`, of parameters that stay as they are; none by default.
        factor: planned factor of the learning rate at each update; None where no plan is known.
        weights: those that weigh signals, in the order of the model; None for all of two dimensions or more. Of
            `rules.synapses.Weights`, projections see those of transposed convolutions with the outputs first.

    Attributes:
        inner: the optimizer that the inner plasticity has made.

    Raises:
        ValueError: if nothing is left to project, for a pattern to keep that matches nothing, or a state of another
            projection. In a step, if somebody else has written to projected weights since the last one.

    >>> from rules.plasticity import SGD, Sign
    >>> p = nn.Parameter(torch.tensor([[0.3, -0.1]]))
    >>> optimizer = ProjectedOptimizer([p], Sign(), SGD(lr=1.0))
    >>> p.grad = torch.tensor([[0.5, 0.0]])
    >>> optimizer.step()
    >>> p.data, optimizer.held(p)
    (tensor([[-0.1500, -0.1500]]), tensor([[-0.2000, -0.1000]]))
    """

    _begun = False  # torch's constructor adds the groups that the inner optimizer has already

    def __init__(
        self,
        params: Iterable[Any],
        projection: Projection,
        inner: Recipe,
        ends: bool = True,
        keep: Sequence[str] = (),
        factor: Factor | None = None,
        weights: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        self.projection, self.keep, self.factor = projection, keep, factor
        self._updated = False  # whether a step was made
        self._prints: dict[nn.Parameter, Print] = {}  # of what was shown last
        self._names: dict[nn.Parameter, str] = {}
        plain, entries = unnamed([params] if isinstance(params, Tensor) else params)
        self._inputs_first = weights.inputs_first if isinstance(weights, Weights) else frozenset()
        held = chosen(entries, ends, keep, weights) if entries else []  # torch refuses an empty list below
        self._names |= {p: name for name, p in entries if name is not None}
        grouped = weights.grouped if isinstance(weights, Weights) else frozenset()
        if wrong := [self._names[p] for p in held if p in grouped]:
            raise ValueError(
                f"{wrong[0]} is that of a transposed convolution in groups, which has no axis of outputs: leave it "
                f"out, keep=({wrong[0]!r},)"
            )
        with torch.no_grad():
            for p in held:  # before the inner optimizer sees them: it may write them to devices
                self._begin(p)
        self.inner = inner(plain)
        super().__init__(self.inner.param_groups, self.inner.defaults)
        self.param_groups = self.inner.param_groups
        self._begun = True
        self._hold(held, [p.detach().clone() for p in held])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Move more parameters; those of two dimensions or more are projected, unless their name is to be kept."""
        if not self._begun:
            super().add_param_group(param_group)
            return
        (plain,), entries = unnamed([param_group])
        self._names |= {p: name for name, p in entries if name is not None}
        matrices = any(p.ndim >= 2 for _, p in entries)
        held = chosen(entries, True, self.keep) if matrices else []
        self.inner.add_param_group(plain)
        self._hold(held, [p.detach().clone() for p in held])

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Pull the gradients back, move the latent weights, show their projection."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.settle()
        self.require_shown()
        held = self._held()
        rates = [self._rate(p) for p in held]
        with self._pulled(held):
            self.inner.step()
        memories = self.projection.advance(*self._remembered(held), rates)
        for p, memory in zip(held, memories, strict=True):
            if p.requires_grad:
                self.state[p]["memory"] = memory
            self._show(p)
        self._note(held)
        return loss

    def settle(self) -> None:
        """Before the first update, take weights that somebody else has written for latent ones."""
        if self._updated or method_of(self.inner, "held") is not None or not (found := set(self._written())):
            return
        with torch.no_grad():
            for p in found:
                self._begin(p)
        held = self._held()
        self._hold(held, [p.detach().clone() if p in found else self.state[p]["latent"] for p in held])

    def require_shown(self) -> None:
        """Raise ValueError if somebody else has written to projected weights since they were shown."""
        if found := self._written():
            names = [self._names.get(p, f"a parameter of shape {tuple(p.shape)}") for p in found]
            raise ValueError(
                f"{', '.join(names[:4])}: changed by somebody else since {type(self.projection).__name__} has shown "
                "them; the latent weights behind them would undo that. Make a new Trainer, or optimizer, of the "
                "changed model"
            )

    def _written(self) -> list[nn.Parameter]:
        """Return the projected parameters that somebody else has written to."""
        held = self._held()
        return written(held, [self._prints[p] for p in held], self.shown)

    @contextmanager
    def _pulled(self, held: list[nn.Parameter]) -> Iterator[None]:
        """Put latent weights and their gradients in the place of the shown ones; a block that raises puts them back.

        Nothing is copied: the inner optimizer works on the latent weights themselves, and the gradients take the place
        of the shown weights, which are computed anew.
        """
        gradients, shown = [p.grad for p in held], [p.data for p in held]
        try:
            for p, weights in zip(held, shown, strict=True):
                state = self.state[p]
                if p.grad is not None:
                    given, latent, out = (self._turned(p, each) for each in (p.grad, state["latent"], weights))
                    pulled = self._turned(p, self.projection.pull(given, latent, state["memory"], out=out))
                    p.grad = pulled if p.requires_grad else None
                p.data = state["latent"]
            yield
            for p in held:
                self.state[p]["latent"] = p.data
        except BaseException:
            for p, weights in zip(held, shown, strict=True):
                self._project(p, self.state[p]["latent"], self.state[p]["memory"], weights)
            raise
        finally:
            for p, gradient, weights in zip(held, gradients, shown, strict=True):
                p.data, p.grad = weights, gradient

    def held(self, p: nn.Parameter) -> Tensor:
        """Return the latent weights of a parameter; of one that is not projected, what the inner optimizer holds."""
        own = method_of(self.inner, "held")
        if own is not None:
            return own(p)  # type: ignore[no-any-return]
        return self.state[p]["latent"] if p in self.state else p.detach()

    def bounds(self, p: nn.Parameter) -> tuple[Tensor, Tensor] | None:
        """Return the bounds that the inner optimizer states for the latent weights."""
        return tissue(self.inner).bounds(p)

    def shown(self, p: nn.Parameter) -> Tensor:
        """Return the projection of the latent weights of a parameter, computed anew."""
        if p not in self.state:
            return tissue(self.inner).shown(p)
        return self._project(p, self.state[p]["latent"], self.state[p]["memory"])

    def storage(self, p: nn.Parameter) -> Storage:
        """Return how the shown weights of a projected parameter can be stored."""
        return self.projection.storage(self._turned(p, self.state[p]["latent"]))

    def spent(self) -> Cost:
        """Return the cost of writing to the devices of the latent weights since the last call."""
        return tissue(self.inner).spent()

    def reading(self, model: nn.Module, generator: torch.Generator, elapsed: int = 0) -> Any:
        """Return a context with the projection of latent weights as they are read, `elapsed` steps later.

        A threshold that rises by itself, and a mask that is due, are part of what happens in these steps.
        """
        if not elapsed and method_of(self.inner, "reading") is None:
            return nullcontext()
        return self._read(model, generator, elapsed)

    @contextmanager
    def _read(self, model: nn.Module, generator: torch.Generator, elapsed: int) -> Iterator[None]:
        held = self._held()
        memories, latents = self._remembered(held)
        for _ in range(elapsed):
            memories = self.projection.advance(memories, latents, [self._rate(p) for p in held])
        with ExitStack() as after:
            for p in held:
                after.callback(setattr, p, "data", p.data)
                p.data = self.state[p]["latent"]
            after.enter_context(tissue(self.inner).reading(model, generator, elapsed))
            for p, memory in zip(held, memories, strict=True):
                p.data = self._project(p, p.data, memory)
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return what a bit-exact continuation needs: latent weights, memories, and the inner optimizer's state."""
        kept: dict[str, Any] = super().state_dict()
        return {**kept, "inner": self.inner.state_dict(), "projection": type(self.projection).__name__}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state; parameters become the projection of its latent weights."""
        found, wanted = state_dict.get("projection"), type(self.projection).__name__
        if found != wanted:
            raise ValueError(f"the state is of {found or 'another optimizer'}, and this is {wanted}: build that one")
        self._require_fitting(state_dict)
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        self.inner.load_state_dict(state_dict["inner"])
        self.param_groups = self.inner.param_groups
        for p, i in self._numbers(state_dict):
            # torch casts what it loads to the parameter's dtype; masks must stay masks
            self.state[p] = copied_to(state_dict["state"][i], p.device)
            self._show(p)
        self._note(self._held())

    def __getstate__(self) -> dict[str, Any]:
        mine = ("projection", "keep", "factor", "inner", "_begun", "_updated", "_prints", "_names", "_inputs_first")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in mine}}

    def _hold(self, held: list[nn.Parameter], latents: list[Tensor]) -> None:
        """Begin with these latent weights, and show their projection."""
        turned = [self._turned(p, latent) for p, latent in zip(held, latents, strict=True)]
        memories = self.projection.init(turned, [self._rate(p) for p in held], self.factor)
        for p, latent, memory in zip(held, latents, memories, strict=True):
            self.state[p] = {"latent": latent, "memory": memory}
            self._show(p)
        self._note(held, updated=self._updated)

    def _note(self, held: list[nn.Parameter], updated: bool = True) -> None:
        """Note what was shown, so that other values can be told from it."""
        self._prints |= dict(zip(held, prints(held), strict=True))
        self._updated = updated

    @torch.no_grad()
    def _show(self, p: nn.Parameter) -> None:
        state = self.state[p]
        self._project(p, state["latent"], state["memory"], p.data)

    def _begin(self, p: nn.Parameter) -> None:
        """Write what is to be latent behind the present weights in their place."""
        p.copy_(self._turned(p, self.projection.latent(self._turned(p, p.detach()))))

    def _project(self, p: nn.Parameter, latent: Tensor, memory: Any, out: Tensor | None = None) -> Tensor:
        """Return the projection of latent weights, in `out` if that is given."""
        place = None if out is None else self._turned(p, out)
        return self._turned(p, self.projection.show(self._turned(p, latent), memory, out=place))

    def _turned(self, p: nn.Parameter, values: Tensor) -> Tensor:
        """Return values of a parameter with the outputs first, or back again."""
        return values.transpose(0, 1) if p in self._inputs_first else values

    def _held(self) -> list[nn.Parameter]:
        """Return the projected parameters in the order of groups."""
        return [p for group in self.param_groups for p in group["params"] if p in self.state]

    def _remembered(self, held: list[nn.Parameter]) -> tuple[list[dict[str, Any]], list[Tensor]]:
        latents = [self._turned(p, self.state[p]["latent"]) for p in held]
        return [self.state[p]["memory"] for p in held], latents

    def _rate(self, p: nn.Parameter) -> float:
        return float(next(group["lr"] for group in self.param_groups if any(p is q for q in group["params"])))

    def _numbers(self, state_dict: dict[str, Any]) -> list[tuple[nn.Parameter, int]]:
        """Return the projected parameters with their numbers in a state."""
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        everything = [p for group in self.param_groups for p in group["params"]]
        return [(p, i) for p, i in zip(everything, numbers, strict=False) if p in self.state]

    def _require_fitting(self, state_dict: dict[str, Any]) -> None:
        """Raise ValueError for a state of other parameters."""
        mine = {i: tuple(p.shape) for p, i in self._numbers(state_dict)}
        theirs = {i: tuple(state["latent"].shape) for i, state in state_dict["state"].items()}
        if mine != theirs:
            raise ValueError(
                f"the state projects parameters of these numbers and shapes: {theirs}; this optimizer: {mine}; build "
                "it with the sizes, `ends` and `keep` of the state"
            )
