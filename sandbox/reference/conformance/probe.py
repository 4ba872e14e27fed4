"""Experiments on a cell of which nothing but its step is known, each a run from rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rules.steps import whole
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell, smallest
from sandbox.reference.conformance.firing import threshold_of
from sandbox.reference.conformance.seen import Facts
from sandbox.reference.conformance.stepping import Response, Step, respond

COLUMNS = 32  # membranes that are brought to the threshold, each along another path
AHEAD = 6  # steps that are watched behind a spike
OVER = (1.02, 1.2, 1.02)  # pulses, in those that just make it fire
HELD = (0.37, 0.37, 0.21)  # of the way from rest to the threshold, where a membrane is held behind each of these pulses
STRONG = 10.5  # the same, for strong input: ten thresholds fit into the membrane
LONGEST = 20_000  # steps that are waited for a second spike
NEAR = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the way to the threshold: its rounding, times what it is
# divided by, pulses of down to 1/10,000 of those that fire
INTEGERS = {8: torch.int64, 4: torch.int32, 2: torch.int16}


class Probe:
    """The experiments on one cell."""

    def __init__(self, step: Step, neuron: Cell, dt: float, dtype: torch.dtype) -> None:
        self.step, self.neuron, self.dt, self.dtype = step, neuron, dt, dtype
        self.found: dict[str, Any] = {}
        self.unseen: dict[str, str] = {}

    def facts(self) -> Facts:
        """Run the experiments, those that need no membrane first."""
        scale = abs(smallest(self.neuron.rheobase)) or 1.0
        if not getattr(self.neuron, "spiking", True):
            self._linear(torch.full((), scale, dtype=self.dtype))
            self._miss("it never fires", *("threshold", "fires_at", "reset", "amount", "shown", "delay"))
            self._miss("it never fires", "spikes_per_step", "refractory")
        elif self._pulse(scale):
            self._strong()
            shown = self._threshold()
            lin = self._linear(self.pulse) if shown else None
            if lin is not None:
                self._reset(*lin)
        return Facts(**self.found, unseen=self.unseen)

    def run(self, *rows: Tensor) -> Response:
        """Run columns of currents, given row by row."""
        wide = max(row.numel() for row in rows)
        return respond(self.step, torch.stack([row.to(self.dtype).expand(wide) for row in rows]))

    def _miss(self, why: str, *names: str) -> None:
        self.unseen.update({name: why for name in names if self.found.get(name) is None})

    def _pulse(self, scale: float) -> bool:
        """Find the weakest pulse that makes it fire in the first step in which any does."""
        zero = torch.zeros(1)
        pulses = (scale * 2.0 ** torch.arange(-6, 50, dtype=torch.float64)).to(self.dtype)
        fired = self.run(pulses, *[zero] * AHEAD).spikes > 0
        if not fired.any():
            strong = f"pulses of up to {float(pulses[-1]):.2g} nA did not make it fire"
            self._miss(strong, *(name for name in Facts.__dataclass_fields__ if name != "unseen"))
            return False
        self.latency = self.found["latency"] = int(fired.any(1).nonzero()[0])
        first = int(fired[self.latency].nonzero()[0])
        low = pulses[first - 1 : first] if first else torch.zeros(1, dtype=self.dtype)
        rest = [zero] * self.latency
        _, high = bisect(lambda c: self.run(c, *rest).spikes[self.latency] > 0, low, pulses[first : first + 1])
        self.pulse = high[0]
        return True

    def _strong(self) -> None:
        """Count spikes in a step, and steps between two spikes, under strong input."""
        steps = min(3 * whole(smallest(self.neuron.t_refractory) / self.dt) + 50, LONGEST)
        spikes = self.run(*[STRONG * self.pulse[None]] * (self.latency + steps)).spikes[:, 0]
        one = self.run(OVER[0] * self.pulse[None], *[torch.zeros(1)] * self.latency).spikes[self.latency]
        self.found["spikes_per_step"] = round(float(spikes[self.latency]) / float(one[0]))
        at = (spikes > 0).nonzero()[:, 0]
        self.found["refractory"] = int(at[1] - at[0]) - 1 if len(at) > 1 else steps

    def _threshold(self) -> bool:
        """Bring membranes to the threshold along several paths; return whether the cell shows its membrane."""
        zero, at = torch.zeros(1), 1 + self.latency
        primes = torch.linspace(0.0123, 0.95, COLUMNS, dtype=torch.float64).to(self.dtype) * self.pulse

        def run(c: Tensor) -> Response:
            return self.run(primes, c, *[zero] * self.latency)

        low, high = torch.zeros_like(primes), 2 * self.pulse.expand(COLUMNS)
        sides = run(low), run(high)
        fit = (sides[0].spikes[: at + 1].sum(0) == 0) & (sides[1].spikes[:at].sum(0) == 0) & (sides[1].spikes[at] > 0)
        if sides[0].v is None:
            self._miss("the step returns no membrane", "gain", "kept", "threshold", "fires_at", "reset", "amount")
            self._miss("the step returns no membrane", "shown", "delay")
            return False
        if not fit.any():
            self._miss("an input that follows another does not make it fire in a step of its own", "fires_at")
            return True
        low, high = bisect(lambda c: run(c).spikes[at] > 0, low, high, fit)
        silent, firing = run(low), run(high)
        assert silent.v is not None
        assert firing.v is not None
        self.found["threshold"] = float(silent.v[at][fit].max())
        level = level_of(self.neuron)
        if level is None:
            self._miss("the threshold is not a bound on one variable", "fires_at")
        elif not self._equality(silent.v[at][fit], firing.v[at][fit], level):
            self._slowly(level)
        return True

    def _equality(self, silent: Tensor, firing: Tensor, level: float) -> bool:
        """Compare membranes on both sides of a spike with the threshold; return whether it was met."""
        exact = torch.tensor(level, dtype=silent.dtype)
        below = torch.nextafter(exact, torch.full_like(exact, -torch.inf))
        if bool((silent == exact).any()):
            self.found["fires_at"] = ">"
        elif bool(((silent == below) | (firing == exact)).any()):
            self.found["fires_at"] = ">="
        return "fires_at" in self.found

    def _slowly(self, level: float) -> None:
        """Bring membranes to the threshold by constant currents, which are weak, so that rounding is finer."""
        last = torch.arange(8, 8 + 4 * COLUMNS, 4)
        until = torch.arange(int(last[-1]) + 1)[:, None] <= last

        def run(c: Tensor) -> Response:
            return self.run(*[c] * len(until))

        low, high = torch.zeros(COLUMNS, dtype=self.dtype), self.pulse.expand(COLUMNS)
        fit = (run(low).spikes * until).sum(0) == 0
        low, high = bisect(lambda c: (run(c).spikes * until).sum(0) > 0, low, high, fit)
        silent, firing = run(low), run(high)
        assert silent.v is not None
        assert firing.v is not None
        at = (last[None], torch.arange(COLUMNS)[None])
        fit &= (firing.spikes * until).argmax(0) == last
        top = f"no membrane met the threshold, {level:.9g}: it is silent up to {self.found['threshold']:.9g}"
        if not fit.any() or not self._equality(silent.v[at][0][fit], firing.v[at][0][fit], level):
            self._miss(top, "fires_at")

    def _linear(self, pulse: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the membrane at rest `[T]` and its answer to a pulse of 1 nA `[T]`; None where it is not linear."""
        zero, names = torch.zeros(1), ("gain", "kept", "reset", "amount", "shown", "delay")
        parts = torch.cat([zero, 0.5 ** torch.arange(1, 24)]).to(self.dtype) * pulse
        response = self.run(parts, *[zero] * (2 * AHEAD))
        if response.v is None:
            self._miss("the step returns no membrane", *names)
            return None
        spiking = getattr(self.neuron, "spiking", True)
        quiet = (response.spikes[:, 1:-1].sum(0) == 0) if spiking else torch.ones(len(parts) - 2, dtype=torch.bool)
        if not quiet.any():
            self._miss("weak pulses make it fire, too", *names)
            return None
        of = 1 + int(quiet.nonzero()[0])
        v = response.v.double()
        rest, whole_, half = v[:, 0], v[:, of] - v[:, 0], v[:, of + 1] - v[:, 0]
        if float((whole_ - 2 * half).abs().max()) > self.near(response) * float(whole_.abs().max()):
            self._miss("the membrane is not linear below the threshold", *names)
            return None
        if not bool(torch.isfinite(v).all()):
            self._miss("the membrane is not finite", *names)
            return None
        lin = whole_ / float(parts[of])
        moved = int((lin.abs() > 0).nonzero()[0]) if bool((lin != 0).any()) else 0
        self.latency = self.found.setdefault("latency", moved)
        self.found["gain"] = float(lin[self.latency])
        ratio = lin[self.latency + 1 : self.latency + 3] / lin[self.latency : self.latency + 2]
        self.synapse = not bool((ratio - ratio[0]).abs().max() <= self.near(response))
        if not self.synapse:
            self.found["kept"] = float(ratio[0])
        else:
            self._miss("a synapse filters the input, and no reset shows the membrane alone", "kept")
        return rest, lin

    def near(self, response: Response) -> float:
        """Return the tolerance for differences of membranes, as a share of them."""
        return NEAR.get(response.dtype, 1e-1)

    def held(self, pulse: Tensor, lin: Tensor, level: Tensor) -> list[Tensor]:
        """Return currents: a pulse, then what holds a membrane that was not reset at a level above rest [mV]."""
        rows = [pulse.double()]
        for k in range(1, AHEAD):
            carried = sum(row * float(lin[self.latency + k - j]) for j, row in enumerate(rows))
            rows.append((level - carried) / float(lin[self.latency]))
        return [*rows, *[torch.zeros(len(pulse), dtype=torch.float64)] * self.latency]

    def _reset(self, rest: Tensor, lin: Tensor) -> None:
        """Watch a membrane behind a spike, held below the threshold, and then at it."""
        pulse, first = torch.tensor(OVER, dtype=torch.float64) * float(self.pulse), self.latency
        high = float(self.pulse) * float(lin[first])  # from rest to threshold
        level = torch.tensor(HELD, dtype=torch.float64) * high
        response = self.run(*self.held(pulse, lin, level))
        assert response.v is not None
        near = self.near(response) * abs(high)
        seen = response.v[first:].double()
        before = rest[first : first + len(seen), None] + level
        before[0] += pulse * lin[first] - level
        off = seen - before
        moved = (off.abs() > near).any(1).nonzero()
        if not len(moved):
            self.found |= {"reset": "none", "shown": "after"}
            self._miss("it has no reset", "amount", "delay")
            return
        n = int(moved[0])
        self.found["shown"] = "before" if n else "after"
        again = response.spikes[first + n + 1 : first + n + 2].sum() > 0
        if "kept" not in self.found and not again and not self.found["refractory"] and n + 1 < len(off):
            self.found["kept"] = float((off[n + 1] / off[n]).mean())
            self.unseen.pop("kept", None)
        self._amount(n, off[n], before[n], before[0], near)
        rows = self.held(pulse[:1], lin, torch.tensor([OVER[0] * high], dtype=torch.float64))
        spikes = self.run(*rows).spikes[first + 1 :, 0] > 0
        if bool(spikes.all()):
            self._miss("the cell goes on firing: it forgets a reset within a step", "delay")
        else:
            self.found["delay"] = int((~spikes).nonzero()[0])

    def _amount(self, n: int, off: Tensor, at: Tensor, peak: Tensor, near: float) -> None:
        """Judge membranes that were reset: lower by the same, or at the same value, wherever they came from."""
        kept = self.found.get("kept") if n else 1.0
        jump = None if kept is None or kept < 1e-3 else off / kept
        value = None if jump is None else peak + jump
        if _alike(off, near):
            self.found |= {"reset": "subtract", "amount": None if jump is None else -float(jump.mean())}
        elif n and _alike(at + off, near):  # where it stays in the next step, whatever comes in
            self.found |= {"reset": "to_value", "amount": float((at + off).mean()), "later": float((at + off).mean())}
        elif value is not None and _alike(value, 10 * near):
            self.found |= {"reset": "to_value", "amount": float(value.mean())}
        elif self.found["refractory"] and _alike(peak - at - off, near):  # what was reset is held
            self.found |= {"reset": "subtract", "amount": float((peak - at - off).mean())}
        elif value is None:
            self._miss("it is shown before the reset, and what it keeps in a step is not known", "reset", "amount")
            return
        else:
            self._miss("what a spike does to the membrane is neither a value nor a subtraction", "reset", "amount")
            return
        if n and self.found["reset"] == "subtract":
            self.found["later"] = -float(off.mean())
        if self.found["amount"] is None:
            self._miss("it is shown before the reset, and what it keeps in a step is not known", "amount")


