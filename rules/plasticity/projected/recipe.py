"""Latent weights that learn and projected ones that are shown: the base class of their recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, TypeVar

from torch import nn

from rules.fields import at_least, check_fields
from rules.optional import method_of
from rules.plasticity.projected.inner import Inner, Recipe, moved_by
from rules.plasticity.projected.optimizer import ProjectedOptimizer
from rules.plasticity.projected.projection import Factor, Projection

Own = TypeVar("Own", bound="Projected")


@dataclass(frozen=True)
class Projected(Projection):
    """A plasticity that moves latent weights and shows a projection of them; builds a `ProjectedOptimizer`.

    Inherit from it, define `show`, and what else applies. Weight matrices and kernels are projected, that is parameters
    of two dimensions or more that the Trainer names as weights, without learned constants of cells. Dimension 0 is that
    of the outputs; the Trainer turns transposed convolutions, where it is that of the inputs.

    Args:
        inner: moves the latent weights: a name in `rules.plasticity.projected.INNER`, `{"name": ..., "options":
            {...}}`, or any plasticity; None for `usual`, that of the class.
        lr: learning rate of the inner plasticity; None for its own, which in a configuration is that of the rule.
        ends: whether the first and the last weight matrix are projected too; None for `with_ends`, that of the class.
        keep: names, or patterns as in `fnmatch`, of parameters that stay as they are.

    Raises:
        ValueError: for an unknown inner plasticity or option, and for a negative rate. When used, if nothing is left to
            project, for a pattern that matches nothing, and for patterns where parameters have no names.
    """

    usual: ClassVar[Inner] = "adam"
    with_ends: ClassVar[bool] = True
    prunes: ClassVar[bool] = False  # whether some weights are shown as 0

    _: KW_ONLY
    inner: Inner | None = None
    lr: float | None = None
    ends: bool | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "lr")
        inner = self.recipe()
        if isinstance(inner, Projected) and inner.prunes and not self.prunes:
            raise ValueError(
                f"inner={self.inner!r} prunes weights, and {type(self).__name__} shows no zeros: put it outside, as in "
                "Magnitude(0.9, inner=Levels(bits=4))"
            )
        self.check()

    def check(self) -> None:
        """Raise ValueError for settings that do not fit together; nothing by default."""

    def recipe(self) -> Recipe:
        """Return the plasticity of the latent weights, at the learning rate given."""
        return moved_by(self.usual if self.inner is None else self.inner, self.lr)

    @property
    def unrated(self) -> str | None:
        """Name of the inner plasticity if its learning rate was left open; None if it was given, or is an object's."""
        inner = self.usual if self.inner is None else self.inner
        named: Any = {"name": inner} if isinstance(inner, str) else inner
        open_ = self.lr is None and isinstance(named, dict) and "lr" not in named.get("options", {})
        return str(named["name"]) if open_ else None

    def seeded(self: Own, seed: int) -> Own:
        """Return a copy whose inner plasticity has this seed, if it draws random numbers."""
        inner = self.recipe()
        follow = method_of(inner, "seeded")
        return self if follow is None else replace(self, inner=follow(seed), lr=None)

    def __call__(self, parameters: Iterable[Any]) -> ProjectedOptimizer:
        return self._made(parameters, None)

    def informed(
        self, parameters: Iterable[tuple[str, nn.Parameter]], factor: Factor | None, weights: Mapping[str, nn.Parameter]
    ) -> ProjectedOptimizer:
        """Return the optimizer of named parameters, for a planned schedule of the learning rate."""
        return self._made(parameters, factor, weights)

    def _made(
        self, parameters: Iterable[Any], factor: Factor | None, weights: Mapping[str, nn.Parameter] | None = None
    ) -> ProjectedOptimizer:
        ends = self.with_ends if self.ends is None else self.ends
        return ProjectedOptimizer(parameters, self, self.recipe(), ends, self.keep, factor, weights)
