"""The one-bit signals between layers of a binary stochastic network: drawn, signed, checked and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rules.contract import Cost
from rules.models.admission import UnfitModel
from rules.spikes.bits import is_bits, is_trits
from rules.spikes.surrogate import Surrogate, heaviside
from rules.steps import wide, wide_dtype
from rules.synapses import Patterned, synapses, transposed


class Drawn(NamedTuple):
    """Spikes, and the membrane and surrogate from which they were drawn."""

    bits: Tensor
    surrogate: Surrogate
    u: Tensor
    noisy: bool

    @property
    def p(self) -> Tensor:
        """The probability of each spike: the surrogate's primitive for a noisy unit, 0 or 1 for any other."""
        if not self.noisy:
            return self.bits
        p = self.surrogate.primitive(self.u)
        if p is None:
            raise ValueError(
                f"{self.surrogate} has no primitive, so a noisy unit with it has no probability; use 'sigmoid'"
            )
        return p


Draw = Callable[[Drawn], Tensor]  # the derivative bits of spikes


def made(surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None, gain: float) -> Drawn:
    """Return the spikes of a membrane that is multiplied by `gain`."""
    seen = u.detach() if gain == 1.0 else gain * u.detach()
    return Drawn(heaviside(seen, strict, noise), surrogate, seen, noise is not None)


def spikes_of(output: Tensor, drawn: Sequence[Drawn]) -> list[Drawn]:
    """Return the spikes whose bits the output `[T, B, classes]` is made of, in order; an empty list if it is not.

    Spikes of all steps, or of one step each, between which other layers may have fired.
    """
    found: list[Drawn] = []
    left, one = len(output), output[0].numel()
    for spikes in reversed(drawn):
        steps, rest = divmod(spikes.bits.numel(), one)
        end = left if rest == 0 and 0 < steps <= left else 0
        if end and torch.equal(spikes.bits.flatten(), output[end - steps : end].flatten()):
            found.insert(0, spikes)
            left -= steps
        if left == 0:
            return found
    return []


def probabilities(output: Tensor, drawn: Sequence[Drawn]) -> Tensor:
    """Return the output with each bit replaced by its probability; unchanged if it is not made of the last spikes."""
    found = spikes_of(output, drawn)
    return torch.cat([each.p.flatten() for each in found]).view_as(output) if found else output


class Gate(torch.autograd.Function):
    """Forward, the bits; backward, the error where the derivative bit is 1."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, bits: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return bits

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return error * slope, None, None


def wired(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules whose weights one-bit signals pass, by name: all synapses except transposed convolutions.

    The weight of those is `[in, out, ...]`; how often it is read for an input of zeros and ones is not implemented.

    Raises:
        UnfitModel: for a synapse with a pattern, whose pulses are not counted here.
    """
    for name, module in synapses(model).items():
        if isinstance(module, Patterned):
            raise UnfitModel(
                f"{name!r} is of class {type(module).__name__}, with weights for some pairs of cells only, and one-bit "
                "signals are counted for whole arrays: use nn.Linear there, or rules.make('bptt')"
            )
    return {name: module for name, module in synapses(model).items() if not transposed(module)}


