"""A memristor as an optimizer: a cell steps against its gradient, by whole pulses, as far as its physics allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from rules.contract import Cost
from rules.optional import Tissue
from rules.plasticity.eager import Eager
from rules.plasticity.memristor.device import Device, normal
from rules.plasticity.memristor.pulses import rounded, train
from rules.plasticity.memristor.reading import Glance, seen
from rules.plasticity.memristor.stores import AccumulateAndCarry, WeightStore


class MemristorOptimizer(Eager, Tissue):
    r"""Holds parameters in memristive devices and changes them by pulses.

    .. math::
        p = scale \cdot w, \quad a = -\frac{lr}{scale \cdot step}\, \frac{\partial L}{\partial p}, \quad
        n = \text{a rounded at random}

    where w are the visible weights of the devices and `step` is the nominal mean weight change of one pulse to the
    store. Hence `lr` has its usual meaning: on average, with nominal steps, p changes by `-lr * grad`. The pulses go to
    the store, and after every step all stores tick: carries, drift, refresh. `p.data` always equals the visible
    weights; anything else written to it is lost at the next step. With a zero or missing gradient only drift remains.

    Args:
        params: parameters, or groups of them; `lr`, `scale` and `train` can differ between groups.
        device: settings of the devices.
        store: how pulses reach the devices; `AccumulateAndCarry()` by default.
        seed: of every draw, the spread of cells included.
        lr: learning rate; None for one pulse per unit of gradient, `lr = scale * step`.
        scale: parameter per normalised weight; None places the largest initial weight at half the smaller bound.
        train: length of a stochastic pulse train (`pulses.train`); None to round (`pulses.rounded`).

    Attributes:
        writes: pulses written so far, for each parameter.
        clipped: number of updates so far that were longer than the pulse train.

    Raises:
        ValueError: for initial weights beyond the bounds, NaN or infinite gradients (before anything is changed), a
            store that does not fit the device, or a state of another geometry.
        RuntimeError: for a step inside `reading`.

    >>> from rules.plasticity.memristor import DEVICES, Direct
    >>> p = nn.Parameter(torch.tensor([0.5, -0.25]))
    >>> optimizer = MemristorOptimizer([p], DEVICES["ideal"], Direct(), seed=0, scale=1.0)
    >>> p.grad = torch.tensor([-3.0, 1.0])
    >>> optimizer.step()
    >>> p.data, optimizer.spent().pulses
    (tensor([ 0.5300, -0.2600]), 4)
    """

    def __init__(
        self,
        params: ParamsT,
        device: Device,
        store: WeightStore | None = None,
        seed: int = 0,
        lr: float | None = None,
        scale: float | None = None,
        train: int | None = None,
    ) -> None:
        self.device = device
        self.store = AccumulateAndCarry() if store is None else store
        self.seed = seed
        self.clipped = 0
        self._rng: torch.Generator | None = None
        self._since = Cost()
        self._reading = False
        super().__init__(params, {"lr": lr, "scale": scale, "train": train})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Fabricate devices for more parameters and write the parameters to them."""
        super().add_param_group(param_group)
        try:
            self._fabricate(self.param_groups[-1])
        except ValueError:
            for p in self.param_groups.pop()["params"]:
                self.state.pop(p, None)
            raise

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Draw pulses, apply them, let one step of time pass."""
        if self._reading:
            raise RuntimeError(
                "step inside `with optimizer.reading(...)`: leave the block first, its weights are temporary"
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, name, p in self._named():
            if p.grad is not None and not p.grad.sum().isfinite() and not p.grad.isfinite().all():
                raise ValueError(
                    f"the gradient of parameter {number}{name}, {tuple(p.shape)}, has a NaN or an infinity; no pulse "
                    "was applied: correct the loss or lower the learning rate"
                )
        for group in self.param_groups:
            for p in group["params"]:
                self._advance(p, group)
        return loss

    @contextmanager
    def reading(self, model: nn.Module, generator: torch.Generator, elapsed: int = 0) -> Iterator[None]:
        """Make forward passes of `model` inside this context see the devices as they are read.

        Every output of a linear or convolutional layer whose weight is held here gets noise of standard deviation
        `read_noise` times the width of the weights' range, in parameter units. Every cell gets noise of `cell_noise`
        times that width, drawn once per context. Afterwards, even after an exception, parameters are restored to the
        last bit.

        Args:
            model: the model whose passes see the noise.
            generator: source of the noise.
            elapsed: steps without a pulse for which the weights have drifted, 0 by default.
        """
        low, high = self.store.range(self.device)
        glances = {}
        for group in self.param_groups:
            size = group["scale"] * (high - low)
            for p in group["params"]:
                shown = group["scale"] * self._drifted(p, elapsed) if elapsed else None
                if self.device.cell_noise:
                    noise = self.device.cell_noise * size * normal(p.data, generator)
                    shown = (p.data if shown is None else shown) + noise
                glances[p] = Glance(shown, self.device.read_noise * size)
        around, self._reading = self._reading, True
        try:
            with seen(model, glances, generator):
                yield
        finally:
            self._reading = around

    def spent(self) -> Cost:
        """Return the pulses written and random bits drawn since the last call."""
        since, self._since = self._since, Cost()
        return since

    @property
    def writes(self) -> list[int]:
        """Pulses written so far, for each parameter."""
        return [self.state[p]["writes"] for _, _, p in self._named()]

    def held(self, p: nn.Parameter) -> Tensor:
        """Return what the devices of a parameter hold, without write noise, in the parameter's unit."""
        scale: float = self._group(p)["scale"]
        return scale * self.store.held(self.device, self.state[p]["store"])

    def bounds(self, p: nn.Parameter) -> tuple[Tensor, Tensor]:
        """Return the lower and the upper bound of `held(p)`."""
        scale: float = self._group(p)["scale"]
        low, high = self.store.bounds(self.device, self.state[p]["store"])
        return scale * low, scale * high

    def state_dict(self) -> dict[str, Any]:
        """Return what a bit-exact continuation needs, the constants of every cell and the generator included."""
        kept: dict[str, Any] = super().state_dict()
        kept["memristor"] = {
            "settings": self._settings(),
            "generator": self._generator().get_state(),
            "clipped": self.clipped,
        }
        return kept

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state; parameters become the visible weights of its devices."""
        found = state_dict.get("memristor", {})
        if found.get("settings") != self._settings():
            raise ValueError(
                f"the state is of {found.get('settings', 'another optimizer')}, this is {self._settings()}: build the "
                "optimizer with the device and store of the state"
            )
        ids = [i for group in state_dict["param_groups"] for i in group["params"]]
        for (number, name, p), i in zip(self._named(), ids, strict=False):
            shape = tuple(state_dict["state"][i]["shape"])
            if shape != tuple(p.shape):
                raise ValueError(
                    f"parameter {number}{name} is {tuple(p.shape)}, the devices of the state are {shape}: build the "
                    "model with the sizes of the state"
                )
        super().load_state_dict(state_dict)  # raises if the number or the lengths of groups differ
        for (_, _, p), i in zip(self._named(), ids, strict=True):
            # torch casts what it loads to the parameter's dtype; counts must stay whole numbers
            self.state[p] = _moved(state_dict["state"][i], p.device)
            self._show(p, self._group(p)["scale"])
        self._generator().set_state(found["generator"].cpu())
        self.clipped = found["clipped"]
        self._since = Cost()

    def __getstate__(self) -> dict[str, Any]:
        mine = {"device", "store", "seed", "clipped", "_since", "_reading"}
        kept = {name: value for name, value in self.__dict__.items() if name in mine}
        return {**super().__getstate__(), **kept, "_rng": self._generator().get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != "_rng"})
        if "_rng" in state:  # absent when torch's load_state_dict calls this method
            self._rng = None
            self._generator().set_state(state["_rng"])

    def _fabricate(self, group: dict[str, Any]) -> None:
        """Resolve the group's options and write its parameters to new devices."""
        low, high = self.store.range(self.device)
        if not low < 0 < high:
            raise ValueError(f"the device holds {low} to {high}: weights need both signs; use a DifferentialPair")
        for p in group["params"]:
            if p.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"a parameter of {p.dtype}: devices are simulated in float32 or float64; convert it")
        if group["train"] is not None and group["train"] < 1:
            raise ValueError(f"train={group['train']}: a pulse train has at least 1 pulse; None rounds instead")
        extremes = [float(x) for p in group["params"] if p.numel() for x in p.detach().aminmax()]
        smallest, largest = min(extremes, default=0.0), max(extremes, default=0.0)
        if group["scale"] is None:
            group["scale"] = 2 * max(-smallest, largest) / min(-low, high) or 1.0
        scale = group["scale"]
        if not scale > 0:
            raise ValueError(f"scale={scale}: parameter = scale * weight needs a positive scale")
        if group["lr"] is None:
            group["lr"] = scale * self.store.step(self.device)
        if not group["lr"] >= 0:
            raise ValueError(f"lr={group['lr']}: give at least 0, or None for one pulse per unit of gradient")
        if not scale * low <= smallest <= largest <= scale * high:
            raise ValueError(
                f"initial weights from {smallest:.4g} to {largest:.4g} do not fit the bounds of the device times "
                f"scale={scale:.4g}, {scale * low:.4g} to {scale * high:.4g}: raise scale, leave it None, or "
                "initialise smaller weights"
            )
        with torch.no_grad():
            for p in group["params"]:
                weights = p.detach() / group["scale"]
                array = self.store.init(self.device, weights.contiguous(), self._generator())
                self.state[p] = {"store": array, "shape": tuple(p.shape), "writes": 0}
                self._show(p, group["scale"])

    def _advance(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        """Take one step for one parameter."""
        state, rng = self.state[p], self._generator()
        pulses = bits = 0
        if p.grad is not None:
            wish = p.grad * (-group["lr"] / (group["scale"] * self.store.step(self.device)))
            drawn = rounded(wish, rng) if group["train"] is None else train(wish, group["train"], rng)
            bits = drawn.random_bits
            self.clipped += drawn.clipped
            pulses = self.store.pulse(self.device, state["store"], drawn.n, rng)
        pulses += self.store.tick(self.device, state["store"], rng)
        state["writes"] += pulses
        self._since += Cost(pulses=pulses, random_bits=bits)
        self._show(p, group["scale"])

    def _show(self, p: nn.Parameter, scale: float) -> None:
        torch.mul(self.store.read(self.device, self.state[p]["store"]), scale, out=p.data)

    def _drifted(self, p: nn.Parameter, steps: int) -> Tensor:
        return self.store.drifted(self.device, self.state[p]["store"], steps)

    def _named(self) -> Iterator[tuple[int, str, nn.Parameter]]:
        """Yield every parameter with its number and, if the optimizer knows names, its name in brackets."""
        number = 0
        for group in self.param_groups:
            names = group.get("param_names", [None] * len(group["params"]))
            for name, p in zip(names, group["params"], strict=True):
                yield number, "" if name is None else f" ({name})", p
                number += 1

    def _group(self, p: nn.Parameter) -> dict[str, Any]:
        return next(group for group in self.param_groups if any(p is q for q in group["params"]))

    def _settings(self) -> str:
        return f"{self.device} in {self.store}"

    def _generator(self) -> torch.Generator:
        if self._rng is None:
            self._rng = torch.Generator().manual_seed(self.seed)  # of the CPU: the same devices everywhere
        return self._rng


def _moved(value: Any, device: torch.device) -> Any:
    """Return a copy with every tensor on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return copy.copy(value)