def _alike(values: Tensor, near: float) -> bool:
    return float(values.max() - values.min()) <= near


def bisect(
    fires: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, fit: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return neighbouring floating-point numbers `[N]`, not negative: the first is silent, the second fires.

    >>> low, high = bisect(lambda x: x >= 0.3, torch.zeros(1), torch.ones(1))
    >>> float(high) - 0.3 < 1e-7, bool(low < high), float(torch.nextafter(low, high)) == float(high)
    (True, True, True)
    """
    kind = INTEGERS[low.element_size()]
    a, b = low.clone().view(kind), high.clone().view(kind)
    fit = torch.ones_like(a, dtype=torch.bool) if fit is None else fit
    while bool(((b - a > 1) & fit).any()):
        middle = a + torch.div(b - a, 2, rounding_mode="floor")
        fired = fires(middle.view(low.dtype)) & fit
        a, b = torch.where(fired | ~fit, a, middle), torch.where(fired, middle, b)
    return a.view(low.dtype), b.view(low.dtype)


def level_of(neuron: Cell) -> float | None:
    """Return the threshold of a neuron from rest [mV]; None if it is not a bound on one variable."""
    if isinstance(neuron, Neuron) and neuron.equations:
        bound = threshold_of(neuron, neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64)))
        return float(bound[1][0]) if bound is not None and bound[0] == neuron.membrane else None
    level = getattr(neuron, "v_threshold", None)
    return None if level is None else smallest(level)