class Wires:
    """A context in which signals between the weighted modules of a model are one-bit, and counted.

    Forward, `spike` draws the spikes and, if autograd will run backward through them, their derivative bits; `gain`
    multiplies the membrane. Backward, the error that a weighted module passes down is gated by those bits, and the next
    module receives its sign (`sign`), so that autograd multiplies weights with -1, 0 and 1 only. With `debug`, any
    other value raises an AssertionError that names the module.
    """

    def __init__(self, model: nn.Module, draw: Draw, gain: float, sign: bool, debug: bool) -> None:
        self.draw, self.gain, self.sign, self.debug = draw, gain, sign, debug
        self.counts: Counter[str] = Counter()
        self.drawn: list[Drawn] = []  # all spikes, in order
        self._modules = wired(model)
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Wires:
        self._handles = [m.register_forward_hook(partial(self._forward, n)) for n, m in self._modules.items()]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    def spike(self, surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        """Draw spikes in place of `Surrogate.spike`."""
        drawn = made(surrogate, u, strict, noise, self.gain)
        self.drawn.append(drawn)
        self.counts["comparisons"] += drawn.bits.numel()
        self.counts["random_bits"] += drawn.bits.numel() if drawn.noisy else 0
        if not u.requires_grad:
            return drawn.bits
        self.counts["random_bits"] += drawn.bits.numel()
        spikes: Tensor = Gate.apply(u, drawn.bits, self.draw(drawn))  # type: ignore[no-untyped-call]
        return spikes

    def cost(self, dense: Cost, random_bits: int) -> Cost:
        """Return the cost of one pass in each direction, with products, conversions and bits as counted here."""
        moved = replace(dense, multiplications=0, dac_conversions=0, adc_conversions=0)
        return moved + Cost(**self.counts) + Cost(random_bits=random_bits)

    def _forward(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        sent: Tensor = inputs[0].detach()
        first = not inputs[0].requires_grad
        if is_bits(sent):
            self.counts["one_bit_reads"] += reads(module, sent)
        else:
            if self.debug and not first:
                raise AssertionError(f"{name} received numbers that are neither 0 nor 1")
            self.counts["multiplications"] += operations(module, output)
            self.counts["dac_conversions"] += sent.numel()
        if output.requires_grad:
            output.register_hook(partial(self._backward, name, module, sent.shape, first))

    def _backward(self, name: str, module: nn.Module, sent: torch.Size, first: bool, error: Tensor) -> Tensor:
        if self.sign:
            error = error.sign()
        trits = self.sign or is_trits(error)
        if not trits:
            self.counts["multiplications"] += operations(module, error)  # for the outer product
            self.counts["dac_conversions"] += error.numel()
        if first:
            return error
        if trits:
            self.counts["one_bit_reads"] += reads_back(module, error, sent)
        else:
            self.counts["multiplications"] += operations(module, error)
        kind = "comparisons" if self.sign else "adc_conversions"
        self.counts[kind] += sent.numel()
        return error


def operations(module: nn.Module, output: Tensor) -> int:
    """Return the multiply-accumulates of a dense pass with this output."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    return output.numel() * weight[0].numel()


def reads(module: Any, sent: Tensor) -> int:
    """Return how many weights a forward pass adds up for the nonzero entries of `sent`; padding is not read."""
    if isinstance(module, nn.Linear):
        return int(sent.count_nonzero()) * module.out_features
    ones = (sent != 0).to(wide_dtype(sent)).reshape(-1, *sent.shape[-module.weight.ndim + 1 :])
    return int(_seen(module, ones).sum(dtype=torch.float64)) * _share(module)


def reads_back(module: Any, error: Tensor, sent: torch.Size) -> int:
    """Return how many weights a backward pass adds up for the nonzero entries of the error."""
    if isinstance(module, nn.Linear):
        return int(error.count_nonzero()) * module.in_features
    axes = module.weight.ndim - 1  # of one image; time and samples may have an axis each
    window = _seen(module, wide(error).new_ones(1, *sent[-axes:]))  # how many inputs each output sees, [1, groups, ...]
    error = error.reshape(-1, *error.shape[-axes:])
    hit = (error != 0).to(window.dtype).reshape(len(error), window.shape[1], -1, *error.shape[2:]).sum(2)
    return int((hit * window).sum(dtype=torch.float64))


def _seen(module: Any, ones: Tensor) -> Tensor:
    """Return how many ones each output position sees, with one channel per group."""
    kernel = ones.new_ones(module.groups, *module.weight.shape[1:])
    counted: Tensor = module._conv_forward(ones, kernel, None)
    return counted


def _share(module: Any) -> int:
    """Return the number of output channels of one group."""
    return int(module.out_channels // module.groups)
