"""Neurons with sodium and potassium channels: the squid axon of 1952, and a cortical cell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.machine.compiled import settled
from sandbox.neurons.base import Neuron, Value, affine, full, smallest
from sandbox.neurons.exprel import exprel
from sandbox.neurons.firing import cross
from sandbox.neurons.resting import lowest_root, plain
from sandbox.neurons.schemes import relax

MEMBRANE = """
    dv/dt = (g_na * m**3 * h * (e_na - v) + g_k * n**4 * (e_k - v) + g_leak * (v_leak - v) + current) / c_mem : volt
    dm/dt = alpha_m * (1 - m) - beta_m * m : 1
    dh/dt = alpha_h * (1 - h) - beta_h * h : 1
    dn/dt = alpha_n * (1 - n) - beta_n * n : 1
"""


class ChannelState(NamedTuple):
    """State of a population, one value per cell in each field."""

    v: Tensor  # membrane potential [mV]
    m: Tensor  # sodium activation
    h: Tensor  # sodium inactivation
    n: Tensor  # potassium activation
    wait: Tensor  # 1 from a spike until the cell is below threshold again


class Channels(Neuron):
    """Base of the neurons in this file: the membrane, the gates' exponential Euler step, spikes as crossings."""

    c_mem: float
    g_na: float
    g_k: float
    g_leak: float
    e_na: float
    e_k: float
    v_leak: float
    v_threshold: float
    surrogate: Surrogate

    threshold: ClassVar[str] = "v >= v_threshold"
    reset_code: ClassVar[str] = ""
    refractory: ClassVar[str] = "v >= v_threshold"
    method: ClassVar[str] = "exponential_euler"
    above: ClassVar[dict[str, float | str]] = {
        "c_mem": 0.0,
        "g_na": 0.0,
        "g_k": 0.0,
        "g_leak": 0.0,
        "e_na": "v_leak",
        "v_threshold": "v_leak",
    }

    @abstractmethod
    def rates(self, v: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Return the opening and closing rates [1/ms] of m, h and n at a membrane potential [mV]."""

    @property
    def swing(self) -> Value:
        """Distance from the leak potential to the level that counts as a spike [mV]."""
        return self.v_threshold - self.v_leak

    @property
    def fastest(self) -> float:
        """Time constant of the sodium activation at -40 mV [ms]."""
        opening, closing = self.rates(torch.tensor(-40.0, dtype=torch.float64))[0]
        return smallest(1 / (opening + closing))

    def initial_state(self, shape: Iterable[int], like: Tensor) -> ChannelState:
        """Return the resting state, with every gate at its steady state."""
        v = full(shape, self._resting(), like)
        m, h, n = (opening / (opening + closing) for opening, closing in self.rates(v))
        return ChannelState(v, m, h, n, wait=torch.zeros_like(v))

    def integrate(self, current: Tensor, state: ChannelState, dt: float) -> ChannelState:
        """Take one exponential Euler step: every variable relaxes while the others are kept constant."""
        g_na = self.g_na * state.m**3 * state.h
        g_k = self.g_k * state.n**4
        total = g_na + g_k + self.g_leak
        target = (g_na * self.e_na + g_k * self.e_k + self.g_leak * self.v_leak + current) / total
        gates = zip((state.m, state.h, state.n), self.rates(state.v), strict=True)
        m, h, n = (
            relax(gate, opening / (opening + closing), opening + closing, dt) for gate, (opening, closing) in gates
        )
        return state._replace(v=relax(state.v, target, total / self.c_mem, dt), m=m, h=h, n=n)

    def fire(self, state: ChannelState, dt: float) -> tuple[Tensor, ChannelState]:
        """Return a spike `[...]` at every upward crossing of the threshold; nothing is reset."""
        spikes, wait = cross(self.surrogate, affine(self.centred(state), 1 / self.swing), state.wait)
        return spikes, state._replace(wait=wait)

    def centred(self, state: ChannelState) -> Tensor:
        """Return membrane minus threshold [mV]."""
        return state.v - self.v_threshold

    @settled
    def _resting(self) -> float:
        """Return the resting potential [mV]."""
        return lowest_root(plain(self)._steady_current, -100.0, 0.0)

    def _steady_current(self, v: Tensor) -> Tensor:
        """Return the ionic current [nA] at given potentials, with every gate at its steady state."""
        m, h, n = (opening / (opening + closing) for opening, closing in self.rates(v))
        sodium = self.g_na * m**3 * h * (self.e_na - v)
        potassium = self.g_k * n**4 * (self.e_k - v)
        return sodium + potassium + self.g_leak * (self.v_leak - v)


CHANNEL_UNITS = {
    "c_mem": "nF",
    "g_na": "uS",
    "g_k": "uS",
    "g_leak": "uS",
    "e_na": "mV",
    "e_k": "mV",
    "v_leak": "mV",
    "v_threshold": "mV",
    "v": "mV",
    "m": "1",
    "h": "1",
    "n": "1",
    "current": "nA",
}


@dataclass(frozen=True)
class HodgkinHuxley(Channels):
    """The squid giant axon, a patch of 0.001 cm^2 at 6.3 degrees Celsius.

        c_mem dv/dt = g_na m^3 h (e_na - v) + g_k n^4 (e_k - v) + g_leak (v_leak - v) + current
        dx/dt = alpha_x(v) (1 - x) - beta_x(v) x   for x = m, h, n
        alpha_m = 1 / exprel(-(v + 40) / 10)        beta_m = 4 exp(-(v + 65) / 18)
        alpha_h = 0.07 exp(-(v + 65) / 20)          beta_h = 1 / (1 + exp(-(v + 35) / 10))
        alpha_n = 0.1 / exprel(-(v + 55) / 10)      beta_n = 0.125 exp(-(v + 65) / 80)

    Here v is in mV and rates in 1/ms; rest is near -65 mV; exprel(x) = (exp(x) - 1) / x. A spike is an upward crossing
    of v_threshold. Exponential Euler. For this patch, a current in nA is a current density in uA/cm^2.

    Args:
        c_mem: membrane capacitance [nF].
        g_na: maximal sodium conductance [uS].
        g_k: maximal potassium conductance [uS].
        g_leak: leak conductance [uS].
        e_na: reversal potential of sodium [mV].
        e_k: reversal potential of potassium [mV].
        v_leak: reversal potential of the leak [mV].
        v_threshold: level that counts as a spike [mV].
        surrogate: surrogate gradient of the spike.

    >>> state = HodgkinHuxley().initial_state((1,), torch.zeros(1, dtype=torch.float64))
    >>> round(float(state.v), 2), round(float(state.n), 3)
    (-65.0, 0.318)

    Reference: Hodgkin & Huxley 1952 (doi 10.1113/jphysiol.1952.sp004764), in the modern sign convention.
    """

    c_mem: float = 1.0
    g_na: float = 120.0
    g_k: float = 36.0
    g_leak: float = 0.3
    e_na: float = 50.0
    e_k: float = -77.0
    v_leak: float = -54.387
    v_threshold: float = 0.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = f"""{MEMBRANE}
        alpha_m = 1 / exprel(-(v + 40*mV) / (10*mV)) / ms : Hz
        beta_m = 4 * exp(-(v + 65*mV) / (18*mV)) / ms : Hz
        alpha_h = 0.07 * exp(-(v + 65*mV) / (20*mV)) / ms : Hz
        beta_h = 1 / (1 + exp(-(v + 35*mV) / (10*mV))) / ms : Hz
        alpha_n = 0.1 / exprel(-(v + 55*mV) / (10*mV)) / ms : Hz
        beta_n = 0.125 * exp(-(v + 65*mV) / (80*mV)) / ms : Hz
    """
    units: ClassVar[dict[str, str]] = CHANNEL_UNITS

    @property
    def rheobase(self) -> Value:
        """Current at which the default cell begins to fire repetitively, approximately [nA]."""
        return 6.3

    def rates(self, v: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Return the opening and closing rates [1/ms] of m, h and n at a membrane potential [mV]."""
        return (
            (1 / exprel(-(v + 40) / 10), 4 * torch.exp(-(v + 65) / 18)),
            (0.07 * torch.exp(-(v + 65) / 20), 1 / (1 + torch.exp(-(v + 35) / 10))),
            (0.1 / exprel(-(v + 55) / 10), 0.125 * torch.exp(-(v + 65) / 80)),
        )


@dataclass(frozen=True)
class TraubMiles(Channels):
    """A cortical cell with the channels of Traub and Miles, as in the benchmark of Brette et al. 2007.

        the membrane and gates of HodgkinHuxley, with x = v - v_traub and
        alpha_m = 1.28 / exprel((13 - x) / 4)       beta_m = 1.4 / exprel((x - 40) / 5)
        alpha_h = 0.128 exp((17 - x) / 18)          beta_h = 4 / (1 + exp((40 - x) / 5))
        alpha_n = 0.16 / exprel((15 - x) / 5)       beta_n = 0.5 exp((10 - x) / 40)

    A spike is an upward crossing of v_threshold. Exponential Euler. Defaults: 20000 um^2 of the benchmark's membrane,
    but v_traub = -55 mV. With the benchmark's -63 mV this cell has no resting state and fires at 13 Hz without input.

    Args:
        c_mem: membrane capacitance [nF].
        g_na: maximal sodium conductance [uS].
        g_k: maximal potassium conductance [uS].
        g_leak: leak conductance [uS].
        e_na: reversal potential of sodium [mV].
        e_k: reversal potential of potassium [mV].
        v_leak: reversal potential of the leak [mV].
        v_traub: shift of the rate functions [mV], which sets the onset of spikes.
        v_threshold: level that counts as a spike [mV].
        surrogate: surrogate gradient of the spike.

    >>> state = TraubMiles().initial_state((1,), torch.zeros(1, dtype=torch.float64))
    >>> round(float(state.v), 1)
    -60.0

    Reference: Traub & Miles 1991, Neuronal Networks of the Hippocampus; Brette et al. 2007 (doi
    10.1007/s10827-007-0038-6), benchmark 3.
    """

    c_mem: float = 0.2
    g_na: float = 20.0
    g_k: float = 6.0
    g_leak: float = 0.01
    e_na: float = 50.0
    e_k: float = -90.0
    v_leak: float = -60.0
    v_traub: float = -55.0
    v_threshold: float = -20.0
    surrogate: Surrogate = field(default_factory=lambda: Surrogate("atan"))

    equations: ClassVar[str] = f"""{MEMBRANE}
        alpha_m = 1.28 / exprel((v_traub - v + 13*mV) / (4*mV)) / ms : Hz
        beta_m = 1.4 / exprel((v - v_traub - 40*mV) / (5*mV)) / ms : Hz
        alpha_h = 0.128 * exp((v_traub - v + 17*mV) / (18*mV)) / ms : Hz
        beta_h = 4 / (1 + exp((v_traub - v + 40*mV) / (5*mV))) / ms : Hz
        alpha_n = 0.16 / exprel((v_traub - v + 15*mV) / (5*mV)) / ms : Hz
        beta_n = 0.5 * exp((v_traub - v + 10*mV) / (40*mV)) / ms : Hz
    """
    units: ClassVar[dict[str, str]] = {**CHANNEL_UNITS, "v_traub": "mV"}

    @property
    def rheobase(self) -> Value:
        """Current at which the default cell begins to fire repetitively, approximately [nA]."""
        return 0.08

    def rates(self, v: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Return the opening and closing rates [1/ms] of m, h and n at a membrane potential [mV]."""
        x = v - self.v_traub
        return (
            (1.28 / exprel((13 - x) / 4), 1.4 / exprel((x - 40) / 5)),
            (0.128 * torch.exp((17 - x) / 18), 4 / (1 + torch.exp((40 - x) / 5))),
            (0.16 / exprel((15 - x) / 5), 0.5 * torch.exp((10 - x) / 40)),
        )
