"""The contract of plasticity as a test suite, for any recipe for an optimizer."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rules.check.claims import require, same
from rules.check.rule import Report, checked
from rules.optional import tissue

Plasticity = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
STEPS = 40  # several carries, and enough for the mean direction to exceed a device's noise
PULL = 5.0  # size of the gradients; for a device, the number of pulses


def check_plasticity(plasticity: Plasticity) -> Report:
    """Check a plasticity against the contract on two small parameters; takes about a second.

    Optional methods of the optimizer are used if it has them: `held(p)` and `bounds(p)`, the weights without noise and
    their bounds; `shown(p)`, what of them a parameter shows; `reading(model, generator, elapsed)`, a context with the
    weights after drift.

    Args:
        plasticity: any recipe for a `torch.optim.Optimizer`, called with parameters.

    Returns:
        A report with one result for each member of `CHECKS`.

    >>> from rules.plasticity import SGD
    >>> check_plasticity(SGD(lr=0.1)).passed
    True
    """
    return checked(plasticity, CHECKS)


def plain_data(plasticity: Plasticity) -> None:
    """Check that the recipe is a frozen dataclass that can be pickled and compared."""
    require(
        is_dataclass(plasticity) and type(plasticity).__dataclass_params__.frozen,
        f"{type(plasticity).__name__} is not a frozen dataclass; decorate it with @dataclass(frozen=True)",
    )
    again = pickle.loads(pickle.dumps(plasticity))
    require(again == plasticity, f"{plasticity} does not equal its pickled copy: is there a field without equality?")


def stays_within_bounds(plasticity: Plasticity) -> None:
    """Check that weights stay finite, and within the optimizer's bounds, under large gradients of either sign."""
    for sign in (1.0, -1.0):
        net, optimizer = _made(plasticity)
        devices = tissue(optimizer)
        for _ in range(STEPS):
            _drive(net, optimizer, partial(torch.full_like, fill_value=4 * PULL * sign))
        for p in net.parameters():
            require(bool(p.isfinite().all()), "a weight became NaN or infinite under large gradients")
            if (limits := devices.bounds(p)) is not None:
                low, high = limits
                slack = 1e-6 * (high - low).abs()  # of float32, through a change of unit
                inside = (devices.held(p) >= low - slack) & (devices.held(p) <= high + slack)
                require(bool(inside.all()), "a weight left the bounds that the optimizer states for it")


def rests_at_zero_gradient(plasticity: Plasticity) -> None:
    """Check that a step with zero gradients, or without gradients, changes weights only by the drift of `reading`."""
    for gradient in (torch.zeros_like, _none):
        net, optimizer = _made(plasticity)
        with _reading(optimizer, net):
            awaited = _weights(net)
        _drive(net, optimizer, gradient)
        require(same(awaited, _weights(net)), "weights moved at zero gradient by something other than a stated drift")


def own_generator(plasticity: Plasticity) -> None:
    """Check that two optimizers from one recipe take the same path, without using torch's global generator."""
    kept = torch.get_rng_state()
    try:
        paths = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            paths.append(_path(*_made(plasticity)))
            require(torch.equal(before, torch.get_rng_state()), "drew from torch's global generator; take a seed")
    finally:
        torch.set_rng_state(kept)
    require(same(*paths), "two optimizers from one recipe differ: draw from a generator of the recipe's seed")


