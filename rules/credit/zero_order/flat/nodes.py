"""Nodes that can be perturbed: the output of each weight, at each of its uses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.contract import Cost
from rules.credit.zero_order.draws import normal_like
from rules.credit.zero_order.flat.alone import sample_axis
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.layered.blocks import Call, intercepted, rows, stacked, unstacked
from rules.credit.zero_order.products import Unchanged
from rules.credit.zero_order.relative import norm, random_step, squared
from rules.credit.zero_order.sharing import generator
from rules.forward import leaves
from rules.optional import plain, turned_inside
from rules.weight_gradients import outer_products, weight_gradients

HELD = 2**26  # bytes of noise that are kept between its uses; further draws are repeated from their seeds


class Nodes:
    """The uses of weights in an unperturbed pass, each `[T, B, features]`, and the noise that is added to them.

    Args:
        asking: the evaluations of the step.
        learned: the parameters of the modules whose uses these are.
        sigma: standard deviation of the noise; None for that of a model with or without spikes (`random_step`).
        relative: whether sigma is in units of the rms of each use.
        dtype: in which noise is drawn.
    """

    def __init__(
        self,
        asking: Asking,
        learned: dict[str, nn.Parameter],
        sigma: float | None,
        relative: bool,
        dtype: torch.dtype,
    ) -> None:
        self.asking, self.dtype, self.relative = asking, dtype, relative
        self.names = {id(p): name for name, p in learned.items()}
        self.calls: dict[int, Call] = {}
        norms: dict[int, Tensor] = {}  # of each z as it was, because later parts may change it in place
        self.held: dict[int, dict[int, Tensor]] = {}  # noise of some seeds, of each use
        self.products = Unchanged(asking.model, leaves(asking.views.x))

        def listen(number: int, module: nn.Module, pre: Tensor, z: Tensor) -> None:
            if any(id(p) in self.names for p in module.parameters(recurse=False)):
                self.calls[number], norms[number] = Call(module, pre, z), norm(z)

        with torch.no_grad(), self.products.noting(), intercepted(asking.model, listen):
            self.clean = asking.run()
        if not self.calls:
            raise ValueError(
                f"{type(asking.model).__name__} called no nn.Linear or convolution that learns: there is "
                "no node to perturb; use SPSA, which perturbs any weight"
            )
        self.forms = {number: self.form(call) for number, call in self.calls.items()}
        self.sigma = random_step(asking.spikes) if sigma is None else sigma
        scales = scales_of_uses(self.calls, norms) if relative else dict.fromkeys(self.calls, 1.0)
        for number, call in self.calls.items():
            require_audible(self.sigma, call, scales[number])
        self.sigmas = {number: self.sigma * scale for number, scale in scales.items()}

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.clean.output.shape[1]

    @property
    def bytes(self) -> int:
        """The memory of the noise of one draw."""
        return sum(call.z.numel() * call.z.element_size() for call in self.calls.values())

    def form(self, call: Call) -> str:
        """Return how a use of a weight stacks time and batch; see `rows`.

        Inputs may have different numbers of steps, and what has joined them the output's, or a single one.
        """
        samples, turned = self.samples, turned_inside(plain(self.asking.model))
        timed = [len(leaf) for leaf in leaves(self.asking.views.x) if sample_axis(leaf, samples)]
        counts = {len(self.clean.output), *timed, 1}
        shape = call.z.shape[1::-1] if turned else call.z.shape[:2]
        known = not isinstance(call.module, _ConvNd) and call.z.ndim > 2 and shape[1] == samples and shape[0] in counts
        steps = int(shape[0]) if known else max(counts)
        static = max(counts) == 1 and len(call.z) == samples
        return rows(call, 0 if static else 1, steps, samples, turned)

    def noise(self, seed: int) -> dict[int, Tensor]:
        """Return the noise of a seed at each use, in the shape of its output."""
        if seed in self.held:
            return self.held[seed]
        rng = generator(seed)
        drawn = {
            number: normal_like(call.z, rng, self.dtype).mul_(self.sigmas[number])
            for number, call in self.calls.items()
        }
        if (len(self.held) + 1) * self.bytes <= HELD:
            self.held[seed] = drawn
        return drawn

    def unstacked(self, number: int, noise: Tensor) -> Tensor:
        """Return the noise of a use as `[T, B, ...]`."""
        return unstacked(noise, self.forms[number], self.samples)

    def gradients(self, numbers: list[int], changes: Tensor) -> dict[str, Tensor]:
        """Return the gradients of weights for `changes [draws, B]` of the losses by the noise of each seed."""
        errors = {number: self.unstacked(number, torch.zeros_like(call.z)) for number, call in self.calls.items()}
        shares = {}
        for number, error in errors.items():
            factors = changes / (len(numbers) * self.sigmas[number] ** 2 * self.samples)
            shares[number] = factors.to(error).view(*factors.shape, *[1] * (error.ndim - 2))
        for row, seed in enumerate(numbers):
            noise = self.noise(seed)
            for number, error in errors.items():
                error.addcmul_(shares[number][row], self.unstacked(number, noise[number]))
        found: dict[str, Tensor] = {}
        for number, (module, pre, z) in self.calls.items():
            own = dict(module.named_parameters(recurse=False))
            error = stacked(errors[number], self.forms[number]).reshape(z.shape)
            for part, gradient in weight_gradients(module, pre, error).items():
                name = self.names[id(own[part])]
                found[name] = found[name] + gradient if name in found else gradient
        return {name: found[name] for name in self.names.values() if name in found}

    def cost(self, draws: int) -> Cost:
        """Return the cost of noise and its scale, of errors from it, and of their outer products with the inputs."""
        nodes = sum(call.z.numel() for call in self.calls.values())
        errors = draws * nodes + nodes * self.relative  # a scale takes the square of each signal
        outer = sum(outer_products(call.module, call.pre, call.z) for call in self.calls.values())
        return Cost(
            error_operations=errors,
            weight_operations=outer,
            multiplications=errors + outer,
            gaussian_draws=draws * nodes,
        )


def scales_of_uses(calls: Mapping[int, Call], norms: Mapping[int, Tensor]) -> dict[int, float]:
    """Return the rms of what each use gives, over all samples and steps, at least that of all uses of its module.

    A silent module has that of all others, and 1 where all are silent.
    """
    squares = dict(zip(norms, squared(list(norms.values())), strict=True))

    def rms(uses: Iterable[int]) -> float:
        held = list(uses)
        return math.sqrt(sum(squares[n] for n in held) / max(1, sum(calls[n].z.numel() for n in held)))

    found = {}
    for number, call in calls.items():
        beside = [other for other in calls if calls[other].module is call.module]
        found[number] = max(rms([number]), rms(beside)) or rms(calls) or 1.0
    return found


def require_audible(sigma: float, call: Call, scale: float) -> None:
    """Raise ValueError for noise that rounding removes when, times its scale, it is added to the largest signal."""
    largest = float(call.z.abs().max()) if call.z.numel() else 0.0
    bound = torch.finfo(call.z.dtype).eps * largest / scale
    if sigma < bound:
        raise ValueError(
            f"sigma={sigma:g}: such noise vanishes in {call.z.dtype} beside signals of up to "
            f"{largest:.3g}; give more than {bound:.1e}"
        )
