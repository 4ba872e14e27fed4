"""Memristive plasticity as plain data, for a rule or a configuration file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from torch import Tensor, nn

from rules.errors import unknown
from rules.fields import at_least, check_fields
from rules.plasticity.memristor.device import Device
from rules.plasticity.memristor.optimizer import MemristorOptimizer
from rules.plasticity.memristor.presets import DEVICES
from rules.plasticity.memristor.stores import STORES, WeightStore


@dataclass(frozen=True)
class Memristor:
    """Parameters held in memristive devices, changed by pulses; builds a `MemristorOptimizer`.

    Args:
        device: a `Device`, or a name in `DEVICES`.
        store: a `WeightStore`, or a name in `STORES`.
        device_options: replaces fields of the device; `{"cell": {...}}` those of the cells of a pair.
        store_options: replaces fields of the store.
        w_max: weight, in units of the parameters, that devices must be able to hold with either sign; used if `scale`
            is None.
        pulse: mean change of a parameter by one pulse to a device; None for the device's own.
        lr: as in `MemristorOptimizer`.
        scale: as in `MemristorOptimizer`.
        train: as in `MemristorOptimizer`.
        seed: of every draw; None for that of the Trainer.

    Raises:
        ValueError: for an unknown name or field, with the valid ones and the nearest, and for a number out of range.

    >>> recipe = Memristor("reram_sb", "direct", device_options={"dw_min_std": 0.0}, scale=1.0)
    >>> recipe([nn.Parameter(nn.init.zeros_(nn.Linear(2, 3).weight))]).device.dw_min_std
    0.0
    """

    device: str | Device = "ideal"
    store: str | WeightStore = "accumulate_and_carry"
    device_options: dict[str, Any] = field(default_factory=dict)
    store_options: dict[str, Any] = field(default_factory=dict)
    w_max: float = 0.0
    pulse: float | None = None
    lr: float | None = None
    scale: float | None = None
    train: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(0, self, "lr", "w_max", "seed")
        at_least(1, self, "train")
        for name in ("pulse", "scale"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}: give a number above 0, or None")
        self.parts()

    def parts(self) -> tuple[Device, WeightStore]:
        """Return the device and the store, with their options."""
        device = named("device", self.device, DEVICES)
        store = self.store if isinstance(self.store, WeightStore) else named("store", self.store, STORES)()
        return changed(device, self.device_options), changed(store, self.store_options)

    def seeded(self, seed: int) -> Memristor:
        """Return a copy with this seed, unless it has one; the Trainer calls this with its own seed."""
        return replace(self, seed=seed) if self.seed is None else self

    def __call__(self, parameters: Iterable[nn.Parameter]) -> MemristorOptimizer:
        device, store = self.parts()
        held: list[Any] = list(parameters)
        scale = self.scale
        if scale is None and (self.w_max or self.pulse is not None):  # otherwise each group finds its own
            scale = self._scale(held, store.range(device))
        if self.pulse is not None and scale is not None:
            device = device.with_step(self.pulse / scale)
        return MemristorOptimizer(held, device, store, self.seed or 0, self.lr, scale, self.train)

    def _scale(self, held: list[Any], bounds: tuple[float, float]) -> float:
        """Return the scale at which devices hold `w_max` and twice the largest initial weight, for all groups."""
        largest = max((float(p.detach().abs().max()) for p in _flat(held) if p.numel()), default=0.0)
        return max(self.w_max, 2 * largest) / min(-bounds[0], bounds[1]) or 1.0


def _flat(held: list[Any]) -> Iterator[Tensor]:
    """Yield the tensors from all forms of parameters that torch accepts: tensors, groups, named or not."""
    for item in held:
        if isinstance(item, dict):
            yield from _flat([item["params"]] if isinstance(item["params"], Tensor) else list(item["params"]))
        else:
            yield item[1] if isinstance(item, tuple) else item


def named(kind: str, given: Any, members: Mapping[str, Any]) -> Any:
    """Return a member of a registry by its name; anything but a name as it is."""
    if isinstance(given, str) and given not in members:
        raise unknown(kind, given, members)
    return members[given] if isinstance(given, str) else given


def changed(settings: Any, options: dict[str, Any]) -> Any:
    """Return a copy of a dataclass with other fields; a dict changes fields of the dataclass that a field holds."""
    valid = [f.name for f in fields(settings)]
    for name in options:
        if name not in valid:
            raise unknown(f"field of {type(settings).__name__}", name, valid)
    inner = {
        name: changed(before, value) if isinstance(value, dict) and is_dataclass(before) else value
        for name, value in options.items()
        for before in (getattr(settings, name),)
    }
    return replace(settings, **inner)