def resumes_bit_exactly(plasticity: Plasticity) -> None:
    """Check that saving to a file and resuming in a new optimizer gives the same bits as an uninterrupted run."""
    whole, first, second = (_made(plasticity) for _ in range(3))
    _path(*whole)
    _path(*first, seeds=range(5))
    file = io.BytesIO()
    torch.save((first[0].state_dict(), first[1].state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    second[0].load_state_dict(weights)
    second[1].load_state_dict(state)
    _path(*second, seeds=range(5, 12))
    require(
        same(_weights(whole[0]), _weights(second[0])),
        "resumed weights differ: everything that changes belongs in state_dict, generators included",
    )


def heeds_a_scheduler(plasticity: Plasticity) -> None:
    """Check that learning stops when a schedule sets the learning rate to 0, and continues when it rises again."""
    net, optimizer = _made(plasticity)
    still, rest = _made(plasticity)
    scheduler, _ = (torch.optim.lr_scheduler.LambdaLR(each, lambda n: float(n > 0)) for each in (optimizer, rest))
    at_zero = same(_path(net, optimizer), _path(still, rest, gradient=torch.zeros_like))
    require(at_zero, "weights moved by gradients while the schedule had set lr to 0")
    scheduler.step()
    require(not same(_weights(net), _path(net, optimizer)), "weights did not move after the schedule raised lr again")


def heeds_groups(plasticity: Plasticity) -> None:
    """Check that each parameter group follows its own learning rate."""
    net, optimizer = _made(plasticity, lambda net: [{"params": [net.weight]}, {"params": [net.bias], "lr": 0.0}])
    still, rest = _made(plasticity, lambda net: [{"params": [net.weight]}, {"params": [net.bias]}])
    _path(net, optimizer)
    _path(still, rest, gradient=torch.zeros_like)
    require(not torch.equal(net.weight, still.weight), "the group with the usual learning rate did not move")
    require(torch.equal(net.bias, still.bias), "the group with lr=0 moved by its gradient")


def moves_against_the_gradient(plasticity: Plasticity) -> None:
    """Check that weights with positive gradients go down and those with negative ones up, on average."""
    net, optimizer = _made(plasticity)
    held = tissue(optimizer).held
    before = [held(p).clone() for p in net.parameters()]
    signs = [torch.where(torch.arange(p.numel()).view(p.shape) % 2 == 0, 1.0, -1.0).to(p) for p in net.parameters()]
    for _ in range(STEPS):
        for p, sign in zip(net.parameters(), signs, strict=True):
            p.grad = 4 * PULL * sign
        optimizer.step()
    for p, sign, was in zip(net.parameters(), signs, before, strict=True):
        along = (held(p) - was) * sign
        noise = float(along.std()) / along.numel() ** 0.5
        mean = float(along.mean())
        require(
            mean < -2 * noise,
            f"along the sign of the gradient weights moved by {mean:.3g} +- {noise:.3g}; wanted a negative number",
        )


def shows_what_it_holds(plasticity: Plasticity) -> None:
    """Check that after every step the parameters are what the optimizer states that it shows of what it holds."""
    net, optimizer = _made(plasticity)
    for seed in range(12):
        for p in net.parameters():
            stated = tissue(optimizer).shown(p)
            require(torch.equal(p, stated), f"after {seed} steps a parameter is not what `shown` states")
        _drive(net, optimizer, partial(_noise, seed))


CHECKS: dict[str, Callable[[Plasticity], None]] = {
    "plain data": plain_data,
    "stays within bounds": stays_within_bounds,
    "rests at zero gradient": rests_at_zero_gradient,
    "own generator": own_generator,
    "resumes bit-exactly": resumes_bit_exactly,
    "heeds a scheduler": heeds_a_scheduler,
    "heeds groups": heeds_groups,
    "moves against the gradient": moves_against_the_gradient,
    "shows what it holds": shows_what_it_holds,
}


def _made(
    plasticity: Plasticity, groups: Callable[[nn.Linear], Any] = lambda net: net.parameters()
) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """Build a layer that is the same at every call, and the plasticity's optimizer for it."""
    rng = torch.Generator().manual_seed(0)
    net = nn.Linear(20, 20, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for p in net.parameters():
            p.uniform_(-0.1, 0.1, generator=rng)
    return net, copy.deepcopy(plasticity)(groups(net))


def _drive(net: nn.Module, optimizer: torch.optim.Optimizer, gradient: Callable[[Tensor], Tensor | None]) -> None:
    for p in net.parameters():
        p.grad = gradient(p)
    optimizer.step()


def _path(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    seeds: Iterable[int] = range(12),
    gradient: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the weights after a step for each seed of a random gradient."""
    for seed in seeds:
        _drive(net, optimizer, gradient or partial(_noise, seed))
    return _weights(net)


def _noise(seed: int, p: Tensor) -> Tensor:
    return PULL * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))


def _none(p: Tensor) -> None:
    return None


def _reading(optimizer: torch.optim.Optimizer, net: nn.Module) -> Any:
    return tissue(optimizer).reading(net, torch.Generator().manual_seed(0), elapsed=1)


def _weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}
