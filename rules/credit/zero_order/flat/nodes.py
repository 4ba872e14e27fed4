"""Nodes that can be perturbed: the output of each weight, at each of its uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rules.contract import Cost
from rules.credit.zero_order.draws import normal_like
from rules.credit.zero_order.flat.alone import sample_axis
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.layered.blocks import Call, intercepted, rows, stacked, unstacked
from rules.credit.zero_order.products import Unchanged
from rules.credit.zero_order.sharing import generator
from rules.forward import leaves
from rules.optional import plain, turned_inside
from rules.weight_gradients import outer_products, weight_gradients

HELD = 2**26  # bytes of noise that are kept between its uses; further draws are repeated from their seeds


class Nodes:
    """The uses of weights in an unperturbed pass, each `[T, B, features]`, and the noise that is added to them."""

    def __init__(self, asking: Asking, learned: dict[str, nn.Parameter], sigma: float, dtype: torch.dtype) -> None:
        self.asking, self.sigma, self.dtype = asking, sigma, dtype
        self.names = {id(p): name for name, p in learned.items()}
        self.calls: dict[int, Call] = {}
        self.held: dict[int, dict[int, Tensor]] = {}  # noise of some seeds, of each use
        self.products = Unchanged(asking.model, leaves(asking.views.x))

        def listen(number: int, module: nn.Module, pre: Tensor, z: Tensor) -> None:
            if any(id(p) in self.names for p in module.parameters(recurse=False)):
                self.calls[number] = Call(module, pre, z)

        with torch.no_grad(), self.products.noting(), intercepted(asking.model, listen):
            self.clean = asking.run()
        if not self.calls:
            raise ValueError(
                f"{type(asking.model).__name__} called no nn.Linear or convolution that learns: there is "
                "no node to perturb; use SPSA, which perturbs any weight"
            )
        self.forms = {number: self.form(call) for number, call in self.calls.items()}
        for call in self.calls.values():
            require_audible(sigma, call)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.clean.output.shape[1]

    @property
    def bytes(self) -> int:
        """The memory of the noise of one draw."""
        return sum(call.z.numel() * call.z.element_size() for call in self.calls.values())

    def form(self, call: Call) -> str:
        """Return how a use of a weight stacks time and batch; see `rows`."""
        samples = self.samples
        timed = [len(leaf) for leaf in leaves(self.asking.views.x) if sample_axis(leaf, samples)]
        steps = max(len(self.clean.output), *timed, 1)
        static = steps == 1 and len(call.z) == samples
        return rows(call, 0 if static else 1, steps, samples, turned_inside(plain(self.asking.model)))

    def noise(self, seed: int) -> dict[int, Tensor]:
        """Return the noise of a seed at each use, in the shape of its output."""
        if seed in self.held:
            return self.held[seed]
        rng = generator(seed)
        drawn = {number: normal_like(call.z, rng, self.dtype).mul_(self.sigma) for number, call in self.calls.items()}
        if (len(self.held) + 1) * self.bytes <= HELD:
            self.held[seed] = drawn
        return drawn

    def unstacked(self, number: int, noise: Tensor) -> Tensor:
        """Return the noise of a use as `[T, B, ...]`."""
        return unstacked(noise, self.forms[number], self.samples)

    def gradients(self, numbers: list[int], factors: Tensor) -> dict[str, Tensor]:
        """Return the gradients of weights for `factors [draws, B]` of the noise of each seed."""
        errors = {number: self.unstacked(number, torch.zeros_like(call.z)) for number, call in self.calls.items()}
        shares = {
            number: factors.to(error).view(*factors.shape, *[1] * (error.ndim - 2)) for number, error in errors.items()
        }
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
        """Return the cost of the noise, of errors from it, and of their outer products with the inputs."""
        numbers = draws * sum(call.z.numel() for call in self.calls.values())
        outer = sum(outer_products(call.module, call.pre, call.z) for call in self.calls.values())
        return Cost(
            error_operations=numbers, weight_operations=outer, multiplications=numbers + outer, gaussian_draws=numbers
        )


def require_audible(sigma: float, call: Call) -> None:
    """Raise ValueError for noise that rounding removes when it is added to the largest signal."""
    largest = float(call.z.abs().max()) if call.z.numel() else 0.0
    bound = torch.finfo(call.z.dtype).eps * largest
    if sigma < bound:
        raise ValueError(
            f"sigma={sigma:g}: such noise vanishes in {call.z.dtype} beside signals of up to "
            f"{largest:.3g}; give more than {bound:.1e}"
        )
