"""A model as a chain of steps, each callable alone, and where along the chain its weights sit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rules.contract import Batch, MissingNeed, Run
from rules.forward import fold, plain, run_model
from rules.optional import CellLayer, cells_of, layers_of, offers
from rules.synapses import SYNAPSES

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
    """One thing that a model does, a sequence in and a sequence out.

    `timeless`: what it puts out at one time depends on that time alone. `pointwise`: what one unit puts out depends on
    that unit alone. Where nothing is known of a module, both are False, which is always right and may be slow.
    """

    name: str
    module: nn.Module
    timeless: bool
    pointwise: bool

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The step alone, from rest."""

    @property
    def weighted(self) -> bool:
        """Whether it ends a layer before it and begins one itself."""
        return False


@dataclass(frozen=True)
class Plain(Step):
    """A module; `folded`, it is applied at every step of `[T, B, ...]`."""

    name: str
    module: nn.Module
    folded: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = fold(self.module, x) if self.folded else self.module(x)
        return y

    @property
    def weighted(self) -> bool:
        return isinstance(self.module, SYNAPSES)

    @property
    def pointwise(self) -> bool:  # type: ignore[override]
        return type(self.module) in POINTWISE or isinstance(self.module, _BatchNorm)

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        return self.folded or self.pointwise or type(self.module) in (nn.Linear, nn.LayerNorm)


@dataclass(frozen=True)
class Cells(Step):
    """What a layer of neurons makes of its currents: `module.respond(cause, currents, carry, record) -> Run`.

    Cells without a weight among them are taken to answer unit by unit.
    """

    name: str
    module: nn.Module
    layer: CellLayer  # the same, as synapse and cells

    timeless = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.respond(x, None, False).output

    def respond(self, currents: Tensor, carry: Any, record: bool) -> Run:
        """The answer from a carry, from rest where it is None."""
        return self.layer.respond(currents, currents, carry, record)

    @property
    def recurrent(self) -> bool:
        """Whether the cells hear one another through weights of their own."""
        return has_weights(self.layer.cells)

    @property
    def pointwise(self) -> bool:  # type: ignore[override]
        return not self.recurrent


@dataclass(frozen=True)
class Block(Step):
    """A module with weights inside that nothing is known about, such as a residual block; or a whole model."""

    name: str
    module: nn.Module
    whole: bool = False

    timeless = False
    pointwise = False

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = run_model(self.module, Batch(x)).output if self.whole else self.module(x)
        return y

    @property
    def weighted(self) -> bool:
        return True


class Stage(NamedTuple):
    """A layer: the steps from one weight up to the next."""

    name: str
    weigh: int  # the step that weighs
    node: int  # the position of its cut: the pre-activation, the neurons' current, or a block's output


class Chain(NamedTuple):
    """The steps of a model; position p is what goes into step p, the last position is the output."""

    steps: tuple[Step, ...]
    stages: tuple[Stage, ...]
    certain: bool  # that the steps, one after the other, are the model

    def end(self, number: int) -> int:
        """The position behind a stage, where the next one weighs."""
        return self.stages[number + 1].weigh if number + 1 < len(self.stages) else len(self.steps)


def stages(model: nn.Module) -> Chain:
    """Take a model apart; nothing is run.

    An `nn.Sequential` is its children, any other model its `layers`, each of which is called on what the one before put
    out. A layer with `synapse`, `cells` and `respond` is opened, so that its cut sits at the neurons' current; any
    other module with weights inside is one block. So is a whole model of bare weights, since what it does between them
    is its own.

    Raises MissingNeed for a model that offers no layers, ValueError for one without weights.

    >>> [stage.name for stage in stages(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))).stages]
    ['0', '2']
    """
    inner = plain(model)
    sequential = isinstance(inner, nn.Sequential)
    layers = layers_of(inner)
    if "layers" not in offers(inner) or layers is None:
        raise MissingNeed("a layered zero-order rule", type(inner).__name__, {"layers"}, offers(inner) - {"layers"})
    parts = [plain(part) for part in layers]
    if not sequential and all(isinstance(part, SYNAPSES) for part in parts):
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
    """The steps of a module."""
    module = plain(module)
    if type(module).forward is nn.Sequential.forward:
        for child, part in module._modules.items():  # named_children would leave out what is there twice
            yield from opened(f"{name}.{child}", part, folded)  # type: ignore[arg-type]  # a Sequential holds no None
    elif isinstance(module, SYNAPSES) or not has_weights(module):
        yield Plain(name, module, folded)
    elif (layer := cells_of(module)) is not None:
        weighing = list(opened(f"{name}.synapse", layer.synapse, True))
        if [type(step) for step in weighing if step.weighted] == [Plain]:
            yield from weighing
            yield Cells(f"{name}.cells", module, layer)
        else:
            yield Block(name, module)
    else:
        yield Block(name, module)


def cut(steps: tuple[Step, ...], weigh: int, end: int) -> int:
    """Where a layer is cut: at its neurons' current where it has neurons, else right behind its weight."""
    return next((p for p in range(weigh + 1, end) if isinstance(steps[p], Cells)), weigh + 1)


def has_weights(module: nn.Module) -> bool:
    """Whether there is an nn.Linear or a convolution inside."""
    return any(isinstance(part, SYNAPSES) for part in module.modules())


def tiled(x: Tensor, copies: int, axis: int) -> Tensor:
    """`copies` of a batch behind one another along the batch axis; what is constant in time stays so."""
    if axis == 1 and len(x) > 1 and x.stride(0) == 0:
        return tiled(x[:1], copies, axis).expand(len(x), *[-1] * (x.ndim - 1))
    return torch.cat([x] * copies, axis)
