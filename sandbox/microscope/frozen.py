"""Frozen copies of a trainer's model, objective and state, so that looking at them disturbs nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from rules.batches import fitted, moved
from rules.contract import Batch, CreditRule, Objective
from rules.forward import map_tensors
from rules.seeds import seeded
from rules.synapses import weights_in
from rules.trainer import Trainer

SIMPLE = (int, float, str, type(None), FunctionType, BuiltinFunctionType)


@dataclass
class Frozen:
    """A model, an objective and a rule's state as they were at one step, with random generators of their own."""

    model: nn.Module
    objective: Objective
    credit: CreditRule
    state: Any
    batch: Batch
    seed: int
    step: int
    reading: torch.Generator = field(repr=False)  # for devices that are noisy to read; hooks of the model hold it too

    @property
    def layers(self) -> dict[str, Tensor]:
        """The trainable weight matrices, kernels of convolutions included, by name."""
        return dict(weights_in(self.model))

    @contextmanager
    def draw(self, number: int) -> Iterator[Draw]:
        """Seed all generators for one draw: the same `number` gives the same random numbers, whoever asks for them.

        Torch's global generators, from which `nn.Dropout` draws, are seeded as well, and restored afterwards.
        """
        devices = sorted({p.device.index or 0 for p in self.model.parameters() if p.device.type == "cuda"})
        with torch.random.fork_rng(devices), torch.enable_grad():
            seed = int(torch.randint(2**62, (), generator=seeded(self.seed, "draw", self.step, number)))
            rng = torch.Generator().manual_seed(seed)
            generators = [rng, self.reading, torch.default_generator]
            generators += [torch.cuda.default_generators[device] for device in devices]
            for place, generator in enumerate(generators[1:], 1):
                generator.manual_seed(seed + place)
            draw, before = Draw(rng), [generator.get_state() for generator in generators]
            yield draw
            # Only a generator that was drawn from has another state: this shows whether anything is stochastic.
            after = [generator.get_state() for generator in generators]
            draw.used = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@dataclass
class Draw:
    """A generator to pass on; after the block, `used` says whether any generator was drawn from."""

    rng: torch.Generator
    used: bool = False


def freeze(trainer: Trainer, batch: Batch, seed: int) -> Frozen:
    """Copy everything that `trainer` would use to learn from `batch`.

    Devices are read once, and the copy keeps the weights as they were read.

    Raises:
        ValueError: the model cannot be copied.
    """
    reading = seeded(seed, "read noise of a look", trainer.steps)
    like = next(iter(trainer.parameters.values()))
    try:
        with trainer.reading(reading):
            changing = (trainer.model, trainer.rule.objective, trainer.state, batch.carry)
            model, objective, state, carry = copy.deepcopy(changing, settled(trainer))
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(trainer.model).__name__} cannot be copied, and the microscope works on copies ({error}); "
            "keep no tensor with a history in an attribute between calls"
        ) from error
    held = map_tensors(lambda tensor: moved(tensor, like.device), fitted(batch._replace(carry=carry), model, like))
    return Frozen(model, objective, trainer.rule.credit, state, held, seed, trainer.steps, reading)


def settled(trainer: Trainer) -> dict[int, Any]:
    """Return the memo for `copy.deepcopy`: frozen settings without learnable parts, which a copy may share."""
    parts = [trainer.rule.objective, *(part for module in trainer.model.modules() for part in vars(module).values())]
    return {id(part): part for part in parts if not isinstance(part, SIMPLE) and _is_settled(part)}


def _is_settled(part: Any) -> bool:
    """Tell whether a value is immutable all the way down."""
    if isinstance(part, (*SIMPLE, tuple)):
        return not isinstance(part, tuple) or all(map(_is_settled, part))
    frozen = getattr(type(part), "__dataclass_params__", None)
    if frozen is None or not frozen.frozen or isinstance(part, nn.Module):
        return False
    return all(_is_settled(getattr(part, field.name, None)) for field in fields(part))
