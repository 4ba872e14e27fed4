"""The layers of cells that a local rule works on: what enters each weight, and where its gradient belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AvgPoolNd

from rules.contract import Local
from rules.forward import leaves, map_tensors
from rules.local import differentiated
from rules.models.admission import UnfitModel
from rules.optional import CellLayer, cells_of, layers_of, plain
from rules.synapses import Patterned, is_synapse, transposed

LINEAR = (nn.Flatten, nn.Identity, _AvgPoolNd)  # what may stand beside the weight of a synapse


class Site(NamedTuple):
    """A layer of cells: the modules in front of its weight, the weight, those behind it, and its cells."""

    name: str  # of the layer in the model
    layer: CellLayer
    before: tuple[nn.Module, ...]
    weigh: nn.Module
    behind: tuple[nn.Module, ...]
    names: dict[int, str]  # of the parameters in the model, by identity

    @property
    def recurrent(self) -> nn.Linear | None:
        """The weights from the cells to themselves."""
        return cast("nn.Linear | None", self.layer.cells.recurrent)

    @property
    def ones(self) -> bool:
        """Whether there is a bias, of the synapse or of the recurrent weights, which always receives 1."""
        return biased(self.weigh) or (self.recurrent is not None and biased(self.recurrent))

    def rest(self, currents: Tensor) -> tuple[Any, Tensor | None]:
        """Return the carry before the first step, for currents `[B, *out]`."""
        carry: tuple[Any, Tensor | None] = self.layer.cells.rest(currents[None])  # type: ignore[operator]
        return carry

    def run(self, currents: Tensor, carry: Any, heard: bool = True) -> tuple[Tensor, Any, Local]:
        """Run the cells over currents `[T, B, *out]` of the synapse; without `heard` they do not hear each other.

        Returns: The output, the carry, and their derivatives, in which T and B are axes of their own.
        """
        cells: Any = self.layer.cells
        found = cells.linearised(currents, carry) if heard and hasattr(cells, "linearised") else None
        if found is not None:
            known: tuple[Tensor, Any, Local] = found
            return known
        state, shown = carry
        states, totals, outputs = [], [], []
        for current in currents.unbind(0):
            if heard and self.recurrent is not None:
                current = current + self.recurrent(shown)
            states.append(state)
            totals.append(current)
            output, state = cells.advance(current, state)
            outputs.append(output)
            shown = None if shown is None else output
        local = self.derivatives(torch.stack(totals), states)
        return torch.stack(outputs), (state, shown), local

    def derivatives(self, totals: Tensor, states: list[Any]) -> Local:
        """Return the derivatives of all steps; of all at once where each part of the state has one entry a cell."""
        if all(part.shape == totals.shape[1:] for part in leaves(states[0])):
            parts = [leaves(state) for state in states]
            rows = iter([torch.cat(column) for column in zip(*parts, strict=True)])
            return self.at_once(totals, map_tensors(lambda part: next(rows), states[0]))
        found = [self.local(current, state) for current, state in zip(totals, states, strict=True)]
        axes = [part.ndim - totals.ndim + 1 for part in found[0]]
        return Local(*(torch.stack(column, axis) for column, axis in zip(zip(*found, strict=True), axes, strict=True)))

    def at_once(self, totals: Tensor, states: Any) -> Local:
        """Return the derivatives for currents `[T, B, *out]` and the states `[T B, *out]` before each step."""
        local, cut = self.local(totals.flatten(0, 1), states), totals.shape[:2]
        return Local(*(part.unflatten(part.ndim - totals.ndim + 1, cut) for part in local))

    def local(self, currents: Tensor, states: Any) -> Local:
        """Return the derivatives of one step of all cells."""
        cells: Any = self.layer.cells
        advance = getattr(cells, "advance_all", cells.advance)

        def step(current: Tensor, values: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            output, after = advance(current, cells.packed(states, values))
            return output, cells.unpacked(after)

        return differentiated(step, currents, cells.unpacked(states))

    def columns(self, x: Tensor, *heard: Tensor) -> Tensor:
        """Return what enters each weight, `[T, B, L, K]`: L places that share the weights, K weights of one cell.

        The last entries belong to the bias, which always receives 1, and to the recurrent weights, which receive
        `heard`, tensors of consecutive steps.
        """
        steps, x = x.shape[:2], x.flatten(0, 1)
        for module in self.before:
            x = module(x)
        if isinstance(self.weigh, _ConvNd):
            one = self.weigh.weight
            each = torch.eye(one[0].numel(), dtype=x.dtype, device=x.device).view(-1, *one.shape[1:])
            x = self.weigh._conv_forward(x, each, None)  # patches, one channel an entry
        if x.ndim == 2 and not self.behind:
            return dense(x.unflatten(0, steps), self.ones, heard)
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1) if self.ones else x
        for module in self.behind:
            x = module(x)
        found = x[:, None] if x.ndim == 2 else x.flatten(2).transpose(1, 2)
        found = found.unflatten(0, steps)
        return torch.cat([found, torch.cat(heard)[:, :, None]], 3) if heard else found

    def linear(self, change: Tensor) -> Tensor:
        """Return what a change of the input changes of the currents, `[B, *in]` to `[B, *out]`, without the bias."""
        for module in self.before:
            change = module(change)
        weight = cast("Tensor", self.weigh.weight)
        if isinstance(self.weigh, _ConvNd):
            change = self.weigh._conv_forward(change, weight, None)
        else:
            change = nn.functional.linear(change, weight)
        for module in self.behind:
            change = module(change)
        return change

    def width(self) -> int:
        """Return the number of weights of one cell, K in `columns`."""
        weight = cast("Tensor", self.weigh.weight)
        recurrent = 0 if self.recurrent is None else self.recurrent.weight.shape[1]
        return weight[0].numel() + self.ones + recurrent

    def gradients(self, matrix: Tensor) -> dict[str, Tensor]:
        """Return the gradients of the trainable parameters, by name, from one of `[C, K]`, in the order of columns."""
        weight, recurrent = cast("Tensor", self.weigh.weight), self.recurrent
        widths = [weight[0].numel(), int(self.ones), 0 if recurrent is None else recurrent.weight.shape[1]]
        own, bias, back = matrix.split(widths, 1)
        found = [(weight, own), (self.weigh.bias, bias)]
        found += [] if recurrent is None else [(recurrent.weight, back), (recurrent.bias, bias)]
        held = [(p, g) for p, g in found if isinstance(p, Tensor) and p.requires_grad]
        return {self.names[id(p)]: g.reshape(p.shape) for p, g in held}

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters of the synapse and the recurrent weights, by name."""
        modules = [self.weigh, *([] if self.recurrent is None else [self.recurrent])]
        return {self.names[id(p)]: p for module in modules for p in module.parameters() if p.requires_grad}


