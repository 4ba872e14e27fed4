"""An estimate of the energy of one update, with everything that it depends on written beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rules.errors import unknown
from sandbox.hardware.constants import HARDWARE, Hardware
from sandbox.hardware.moves import moves, state_bits, touched
from sandbox.hardware.operations import operations
from sandbox.hardware.optimizers import OPTIMIZERS, Update
from sandbox.hardware.plans import KEPT, Plan, plan_of
from sandbox.hardware.streamed import streamed
from sandbox.hardware.workload import Layer, Workload

ENGINES = ("forward", "backward", "weight", "optimizer")
KINDS = ("compute", "memory")
USUAL = (1.0, 10.0)  # [pJ] for each multiply-accumulate of a dense update with memory: wide around the anchor


class Entry(NamedTuple):
    """Energy of one engine for one layer, in the unit of the hardware."""

    layer: str
    engine: str
    kind: str
    energy: float
    dram: float = 0.0  # part of it that is spent on DRAM


@dataclass(frozen=True)
class Report:
    """The energy of one update on one batch; its total is the sum of its entries.

    Attributes:
        hardware: the constants.
        rule: its name.
        plan: of the rule.
        workload: the layers.
        entries: one for each layer, engine and kind.
        optimizer: its name; None if not included.
        dram: whether accesses to DRAM are included.
        buffer: bytes of SRAM that a tensor has to fit into.
        state_bytes: what the rule keeps for learning, at most.
        updates: of the weights for each batch.
    """

    hardware: Hardware
    rule: str
    plan: Plan
    workload: Workload
    entries: tuple[Entry, ...]
    optimizer: str | None
    dram: bool
    buffer: int | None
    state_bytes: float
    updates: float = 1.0

    def sum(self, engine: str | None = None, kind: str | None = None, layer: str | None = None) -> float:
        """Return the energy of an engine, a kind or a layer, or of several of these; of everything by default.

        Args:
            engine: of ENGINES; that of an optimizer that is not included is 0.
            kind: "compute" or "memory".
            layer: name of a layer.

        Raises:
            ValueError: for an unknown name.
        """
        layers = [each.name for each in self.workload.layers]
        for what, name, valid in (("engine", engine, ENGINES), ("kind", kind, KINDS), ("layer", layer, layers)):
            if name is not None and name not in valid:
                raise unknown(what, name, valid)
        wanted = (layer, engine, kind)
        return sum(
            each.energy for each in self.entries if all(w in (None, e) for w, e in zip(wanted, each, strict=False))
        )

    @property
    def total(self) -> float:
        """The energy of everything."""
        return self.sum()

    @property
    def per_mac(self) -> float:
        """The total for each multiply-accumulate of dense work, forward, back and for weights alike."""
        over = [self.plan.over(layer.steps) for layer in self.workload.layers]
        done = [
            layer.macs * (1 + o.probes + o.backward * (layer.passes and self.plan.down) + o.weight)
            for layer, o in zip(self.workload.layers, over, strict=True)
        ]
        return self.total / sum(done)

    @property
    def unusual(self) -> bool:
        """Whether a dense update with memory takes less than 1 pJ, or more than 10, for each multiply-accumulate."""
        dense = self.hardware.unit == "pJ" and self.includes["memory"] and not any(self.hardware.skips)
        return dense and self.includes["backward"] and not USUAL[0] <= self.per_mac <= USUAL[1]

    def facts(self) -> dict[str, Any]:
        """Return everything as plain data."""
        spikes, errors = self.workload.rates
        return {
            "hardware": self.hardware.name,
            "rule": self.rule,
            "estimator": self.hardware.estimator,
            "source": self.hardware.source,
            "covers": self.hardware.covers,
            "unit": self.hardware.unit,
            "includes": self.includes,
            "buffer_bytes": self.buffer,
            "rates": {"r_s": spikes, "r_g": errors, "source": self.workload.source},
            "layers": {
                layer.name: {
                    "r_s": layer.spikes,
                    "r_g": layer.errors,
                    "d_w": layer.weights,
                    "bits": layer.bits,
                    "macs": layer.macs,
                }
                for layer in self.workload.layers
            },
            "updates": self.updates,
            "state": KEPT[self.plan.state],
            "state_bytes": self.state_bytes,
            "note": self.plan.note,
            "per_mac": self.per_mac,
            "unusual": self.unusual,
            "entries": [each._asdict() for each in self.entries],
            "total": self.total,
        }

    @property
    def includes(self) -> dict[str, Any]:
        """What is in the total: the backward engines, memory, DRAM, and which optimizer."""
        over = self.plan.schedule
        backward = bool(self.plan.sampled or over.backward or over.weight)
        memory = self.hardware.memory is not None
        return {"backward": backward, "memory": memory, "dram": self.dram and memory, "optimizer": self.optimizer}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def estimate(
    workload: Workload,
    rule: str | Plan = "bptt",
    hardware: str | Hardware = "neuromc",
    *,
    optimizer: str | None = None,
    updates: float = 1.0,
    buffer: int | None = None,
    dram: bool | None = None,
    title: str = "a plan of one's own",
) -> Report:
    """Estimate the energy of learning from one batch.

    Args:
        workload: the layers, measured or by hand.
        rule: a name in `rules.RULES`, a family, or a plan.
        hardware: a name in HARDWARE, or constants.
        optimizer: "sgd", "momentum" or "adam"; None leaves it out.
        updates: of the weights for each batch, 1 by default.
        buffer: bytes of SRAM that a tensor has to fit into; that of the hardware by default.
        dram: whether to include accesses to DRAM; by default as the hardware says.
        title: name of a plan, for the report.

    Raises:
        NoEstimate: for a rule without a formula.
        ValueError: for an unknown name, and for an optimizer whose operations have no price here.

    >>> dense = Workload((Layer("hidden", 700, 128, steps=100),), classes=20)
    >>> found = estimate(dense)
    >>> [round(found.sum(engine, "compute") * 1e-6, 1) for engine in ("forward", "backward", "weight")]  # uJ
    [5.2, 12.3, 5.2]
    """
    found = _member("hardware", hardware, HARDWARE)
    plan, name = (rule, title) if isinstance(rule, Plan) else (plan_of(rule), rule)
    update = None if optimizer is None else _member("optimizer", optimizer, OPTIMIZERS)
    held = (found.memory.buffer if found.memory else None) if buffer is None else buffer
    drawn = found.dram if dram is None else dram
    entries: list[Entry] = []
    for layer in workload.layers:
        last = layer is workload.layers[-1]
        entries += _compute(layer, plan, found, workload.classes, last)
        entries += _memory(layer, plan, found, held, drawn, last)
        entries += [] if update is None or (plan.last and not last) else _updated(layer, update, found, updates)
    kept = sum(state_bits(layer, plan) for layer in workload.layers) / 8
    return Report(found, name, plan, workload, tuple(entries), optimizer, drawn, held, kept, updates)


def _member(kind: str, name: Any, valid: dict[str, Any]) -> Any:
    if not isinstance(name, str):
        return name
    if name not in valid:
        raise unknown(kind, name, valid)
    return valid[name]


def _compute(layer: Layer, plan: Plan, hardware: Hardware, classes: int, last: bool) -> Iterator[Entry]:
    for engine, energy in operations(layer, plan, hardware, classes, last)._asdict().items():
        yield Entry(layer.name, engine, "compute", energy)


def _memory(
    layer: Layer, plan: Plan, hardware: Hardware, buffer: int | None, dram: bool, last: bool
) -> Iterator[Entry]:
    """Yield the energy of memory: tensor by tensor, or tile by tile and of tensors only what lies in DRAM."""
    memory = hardware.memory
    if memory is None or buffer is None:
        yield from (Entry(layer.name, engine, "memory", 0.0) for engine in ENGINES[:3])
        return
    near = dict.fromkeys(ENGINES[:3], 0.0)
    far = dict.fromkeys(ENGINES[:3], 0.0)
    share = touched(layer, plan) if hardware.skips.gradients else 1.0
    for move in moves(layer, plan, memory, last, share):
        if move.place(memory, buffer) is memory.dram:
            far[move.engine] += dram * move.energy(memory, buffer)
        elif move.added or not hardware.streamed:
            near[move.engine] += move.energy(memory, buffer)
    if hardware.streamed:
        for engine, energy in streamed(layer, plan, memory, last)._asdict().items():
            near[engine] += energy
    yield from (Entry(layer.name, engine, "memory", near[engine] + far[engine], far[engine]) for engine in near)


def _updated(layer: Layer, update: Update, hardware: Hardware, updates: float) -> Iterator[Entry]:
    weights = updates * layer.parameters
    yield Entry(layer.name, "optimizer", "compute", weights * update.operations(hardware))
    yield Entry(layer.name, "optimizer", "memory", weights * update.memory(hardware))


def _lines(report: Report) -> Iterator[str]:
    """Yield the lines of a table and of what it depends on."""
    engines = ENGINES if report.optimizer else ENGINES[:3]
    width = max(len("layer"), *(len(layer.name) for layer in report.workload.layers))
    scale, unit = (1e-6, "uJ") if report.hardware.unit == "pJ" else (1.0, report.hardware.unit)
    title = f"energy of one batch with {_updates(report.updates)}, estimated, not measured"
    yield f"{report.hardware.name}, {report.rule}: {title} [{unit}]"
    heads = [f"{engine} {kind}" for engine in engines for kind in KINDS]
    yield "  ".join([f"{'layer':<{width}}", *heads, "total"])
    for name in (*(layer.name for layer in report.workload.layers), None):
        parts = [report.sum(engine, kind, name) for engine in engines for kind in KINDS]
        cells = [f"{part * scale:>{len(head)}.4g}" for part, head in zip(parts, heads, strict=True)]
        yield "  ".join([f"{name or 'all':<{width}}", *cells, f"{report.sum(layer=name) * scale:.4g}"])
    yield f"bits of weights: {_bits(report.workload)}"
    spikes, errors = report.workload.rates
    told = report.includes
    yield f"estimator: {report.hardware.estimator}"
    yield f"constants: {report.hardware.source}"
    yield f"covers: {report.hardware.covers}"
    yield "included: " + ", ".join(f"{what} {_word(told[what])}" for what in told)
    yield f"rates: r_s = {spikes:.4g}, r_g = {errors:.4g} ({report.workload.source})"
    yield f"for each multiply-accumulate, zeros included: {report.per_mac:.3g} {report.hardware.unit}" + (
        f", which is unusual: {USUAL[0]:g} to {USUAL[1]:g} are expected" if report.unusual else ""
    )
    yield f"kept for learning: {report.state_bytes:,.0f} bytes, {KEPT[report.plan.state]}"
    if report.plan.note:
        yield f"note: {report.plan.note}"


def _updates(count: float) -> str:
    """Return how many updates of the weights there are for a batch, in words.

    >>> _updates(1.0), _updates(0.25), _updates(3.0)
    ('one update', 'a share of 0.25 of an update', '3 updates')
    """
    if count == 1:
        return "one update"
    return f"{count:g} updates" if count > 1 else f"a share of {count:.3g} of an update"


def _bits(workload: Workload) -> str:
    """Return of how many bits the weights are, layer by layer where they differ."""
    every = {layer.bits for layer in workload.layers}
    each = ", ".join(f"{layer.name} {layer.bits}" for layer in workload.layers)
    return f"{every.pop()} each" if len(every) == 1 else each


def _word(value: Any) -> str:
    return {True: "yes", False: "no", None: "no"}.get(value, str(value))
