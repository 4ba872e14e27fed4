"""Losses of copies of a model that each differ in one weight, from the one unit that such a weight changes.

Behind the weight `W[i, j]` of a layer only unit i gets another input, `z_i + d x_j`. Where units do not meet before the
next weight V, one pass over all units finds what each of them puts out, for as many weights as there are units: with
the change `a'_i - a_i`, the next layer gives `V a + (a'_i - a_i) V[:, i]`. What follows is run for those samples alone
in which unit i has put out something else; all others keep their loss.

Losses are those of whole passes, up to rounding. A chain of layers is asked for, whose samples and units do not meet:
the unperturbed batch is part of every pass, and must give what it gave. Where a model is something else, or cannot be
taken apart, `OneUnit.of` returns None or `Meeting` is raised, and whole passes are made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from rules.contract import Batch, Cost, MissingNeed, Run
from rules.credit.zero_order.flat.alone import AXES
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.flat.chunks import Chunk
from rules.credit.zero_order.layered.admission import shaped
from rules.credit.zero_order.layered.recorded import Recorded, called
from rules.credit.zero_order.layered.stages import Block, Cells, Plain, stages
from rules.credit.zero_order.products import only_weighs, owner, unhooked
from rules.credit.zero_order.sharing import generator
from rules.metering import compiled
from rules.spikes.surrogate import Differentiation, differentiating

# bytes of copies at a time on a CPU: passes take a while to begin, so that a few large ones are faster
TOGETHER = 2**25
ROUNDING = 64  # units of rounding between sums in another order, in the norm: rather whole passes than a wrong number


class Meeting(Exception):
    """Units or samples have changed each other, or numbers that should stay."""


class Way(NamedTuple):
    """The layer of a parameter in a chain."""

    weigh: int  # the step of its weight
    onward: int  # the step of the next one, or the end of the chain
    weight: bool  # whether the parameter is the weight, and not the bias


class OneUnit:
    """The changes of the loss along single weights, in the layers of a chain.

    Args:
        asking: the evaluations of the step.
        made: a recorded pass.
        ways: the parameters that are looked at.
        alone: the loss of every sample in this pass, `[B]`.
        once: the cost of one whole pass.
    """

    def __init__(self, asking: Asking, made: Recorded, ways: dict[str, Way], alone: Tensor, once: Cost) -> None:
        self.asking, self.made, self.ways, self.alone, self.once = asking, made, ways, alone, once
        self.layers = sum(step.weighted for step in made.chain.steps)
        self.done = Fraction(self.layers)  # layer evaluations, of the recorded pass

    @classmethod
    def of(cls, asking: Asking, clean: Run, loss: float, once: Cost) -> OneUnit | None:
        """Return the changes of an unperturbed run with this loss and cost; None where only whole passes are right."""
        alone = losses_of(asking, clean, loss)
        made = None if alone is None else recorded(asking, clean)
        if alone is None or made is None:
            return None
        ways = {}
        with torch.no_grad(), passing(asking):
            for name, way in layers(asking, made).items():
                if not any(isinstance(s, Cells) for s in made.chain.steps[way.weigh : way.onward]) or apart(made, way):
                    ways[name] = way
        return cls(asking, made, ways, alone, once) if ways else None

    def divided(self, chunks: Sequence[Chunk], memory: float) -> Iterator[Chunk]:
        """Yield chunks of these parameters as whole columns whose copies fit into memory, and others as they are."""
        yield from (chunk for chunk in chunks if chunk.name not in self.ways)
        for name, way in self.ways.items():
            z = self.made.timed(way.weigh + 1)
            one = 5 * z.numel() * z.element_size()  # of both signs: currents, outputs, and where they differ
            bound = min(memory, TOGETHER) if z.device.type == "cpu" else memory
            places = torch.cat([torch.empty(0, dtype=torch.int64), *(c.places for c in chunks if c.name == name)])
            columns = self.columns(way, places)
            for some in columns.unique().split(max(1, int(bound // one))) if len(places) else ():
                yield Chunk(name, places[torch.isin(columns, some)])

    def columns(self, way: Way, places: Tensor) -> Tensor:
        """Return the number of the input of each place; 0 for a bias."""
        return places % self.made.timed(way.weigh).shape[2] if way.weight else torch.zeros_like(places)

    def changes(self, chunk: Chunk, steps: Tensor) -> Tensor:
        """Return the change of the loss, in float64, for steps `[signs, places]` of the weights of a chunk.

        Raises Meeting where the unperturbed batch among the copies gives something else than before.
        """
        way, made, places = self.ways[chunk.name], self.made, chunk.places.to(self.alone.device)
        signs, z, length = len(steps), made.timed(way.weigh + 1), len(made.chain.steps)
        used, slot = self.columns(way, places).unique(return_inverse=True)
        units = places // made.timed(way.weigh).shape[2] if way.weight else places
        moved = z.new_zeros(signs * len(used) + 1, z.shape[2])  # the last copy is unperturbed
        copies = torch.arange(signs, device=slot.device)[:, None] * len(used) + slot
        moved[copies, units] = steps
        with torch.no_grad(), passing(self.asking):
            shown = made.run(way.weigh + 1, way.onward, self.entering(way, used, moved).flatten(1, 2))
            shown, before = shown.reshape(len(shown), len(moved), z.shape[1], -1), made.timed(way.onward).flatten(2)
            other = (shown != before[:, None]).any(0)
            if bool(other[-1].any()):
                raise Meeting
            found = torch.zeros(other.shape[0] * other.shape[2], dtype=torch.float64, device=z.device)
            pairs = other.nonzero()
            for at in pairs.split(self.fitting(way)) if len(pairs) else ():
                copy, sample, unit = at.unbind(1)
                last = self.ending(way, shown[:, copy, sample, unit], before, sample, unit)
                change = self.losses(last, sample).double() - self.alone[sample].double()
                found.index_add_(0, copy * other.shape[2] + unit, change)
                self.done += Fraction(len(at) * (way.onward < length), z.shape[1] * z.shape[2])
        self.done += Fraction(signs * len(used), made.timed(way.weigh).shape[2]) if way.weight else 0
        self.asked(signs * len(places))
        return found.view(-1, other.shape[2])[copies, units] / len(self.alone)

    def entering(self, way: Way, used: Tensor, moved: Tensor) -> Tensor:
        """Return what leaves the layer, `[T, copies, B, units]`, if the weights of these inputs have `moved`."""
        z = self.made.timed(way.weigh + 1)
        if not way.weight:
            return z[:, None] + moved[:, None]
        value = self.made.timed(way.weigh)[..., used].transpose(1, 2)  # [T, columns, B]
        signs = (len(moved) - 1) // len(used)
        value = torch.cat([*[value] * signs, torch.zeros_like(value[:, :1])], 1)
        return torch.addcmul(z[:, None], value[..., None], moved[:, None])

    def ending(self, way: Way, shown: Tensor, before: Tensor, sample: Tensor, unit: Tensor) -> Tensor:
        """Return the output `[T, M, classes]` of samples in which a unit puts out `shown [T, M]`, not `before`."""
        made, last = self.made, len(self.made.chain.steps)
        if way.onward == last:
            output = before[:, sample]
            return output.scatter_(2, unit.expand(len(shown), -1)[..., None], shown[..., None])
        weight, z = cast("Tensor", made.chain.steps[way.onward].module.weight), made.timed(way.onward + 1)
        change = shown - before[:, sample, unit]
        changed = torch.addcmul(z[:, sample], change[..., None], weight.T[unit])
        output = made.run(way.onward + 1, last, torch.cat([changed, z], 1))
        further = sum(step.weighted for step in made.chain.steps[way.onward + 1 :])
        self.done += Fraction(further * (len(sample) + z.shape[1]), z.shape[1])
        if not near(output[:, len(sample) :], made.timed(last)):
            raise Meeting
        return output[:, : len(sample)]

    def losses(self, output: Tensor, sample: Tensor) -> Tensor:
        """Return the loss `[M]` of each output of these samples."""
        views = self.asking.views
        parts = {name: getattr(views, name) for name in AXES}
        parts = {n: None if p is None else p.index_select(AXES[n], sample) for n, p in parts.items()}
        found = self.asking.objective.each(Run(output), Batch(views.x, **parts))
        assert found is not None
        return found

    def fitting(self, way: Way) -> int:
        """Return how many samples are run at once from a layer to the end."""
        shapes = self.made.shapes[way.onward + 1 :] or self.made.shapes[way.onward :]
        widest = max(math.prod(shape[self.made.axis + 1 :]) for shape in shapes)
        signal = self.made.timed(way.onward)
        return max(1, TOGETHER // (4 * len(signal) * widest * signal.element_size()))

    def asked(self, passes: int) -> None:
        """Count whole passes, of which the layer evaluations are counted where they are made."""
        counts = {name: passes * number for name, number in vars(self.once).items()}
        self.asking.spent += Cost(**{**counts, "layer_evaluations_done": 0})

    def settle(self) -> None:
        """Count the layer evaluations that were made; call this once, at the end."""
        self.asking.spent += Cost(layer_evaluations_done=math.ceil(self.done))


def passing(asking: Asking) -> AbstractContextManager[Differentiation]:
    """Return a context for a pass, as in `Asking.run`."""
    return differentiating(generator=generator(asking.noise))


def near(one: Tensor, other: Tensor) -> bool:
    """Return whether outputs are equal but for the rounding of sums in another order."""
    fits = one.shape == other.shape
    return fits and bool((one - other).norm() <= ROUNDING * torch.finfo(other.dtype).eps * other.norm())


def losses_of(asking: Asking, clean: Run, loss: float) -> Tensor | None:
    """Return the loss of every sample `[B]`; None where the objective has no quick one, or is not their mean."""
    objective = asking.objective
    quick = owner(type(objective), "each") is owner(type(objective), "__call__")
    if not quick or {"layers", "features", "internals"} & objective.needs:
        return None
    alone = objective.each(Run(clean.output), asking.views)
    if alone is None or alone.shape != clean.output.shape[1:2]:
        return None
    scale = max(float(alone.abs().mean()), abs(loss))
    return alone if abs(float(alone.mean()) - loss) <= torch.finfo(alone.dtype).eps ** 0.5 * scale else None


def recorded(asking: Asking, clean: Run) -> Recorded | None:
    """Return a recorded pass of a model that is a chain; None of others, and where noise or hooks come between."""
    model, x, carry = asking.model, asking.views.x, asking.views.carry
    if asking.read is not None or asking.drew() or not (carry is None or carry == ()) or not isinstance(x, Tensor):
        return None
    if compiled(model) or not all(map(unhooked, model.modules())):
        return None
    try:
        made = Recorded(stages(model))
        x = shaped(model, x)
        made.values[0], made.axis = x, 0 if x.ndim == 2 else 1
        made.shapes.append(x.shape)
        with torch.no_grad(), passing(asking):
            for position, step in enumerate(made.chain.steps):
                x = called(step, x, step)
                made.values[position + 1] = x
                made.shapes.append(x.shape)
        made.samples = made.output.shape[1]
    except (MissingNeed, ValueError, TypeError, RuntimeError):  # no chain; if it is a fault, whole passes show it
        return None
    leading = made.shapes[0][: made.axis + 1]
    whole = all(shape[: made.axis + 1] == leading for shape in made.shapes)
    return made if whole and near(made.output, clean.output) else None


def layers(asking: Asking, made: Recorded) -> dict[str, Way]:
    """Return the parameters of layers behind which units do not meet up to the next layer, which is a product too.

    A layer has one place in the chain, and its parameters belong to it alone.
    """
    steps = made.chain.steps
    weighs = [position for position, step in enumerate(steps) if step.weighted]
    names = {id(p): name for name, p in asking.parameters.items()}
    found: dict[str, Way] = {}
    for weigh, onward in zip(weighs, [*weighs[1:], len(steps)], strict=True):
        if not (product(made, weigh) and (onward == len(steps) or product(made, onward))):
            continue
        if not all(step.pointwise for step in steps[weigh + 1 : onward]):
            continue
        module = steps[weigh].module
        for part, p in module.named_parameters(recurse=False):
            if id(p) in names and used_once(asking, made, module, p):
                found[names[id(p)]] = Way(weigh, onward, part == "weight")
    return found


def product(made: Recorded, position: int) -> bool:
    """Return whether a step is an nn.Linear that is known to be `W x + b`."""
    step = made.chain.steps[position]
    linear = isinstance(step, Plain) and isinstance(step.module, nn.Linear) and only_weighs(step.module)
    return linear and len(made.features(position)) == 1


def used_once(asking: Asking, made: Recorded, module: nn.Module, p: Tensor) -> bool:
    """Return whether a parameter of a layer has no other use in a chain."""
    steps = made.chain.steps
    holders = [part for part in asking.model.modules() if any(q is p for q in part.parameters(recurse=False))]
    inside = any(q is p for step in steps if isinstance(step, Block) for q in step.module.parameters())
    return holders == [module] and sum(step.module is module for step in steps) == 1 and not inside


def apart(made: Recorded, way: Way) -> bool:
    """Return whether units behind a layer do not meet: every second one, probed, answers as if all were.

    The others answer as if none were, to the last bit. The step is the root mean square of what leaves the layer.
    """
    z = made.timed(way.weigh + 1)
    odd = (torch.arange(z.shape[2], device=z.device) % 2).to(z)
    step = float(z.square().mean().sqrt()) or 1.0
    tried = torch.cat([z, z + step * odd, z + step], 1)
    none, half, every = made.run(way.weigh + 1, way.onward, tried).flatten(2).chunk(3, 1)
    return torch.equal(half, torch.where(odd > 0, every, none))