def dense(x: Tensor, bias: bool, heard: Sequence[Tensor]) -> Tensor:
    """Return `[T, B, 1, K]`: an input `[T, B, N]`, 1 for a bias, and what consecutive steps `heard`."""
    if not bias and not heard:
        return x[:, :, None]
    n = x.shape[2]
    found = x.new_empty(*x.shape[:2], n + bias + (heard[0].shape[-1] if heard else 0))
    found[..., :n] = x
    if bias:
        found[..., n] = 1
    start = 0
    for part in heard:
        found[start : start + len(part), :, n + bias :] = part
        start += len(part)
    return found[:, :, None]


def biased(module: nn.Module) -> bool:
    """Return whether a synapse has a bias."""
    return getattr(module, "bias", None) is not None


def placed(x: Tensor) -> Tensor:
    """Return a signal of cells `[T, B, *out]` as `[T, B, C, L]`.

    >>> placed(torch.zeros(5, 2, 3)).shape, placed(torch.zeros(5, 2, 3, 4, 4)).shape
    (torch.Size([5, 2, 3, 1]), torch.Size([5, 2, 3, 16]))
    """
    return x[..., None] if x.ndim == 3 else x.flatten(3)


def sites(model: nn.Module) -> list[Site]:
    """Return the layers of cells of a model, first to last.

    Raises:
        UnfitModel: for a layer that is not one linear synapse and cells, with what it has and what to use.
    """
    inner = plain(model)
    names = {id(p): name for name, p in inner.named_parameters()}
    places = {id(module): name for name, module in inner.named_modules()}
    found: list[Site] = []
    layers = layers_of(inner)
    if not layers:
        raise UnfitModel(
            f"{type(inner).__name__} shows no layers, whose cells have the traces: give it `layers`, or build the "
            "model with sandbox.build; rules.make('bptt') needs none"
        )
    for number, layer in enumerate(layers):
        cells = cells_of(layer)
        name = places.get(id(layer), f"layers.{number}")
        if cells is None or not all(hasattr(cells.cells, part) for part in CELLS):
            raise UnfitModel(
                f"{name} of {type(inner).__name__} does not say what its cells do in a step: give its `cells` the "
                f"attributes {', '.join(CELLS)} (rules.optional.Cells), or build the model with sandbox.build; "
                "rules.make('bptt') needs none of them"
            )
        found.append(Site(name, cells, *split(cells.synapse, name), names))
        require_own(found[-1])
    return found


