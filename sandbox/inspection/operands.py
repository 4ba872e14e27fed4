"""What arrives at every weight and every product of a model in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rules.contract import Batch
from rules.diagnostics.work import Work, dense, work
from rules.forward import looking, map_tensors, run_model, samples
from rules.metering import pairs, shown
from rules.optional import plain
from rules.synapses import Product, counted, is_synapse
from sandbox.inspection.alphabet import Alphabet, alphabet_of, joined


@dataclass(frozen=True)
class Operand:
    """A weight, or a product of two activities, and what arrives there; operations are those of one sample.

    Args:
        layer: name of the module.
        shape: of the weight; None for a product or a recurrent module of torch.
        parameters: of the module, bias included.
        alphabets: of the input; of a product those of both factors.
        rates: share of entries that are not 0, of each of them.
        pairs: multiply-accumulates with zeros, of all steps.
        biases: additions of a bias.
        work: the pairs without a zero, as `rules.diagnostics.work` counts them.
    """

    layer: str
    shape: tuple[int, ...] | None
    parameters: int
    alphabets: tuple[Alphabet, ...]
    rates: tuple[float, ...]
    pairs: float
    biases: float
    work: Work

    @property
    def alphabet(self) -> str:
        """The alphabets in words."""
        return " and ".join(map(str, self.alphabets))


def operands(model: nn.Module, batch: Batch) -> list[Operand]:
    """Return what arrives at every weight and product of a model, in the order of first calls.

    Two passes in evaluation mode, after which the model is as it was. An input that is constant in time is written out,
    so that every step is counted at every layer, also where the model would compute it once.

    Args:
        model: any module. Products of activities are seen where they are `rules.Product`.
        batch: input `[T, B, ...]`.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    >>> first, last = operands(net, Batch(torch.ones(5, 1, 4)))
    >>> first.alphabet, first.pairs, first.biases, last.alphabet, last.pairs
    ('binary', 60.0, 15.0, 'real', 30.0)
    """
    inner = plain(model)
    batch = batch._replace(x=map_tensors(lambda leaf: leaf.contiguous(), batch.x))
    seen: dict[str, _Seen] = {}
    modules = counted(inner)
    hooks = {module: _noting(seen, name) for name, module in modules.items()}
    with torch.no_grad(), looking(inner, hooks):
        run_model(inner, batch)
    held = samples(batch)
    works = {each.layer: each for each in work(inner, batch, held)}
    return [found.operand(name, modules[name], held, works[name]) for name, found in seen.items()]


@dataclass
class _Seen:
    """What the calls of one module have shown."""

    alphabets: list[Alphabet] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    pairs: int = 0
    outputs: int = 0

    def note(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        given = [shown(each) for each in inputs if isinstance(each, (Tensor, PackedSequence))]
        given = [dense(each.detach()) for each in (given if isinstance(module, Product) else given[:1])]
        first = not self.alphabets
        for number, x in enumerate(given):
            if first:
                self.alphabets.append(alphabet_of(x))
                self.active.append(0)
                self.entries.append(0)
            else:
                self.alphabets[number] = joined(self.alphabets[number], alphabet_of(x))
            self.active[number] += int(x.count_nonzero())
            self.entries[number] += x.numel()
        self.pairs += pairs(module, inputs, output)
        self.outputs += shown(output).numel()

    def operand(self, name: str, module: nn.Module, held: int, work: Work) -> Operand:
        weight = module.weight if is_synapse(module) else None
        biased = getattr(module, "bias", None) is not None and weight is not None
        return Operand(
            name,
            tuple(weight.shape) if isinstance(weight, Tensor) else None,
            sum(p.numel() for p in module.parameters()),
            tuple(self.alphabets),
            tuple(a / e for a, e in zip(self.active, self.entries, strict=True)),
            self.pairs / held,
            self.outputs / held if biased else 0.0,
            work,
        )


def _noting(seen: dict[str, _Seen], name: str) -> Callable[..., None]:
    """Return a hook that notes a call."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen.setdefault(name, _Seen()).note(module, inputs, output)

    return hook
