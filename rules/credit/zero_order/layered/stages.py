"""A model as a chain of steps, each callable alone, and the positions of its weights in the chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Batch, MissingNeed, Run
from rules.forward import fold, run_model
from rules.optional import CellLayer, cells_of, folded_of, lacks, layers_of, offers, plain
from rules.synapses import is_synapse

# one unit in, one unit out, in the same order
POINTWISE = {
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Tanh,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Tanhshrink,
    nn.Softshrink,
    nn.Hardshrink,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Threshold,
    nn.Dropout,
    nn.AlphaDropout,
}


class Step(ABC):
    """One operation of a model, from a sequence to a sequence.

    `timeless`: the output at one time depends only on the input at that time. `pointwise`: the output of one unit
    depends only on that unit's input. For unknown modules both are False, which is always correct but may be slow.
    """

    name: str
    module: nn.Module
    timeless: bool
    pointwise: bool

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Run the step alone, from rest."""

    @property
    def weighted(self) -> bool:
        """Whether a new layer begins with this step."""
        return False


@dataclass(frozen=True)
class Plain(Step):
    """A module; if `folded`, it is applied at every step of `[T, B, ...]`."""

    name: str
    module: nn.Module
    folded: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = fold(self.module, x) if self.folded else self.module(x)
        return y

    @property
    def weighted(self) -> bool:
        return is_synapse(self.module)

    @property
    def pointwise(self) -> bool:  # type: ignore[override]
        return type(self.module) in POINTWISE or isinstance(self.module, _BatchNorm)

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        return self.folded or self.pointwise or type(self.module) in (nn.Linear, nn.LayerNorm)


@dataclass(frozen=True)
class Cells(Step):
    """The response of a layer of neurons to its currents: `module.respond(cause, currents, carry, record) -> Run`.

    Cells without recurrent weights are assumed to respond unit by unit.
    """

    name: str
    module: nn.Module
    layer: CellLayer  # the same module, as synapse and cells

    timeless = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.respond(x, None, False).output

    def respond(self, currents: Tensor, carry: Any, record: bool) -> Run:
        """Run the cells from a carry; from rest if it is None."""
        return self.layer.respond(currents, currents, carry, record)

    @property
    def recurrent(self) -> bool:
        """Whether the cells are connected by weights of their own."""
        return has_weights(self.layer.cells)

    @property
    def pointwise(self) -> bool:  # type: ignore[override]
        return not self.recurrent


@dataclass(frozen=True)
class Block(Step):
    """A module with weights inside that cannot be taken apart, such as a residual block; or a whole model.

    If it is `folded`, it is applied at every step of `[T, B, ...]`.
    """

    name: str
    module: nn.Module
    whole: bool = False
    folded: bool = False

    pointwise = False

    def __call__(self, x: Tensor) -> Tensor:
        if self.whole:
            return run_model(self.module, Batch(x)).output
        y: Tensor = fold(self.module, x) if self.folded else self.module(x)
        return y

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        return self.folded

    @property
    def weighted(self) -> bool:
        return True


class Stage(NamedTuple):
    """A layer: the steps from one weight up to the next."""

    name: str
    weigh: int  # the step with the weight
    node: int  # the position of its cut: the pre-activation, the neurons' current, or a block's output


class Chain(NamedTuple):
    """The steps of a model; position p is the input of step p, the last position is the output."""

    steps: tuple[Step, ...]
    stages: tuple[Stage, ...]
    certain: bool  # whether the steps in sequence are known to equal the model

    def end(self, number: int) -> int:
        """Return the position behind a stage, where the weight of the next one is."""
        return self.stages[number + 1].weigh if number + 1 < len(self.stages) else len(self.steps)


def stages(model: nn.Module) -> Chain:
    """Split a model into steps, without running it.

    The parts are the children of an `nn.Sequential`, or the `layers` of any other model, each called on the output of
    the one before. A layer with `synapse`, `cells` and `respond` is split, so that its cut is at the neurons' current;
    any other module with weights inside is one block. A model whose layers are all bare weights is one block as a
    whole, because what it does between them is unknown.

    Raises MissingNeed for a model that offers no layers or whose layers see the whole sequence at once, ValueError for
    one without weights.

    >>> [stage.name for stage in stages(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))).stages]
    ['0', '2']
    """
    inner = plain(model)
    sequential = isinstance(inner, nn.Sequential)
    layers = layers_of(inner)
    if "layers" not in offers(inner) or layers is None:
        raise MissingNeed("a layered zero-order rule", type(inner).__name__, {"layers"}, offers(inner) - {"layers"})
    if "carry" in (why := lacks(inner)):
        raise MissingNeed("a layered zero-order rule", type(inner).__name__, {"carry"}, offers(inner), why)
    parts = [plain(part) for part in layers]
    if not sequential and all(is_synapse(part) for part in parts):
        steps: tuple[Step, ...] = (Block(type(inner).__name__, inner, whole=True),)
    else:
        prefix = "" if sequential else "layers."
        steps = tuple(step for n, part in enumerate(parts) for step in opened(f"{prefix}{n}", part, False))
    weighs = [position for position, step in enumerate(steps) if step.weighted]
    if not weighs or not has_weights(inner):
        raise ValueError(f"{type(inner).__name__} has no nn.Linear or convolution among its layers: nothing to learn")
    certain = steps[0].module is inner or type(inner).forward is nn.Sequential.forward
    nodes = [cut(steps, first, last) for first, last in zip(weighs, [*weighs[1:], len(steps)], strict=True)]
    return Chain(steps, tuple(Stage(steps[w].name, w, node) for w, node in zip(weighs, nodes, strict=True)), certain)


def opened(name: str, module: nn.Module, folded: bool) -> Iterator[Step]:
    """Yield the steps of a module."""
    module = plain(module)
    if type(module).forward is nn.Sequential.forward:
        for child, part in module._modules.items():  # named_children would skip the second use of a module
            yield from opened(f"{name}.{child}", part, folded)  # type: ignore[arg-type]  # a Sequential holds no None
    elif (inside := folded_of(module)) is not None:
        yield from opened(name, inside, True)
    elif is_synapse(module) or not has_weights(module):
        yield Plain(name, module, folded)
    elif (layer := cells_of(module)) is not None:
        weighing = list(opened(f"{name}.synapse", layer.synapse, True))
        if [type(step) for step in weighing if step.weighted] == [Plain]:
            yield from weighing
            yield Cells(f"{name}.cells", module, layer)
        else:
            yield Block(name, module, folded=folded)
    else:
        yield Block(name, module, folded=folded)


def cut(steps: tuple[Step, ...], weigh: int, end: int) -> int:
    """Return the position at which a layer is cut: at its neurons' current if it has any, else behind its weight."""
    return next((p for p in range(weigh + 1, end) if isinstance(steps[p], Cells)), weigh + 1)


def has_weights(module: nn.Module) -> bool:
    """Return whether there is an nn.Linear or a convolution inside."""
    return any(is_synapse(part) for part in module.modules())


def tiled(x: Tensor, copies: int, axis: int) -> Tensor:
    """Stack copies of a batch along the batch axis; an input that is constant in time stays a view of one step."""
    if axis == 1 and len(x) > 1 and x.stride(0) == 0:
        return tiled(x[:1], copies, axis).expand(len(x), *[-1] * (x.ndim - 1))
    return torch.cat([x] * copies, axis)