def require_own(site: Site) -> None:
    """Raise UnfitModel for weights that are no parameters of the model, or recurrent ones that are no matrix."""
    recurrent: Any = site.layer.cells.recurrent
    if recurrent is not None and not isinstance(recurrent, nn.Linear):
        raise UnfitModel(
            f"the cells of {site.name} hear each other through a {type(recurrent).__name__}, and a trace belongs to "
            "one weight: use nn.Linear(n, n, bias=False), or rules.make('bptt')"
        )
    for module in (site.weigh, recurrent):
        if module is not None and id(module.weight) not in site.names:
            raise UnfitModel(
                f"a weight of {site.name} is computed from other parameters, as by weight_norm or pruning, and a trace "
                "belongs to one weight: make it a parameter again with "
                "torch.nn.utils.parametrize.remove_parametrizations or torch.nn.utils.prune.remove, or use "
                "rules.make('bptt')"
            )


CELLS = ("recurrent", "rest", "advance", "unpacked", "packed")


def split(synapse: nn.Module, name: str) -> tuple[tuple[nn.Module, ...], nn.Module, tuple[nn.Module, ...]]:
    """Return the modules of a synapse before its weight, the weight, and those behind it."""
    parts = [*parts_of(synapse)]
    weighed = [number for number, part in enumerate(parts) if is_synapse(part)]
    odd = [part for part in parts if isinstance(part, Patterned) or not (is_synapse(part) or isinstance(part, LINEAR))]
    if len(weighed) != 1 or odd:
        what = f"{type(odd[0]).__name__}" if odd else f"{len(weighed)} weights"
        raise UnfitModel(
            f"the synapse of {name} has {what}, and a trace is what entered one weight, added up: leave nothing beside "
            "an nn.Linear or a convolution but nn.Flatten and nn.AvgPool2d, as in hidden=('16c5p2', 100); "
            "or use rules.make('bptt')"
        )
    at = weighed[0]
    weigh = parts[at]
    if transposed(weigh) or getattr(weigh, "groups", 1) != 1:
        raise UnfitModel(
            f"the synapse of {name} is a {'transposed' if transposed(weigh) else 'grouped'} convolution, whose traces "
            "are not known here: use one with groups=1, or rules.make('bptt')"
        )
    return tuple(parts[:at]), weigh, tuple(parts[at + 1 :])


def parts_of(synapse: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that a synapse runs one after the other."""
    if isinstance(synapse, nn.Sequential):
        for part in synapse:
            yield from parts_of(part)
    else:
        yield synapse


def weighing(places: Sequence[Site]) -> list[str]:
    """Return the names of the layers that have weights."""
    return [site.name for site in places if site.parameters()]
