"""How all states of a network depend on every weight, carried forward: exactly (RTRL), or on average (UORO)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rules.contract import Local
from rules.credit.online.size import warn_of_size
from rules.credit.online.walk import Moment, Walk, added, passed_down
from rules.sites.site import Site, placed


class Influence(Walk):
    """Real-time recurrent learning: `P[t] = J[t] P[t-1] + direct[t]`, of all states by all weights.

    Through layer after layer, with D_l the derivative of what enters cells, and Z_l of what they put out:

        D_l = W_l Z_(l-1)[t] + R_l Z_l[t-1] + pre,    Z_l = shown . (P_l, D_l),    P_l <- kept P_l + driven D_l

    Its memory is states times weights, so it is an oracle for small networks.

    Reference: Williams & Zipser 1989 (doi 10.1162/neco.1989.1.2.270), reconstructed.
    """

    steps = 1

    def learn(self, start: int, moments: list[Moment], traces: tuple[Any, ...]) -> tuple[Any, ...]:
        g = self.lost(start, moments[-1].output)[0]
        moments = [at_once(moment) for moment in moments]
        warn_of_size(moments, sum(self.sizes), traces)
        ends, below = [], None
        for number, moment in enumerate(moments):
            states, spread = traces[number] if traces else self.blank(moment)
            spread, states = self.carried(number, moment, states, spread, below)
            below = spread
            ends.append((states, spread))
        assert below is not None
        self.total = self.total + torch.einsum("bc,bcp->p", g, below.flatten(1, -2))
        return tuple(ends)

    @property
    def total(self) -> Tensor:
        """The gradient by all weights in one row."""
        return self.sums[0]

    @total.setter
    def total(self, value: Tensor) -> None:
        self.sums[0] = value

    @property
    def sizes(self) -> list[int]:
        """Number of weights of each layer."""
        return [site.weigh.weight.shape[0] * site.width() for site in self.sites]  # type: ignore[index, misc]

    def blank(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Return the derivatives before the first step: of the states `[B, k, *cells, P]`, and of the output."""
        shape = (*moment.output.shape[1:], sum(self.sizes))
        batch = len(moment.output)
        return moment.output.new_zeros(batch, len(moment.local.driven), *shape), moment.output.new_zeros(batch, *shape)

    def carried(
        self, number: int, moment: Moment, states: Tensor, spread: Tensor, below: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the derivatives of a layer's output and states after a step."""
        entering = self.direct(number, moment)
        if below is not None:
            entering = entering + passed(moment.site, below)
        if moment.site.recurrent is not None:
            entering = entering + torch.einsum("ij,bjp->bip", moment.site.recurrent.weight, spread)
        own = states.movedim(1, 0)  # [k, B, *cells, P]
        kept, driven, shown = moment.local
        output = shown[-1][..., None] * entering + (shown[:-1][..., None] * own).sum(0)
        after = (kept[..., None] * own[None]).sum(1) + driven[..., None] * entering[None]
        self.work["weight_operations"] += entering.numel() * (len(driven) + 1) ** 2
        return output, after.movedim(0, 1)

    def direct(self, number: int, moment: Moment) -> Tensor:
        """Return the derivative of what enters the cells by the layer's own weights, `[B, *cells, P]`."""
        batch, channels, places = placed(moment.output[None]).shape[1:]
        columns = moment.columns[0]
        width = columns.shape[2]
        own = moment.output.new_zeros(batch, channels, places, channels, width)
        each = torch.arange(channels)
        own[:, each, :, each] = columns[None]
        found = moment.output.new_zeros(*moment.output.shape, sum(self.sizes))
        start = sum(self.sizes[:number])
        found[..., start : start + self.sizes[number]] = own.reshape(*moment.output.shape, -1)
        return found

    def gradients(self) -> dict[str, Tensor]:
        parts = self.total.split(self.sizes)
        found = dict(self.others)
        for site, part in zip(self.sites, parts, strict=True):
            added(found, site.gradients(part.reshape(-1, site.width())))
        return found


def at_once(moment: Moment) -> Moment:
    """Return a layer in one step, without the axis of time; the graph of its currents keeps it."""
    local = Local(*(part.squeeze(part.ndim - moment.output.ndim) for part in moment.local))
    return moment._replace(local=local, output=moment.output[0])


def passed(site: Site, below: Tensor) -> Tensor:
    """Return what a change of a layer's input changes of its currents, `[B, *in, P]` to `[B, *out, P]`."""
    batch, weights = below.shape[0], below.shape[-1]
    rows = below.movedim(-1, 0).flatten(0, 1)  # [P B, *in]
    changed = site.linear(rows)
    return changed.reshape(weights, batch, *changed.shape[1:]).movedim(0, -1)


class RankOne(Influence):
    """Unbiased online recurrent optimisation: the influence as one outer product `s (x) theta`, of random signs.

        s <- rho0 J s + rho1 nu,    theta <- theta / rho0 + nu^T direct / rho1

    of each sample; `rho` balance the sizes, so that the variance stays small. Right on average over the signs nu.

    Reference: Tallec & Ollivier 2017 (arXiv 1702.05043), reconstructed.
    """

    def learn(self, start: int, moments: list[Moment], traces: tuple[Any, ...]) -> tuple[Any, ...]:
        g = self.lost(start, moments[-1].output)[0]
        moments = [at_once(moment) for moment in moments]
        own: list[tuple[Tensor, Tensor]] = list(traces[0]) if traces else [self.still(moment) for moment in moments]
        theta = traces[1] if traces else moments[0].output.new_zeros(len(g), sum(self.sizes))
        tangent = self.pushed(moments, own)
        # before the tangents are mixed: how the output of this step depends on the states before it, and on the weights
        along = torch.einsum("bc,bc->b", g, tangent[-1][1])
        nothing = [self.still(moment) for moment in moments]
        self.total = self.total + (along[:, None] * theta).sum(0) + self.pulled(moments, nothing, g).sum(0)

        signs = [tuple(self.sign(part) for part in pair) for pair in tangent]
        direct = self.pulled(moments, signs, None)
        rho0, rho1 = ratio(theta, self.row(tangent)), ratio(direct, self.row(signs))
        mixed = tuple(
            tuple(spread(rho0, a) * a + spread(rho1, b) * b for a, b in zip(pair, sign, strict=True))
            for pair, sign in zip(tangent, signs, strict=True)
        )
        return mixed, theta / rho0[:, None] + direct / rho1[:, None]

    def still(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Return no change of a layer's states `[B, k, *cells]` and output."""
        batch, *cells = moment.output.shape
        return moment.output.new_zeros(batch, len(moment.local.driven), *cells), torch.zeros_like(moment.output)

    def pushed(self, moments: list[Moment], own: Any) -> list[tuple[Tensor, Tensor]]:
        """Return the change of states and outputs after a step for one before it: the product with J."""
        found: list[tuple[Tensor, Tensor]] = []
        for moment, (states, shown) in zip(moments, own, strict=True):
            entering = torch.zeros_like(moment.output)
            if found:
                entering = entering + moment.site.linear(found[-1][1])
            if moment.site.recurrent is not None:
                entering = entering + shown @ moment.site.recurrent.weight.T
            local, before = moment.local, states.movedim(1, 0)
            output = local.shown[-1] * entering + (local.shown[:-1] * before).sum(0)
            after = (local.kept * before[None]).sum(1) + local.driven * entering[None]
            found.append((after.movedim(0, 1), output))
            self.work["weight_operations"] += entering.numel() * (len(local.driven) + 1) ** 2
        return found

    def pulled(self, moments: list[Moment], weights: Any, g: Tensor | None) -> Tensor:
        """Return the product of weights of states and outputs after a step with their derivatives by all weights."""
        rows: list[Tensor] = []
        down: Tensor | None = g
        for moment, (states, shown) in zip(reversed(moments), reversed(weights), strict=True):
            error: Tensor = shown if down is None else shown + down
            error = error * moment.local.shown[-1] + (states.movedim(1, 0) * moment.local.driven).sum(0)
            columns = moment.columns[0]
            rows.append(torch.einsum("bcl,blk->bck", placed(error[None])[0], columns).flatten(1))
            if moment is not moments[0]:
                down = passed_down(moment, error[None], again=True)[0]
            self.work["weight_operations"] += error.numel() * columns.shape[2]
        return torch.cat(rows[::-1], 1)

    def sign(self, like: Tensor) -> Tensor:
        """Return random signs."""
        drawn = torch.randint(2, like.shape, generator=self.rng, device="cpu")
        self.work["random_bits"] += like.numel()
        return (2 * drawn - 1).to(like)

    def row(self, pairs: Any) -> Tensor:
        """Return all states of a sample in one row; outputs count where cells hear them again."""
        kept: list[Tensor] = []
        for site, (states, shown) in zip(self.sites, pairs, strict=True):
            kept += [states] if site.recurrent is None else [states, shown]
        return torch.cat([part.flatten(1) for part in kept], 1)


def ratio(one: Tensor, other: Tensor) -> Tensor:
    """Return the square root of the ratio of two lengths, for each sample; 1 where one of them is 0."""
    above, below = one.norm(dim=1), other.norm(dim=1)
    usable = (above > 0) & (below > 0)
    return torch.where(usable, above / torch.where(usable, below, 1.0), 1.0).sqrt()


def spread(factor: Tensor, like: Tensor) -> Tensor:
    """Return one factor a sample with the axes of a signal."""
    return factor.reshape(-1, *[1] * (like.ndim - 1))
