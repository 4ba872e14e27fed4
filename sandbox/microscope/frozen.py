"""What lies under the microscope: copies of everything, so that nothing that is looked at can be disturbed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, CreditRule, Objective
from rules.forward import map_tensors
from rules.seeds import seeded
from rules.trainer import Trainer

SIMPLE = (int, float, str, type(None), FunctionType, BuiltinFunctionType)


@dataclass
class Frozen:
    """A model, an objective and a rule's state as they were at one step, with dice of their own."""

    model: nn.Module
    objective: Objective
    credit: CreditRule
    state: Any
    batch: Batch
    seed: int
    step: int
    reading: torch.Generator = field(repr=False)  # of devices that are noisy to read: shared with hooks of the model

    @property
    def layers(self) -> dict[str, Tensor]:
        """The trainable weight matrices, kernels of convolutions included, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad and p.ndim > 1}

    @contextmanager
    def dice(self, number: int) -> Iterator[Thrown]:
        """The dice of one draw: the same numbers in everything that is asked under the same `number`.

        Torch's global generators, from which `nn.Dropout` draws, are set as well, and put back.
        """
        devices = sorted({p.device.index or 0 for p in self.model.parameters() if p.device.type == "cuda"})
        with torch.random.fork_rng(devices), torch.enable_grad():
            word = int(torch.randint(2**62, (), generator=seeded(self.seed, self.step, number)))
            rng = torch.Generator().manual_seed(word)
            everyone = [rng, self.reading, torch.default_generator]
            everyone += [torch.cuda.default_generators[device] for device in devices]
            for place, generator in enumerate(everyone[1:], 1):
                generator.manual_seed(word + place)
            thrown, before = Thrown(rng), [generator.get_state() for generator in everyone]
            yield thrown
            after = [generator.get_state() for generator in everyone]
            thrown.any = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@dataclass
class Thrown:
    """Dice to hand on, and, afterwards, whether anybody threw them."""

    rng: torch.Generator
    any: bool = False


def freeze(trainer: Trainer, batch: Batch, seed: int) -> Frozen:
    """Copies of what `trainer` would learn from `batch` with; devices are read once, and shown as they were read.

    Raises ValueError for a model that cannot be copied.
    """
    reading = seeded(seed, trainer.steps, -1)
    device = next(iter(trainer.parameters.values())).device
    try:
        with trainer.reading(reading):
            changing = (trainer.model, trainer.rule.objective, trainer.state, batch.carry)
            model, objective, state, carry = copy.deepcopy(changing, settled(trainer))
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(trainer.model).__name__} cannot be copied, and the microscope looks at copies alone ({error}); "
            "keep no tensor with a history in an attribute between calls"
        ) from error
    held = map_tensors(lambda tensor: tensor.to(device), batch._replace(carry=carry))
    return Frozen(model, objective, trainer.rule.credit, state, held, seed, trainer.steps, reading)


def settled(trainer: Trainer) -> dict[int, Any]:
    """What a copy may share, as `copy.deepcopy` wants it: settings that are frozen, and hold nothing that learns."""
    parts = [trainer.rule.objective, *(part for module in trainer.model.modules() for part in vars(module).values())]
    return {id(part): part for part in parts if not isinstance(part, SIMPLE) and _is_settled(part)}


def _is_settled(part: Any) -> bool:
    if isinstance(part, (*SIMPLE, tuple)):
        return not isinstance(part, tuple) or all(map(_is_settled, part))
    frozen = getattr(type(part), "__dataclass_params__", None)
    if frozen is None or not frozen.frozen or isinstance(part, nn.Module):
        return False
    return all(_is_settled(getattr(part, field.name, None)) for field in fields(part))
