"""Nodes that can be perturbed: the output of each weight, at each of its uses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rules.contract import Batch, Cost, Run, Trace
from rules.credit.zero_order.draws import normal_like
from rules.credit.zero_order.flat.alone import losses_alone, sample_axis
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.layered.blocks import Call, intercepted, rows, stacked, unstacked
from rules.credit.zero_order.sharing import generator
from rules.forward import leaves, map_tensors
from rules.optional import plain, turned_inside
from rules.weight_gradients import outer_products, weight_gradients


class Nodes:
    """The uses of weights in a pass, each `[T, B, features]`, and passes in which noise is added to them."""

    def __init__(self, asking: Asking, learned: dict[str, nn.Parameter], sigma: float) -> None:
        self.asking, self.sigma = asking, sigma
        self.names = {id(p): name for name, p in learned.items()}
        self.calls: dict[int, Call] = {}

        def listen(number: int, module: nn.Module, pre: Tensor, z: Tensor) -> None:
            if any(id(p) in self.names for p in module.parameters(recurse=False)):
                self.calls[number] = Call(module, pre, z)

        with torch.no_grad(), intercepted(asking.model, listen):
            self.clean = asking.run()
        if not self.calls:
            raise ValueError(
                f"{type(asking.model).__name__} called no nn.Linear or convolution that learns: there is "
                "no node to perturb; use SPSA, which perturbs any weight"
            )
        self.forms = {number: self.form(call) for number, call in self.calls.items()}
        for call in self.calls.values():
            require_audible(sigma, call)

    def form(self, call: Call) -> str:
        """Return how a use of a weight stacks time and batch; see `rows`."""
        samples = self.clean.output.shape[1]
        timed = [len(leaf) for leaf in leaves(self.asking.views.x) if sample_axis(leaf, samples)]
        steps = max(len(self.clean.output), *timed, 1)
        static = steps == 1 and len(call.z) == samples
        return rows(call, 0 if static else 1, steps, samples, turned_inside(plain(self.asking.model)))

    def noise(self, seed: int) -> Callable[[int], Tensor]:
        """Return the noise of a seed as a function of the use, to be called in the order of the uses."""
        rng = generator(seed)
        return lambda number: self.sigma * normal_like(self.calls[number].z, rng)

    def shaken(self, seed: int, sign: float) -> Run:
        """Make a pass with this noise, times a sign."""
        noise = self.noise(seed)

        def shake(number: int, module: nn.Module, pre: Tensor, z: Tensor) -> Tensor | None:
            return z + sign * noise(number) if number in self.calls else None

        with torch.no_grad(), intercepted(self.asking.model, shake):
            return self.asking.run()

    def losses_unperturbed(self) -> Tensor:
        """Return the loss of each sample in the unperturbed pass; raise ValueError if a single sample has none."""
        try:
            return self.losses([self.clean])
        except ValueError as error:
            raise ValueError(
                f"{self.asking.objective} fails on a single sample: {error}; NodePerturbation needs a loss of each: "
                "use SPSA, or an objective that does not compare samples"
            ) from error

    def losses(self, runs: list[Run]) -> Tensor:
        """Return the loss of each sample of each run, one run after the other."""
        views, objective = self.asking.views, self.asking.objective
        layers = zip(*(run.traces for run in runs), strict=True)
        traces = tuple(
            Trace(t[0].weight, *(torch.cat(signals, 1) for signals in zip(*(part[1:] for part in t), strict=True)))
            for t in layers
        )
        samples = runs[0].output.shape[1]
        x = map_tensors(lambda leaf: torch.cat([leaf] * len(runs), sample_axis(leaf, samples)), views.x)
        y, targets, lengths = (
            None if part is None else torch.cat([part] * len(runs), axis)
            for part, axis in ((views.y, 0), (views.targets, 1), (views.lengths, 0))
        )
        batch = Batch(x, y, None, targets, lengths)
        return losses_alone(objective, Run(torch.cat([run.output for run in runs], 1), None, traces), batch)

    def gradients(self, numbers: list[int], factors: Tensor) -> dict[str, Tensor]:
        """Return the gradients of weights for `factors [draws, B]` of the noise of each seed."""
        errors = {number: torch.zeros_like(call.z) for number, call in self.calls.items()}
        for seed, each in zip(numbers, factors, strict=True):
            noise = self.noise(seed)
            for number, error in errors.items():
                shaken = unstacked(noise(number), self.forms[number], len(each))
                factor = each.to(error).view(1, -1, *[1] * (shaken.ndim - 2))
                error += stacked(factor * shaken, self.forms[number]).reshape(error.shape)
        found: dict[str, Tensor] = {}
        for number, (module, pre, _) in self.calls.items():
            own = dict(module.named_parameters(recurse=False))
            for part, gradient in weight_gradients(module, pre, errors[number]).items():
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


def own_gradients(asking: Asking, clean: Run) -> dict[str, Tensor]:
    """Return the gradients of the objective's own parameters, by autograd on the model's output."""
    if not asking.own:
        return {}
    with torch.enable_grad():
        loss = asking.judged(clean)
        slopes = torch.autograd.grad(loss, list(asking.own.values()), allow_unused=True)
    return {name: g for name, g in zip(asking.own, slopes, strict=True) if g is not None}
