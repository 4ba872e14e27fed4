"""Models of the literature, as equations: compiled, they are what Brian2 runs, and closed forms where there are some."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import brian2 as b2
import numpy as np
import pytest
import scipy.stats
import torch

from sandbox.reference import from_brian2, validate
from sandbox.reference.brian import run_brian2
from sandbox.reference.compiler.functions import counted
from sandbox.simulation import simulate


class Case(NamedTuple):
    """A model, the range of its constant currents [nA], and what to compare."""

    model: dict[str, Any]
    currents: tuple[float, float]
    record: tuple[str, ...] = ("v",)
    dt: float = 0.05  # [ms]
    steps: int = 2000
    spikes: int = 20  # at least


RATES = """
    alpha_m = {m} : Hz
    beta_m = {bm} : Hz
    alpha_h = {h} : Hz
    beta_h = {bh} : Hz
    alpha_n = {n} : Hz
    beta_n = {bn} : Hz
    dm/dt = alpha_m * (1 - m) - beta_m * m : 1
    dh/dt = alpha_h * (1 - h) - beta_h * h : 1
    dn/dt = alpha_n * (1 - n) - beta_n * n : 1
"""
CROSSING = {"threshold": "v > -20*mV", "refractory": "v > -20*mV"}

MODELS = {
    "leaky integrate-and-fire, refractory (Brunel & Hakim 1999)": Case(
        {
            "equations": "dv/dt = (r * current - v) / tau : volt (unless refractory)",
            "threshold": "v > theta",
            "reset": "v = v_r",
            "refractory": "2*ms",
            "method": "exact",
            "namespace": {"tau": 20 * b2.ms, "r": 40 * b2.Mohm, "theta": 20 * b2.mV, "v_r": 10 * b2.mV},
        },
        (0.3, 2.0),
    ),
    "adaptive threshold (Platkiewicz & Brette 2010, simplified)": Case(
        {
            "equations": """dv/dt = (E_L - v + r * current) / tau : volt
                        dtheta/dt = (theta_0 - theta) / tau_theta : volt""",
            "threshold": "v > theta",
            "reset": "v = E_L\ntheta += 3*mV",
            "method": "exact",
            "initial": {"v": "E_L", "theta": "theta_0"},
            "namespace": {
                "tau": 10 * b2.ms,
                "tau_theta": 60 * b2.ms,
                "r": 100 * b2.Mohm,
                "E_L": -70 * b2.mV,
                "theta_0": -50 * b2.mV,
            },
        },
        (0.1, 0.6),
        ("v", "theta"),
    ),
    "adaptive exponential (Brette & Gerstner 2005)": Case(
        {
            "equations": """dv/dt = (g_L * (E_L - v) + g_L * D * exp((v - V_T) / D) - w + current) / C : volt
                        dw/dt = (a * (v - E_L) - w) / tau_w : amp""",
            "threshold": "v > V_T + 5*D",
            "reset": "v = E_L; w += b",
            "method": "heun",
            "initial": {"v": "E_L"},
            "namespace": {
                "C": 281 * b2.pF,
                "g_L": 30 * b2.nS,
                "E_L": -70.6 * b2.mV,
                "V_T": -50.4 * b2.mV,
                "D": 2 * b2.mV,
                "tau_w": 144 * b2.ms,
                "a": 4 * b2.nS,
                "b": 0.0805 * b2.nA,
            },
        },
        (0.5, 2.0),
        ("v", "w"),
    ),
    "simple model (Izhikevich 2003)": Case(
        {
            "equations": """dv/dt = (0.04/mV) / ms * v**2 + (5/ms) * v + 140*mV/ms - u + current * kick : volt
                        du/dt = a * (b * v - u) : volt/second""",
            "threshold": "v >= 30*mV",
            "reset": "v = c\nu += d",
            "method": "euler",
            "initial": {"v": -65 * b2.mV, "u": "b * -65*mV"},
            "namespace": {
                "a": 0.02 / b2.ms,
                "b": 0.2 / b2.ms,
                "c": -65 * b2.mV,
                "d": 8 * b2.mV / b2.ms,
                "kick": 1 * b2.mV / b2.ms / b2.nA,
            },
        },
        (4.0, 20.0),
        ("v", "u"),
    ),
    "theta neuron (Ermentrout & Kopell 1986)": Case(
        {
            "equations": "dphi/dt = ((1 - cos(phi)) + (1 + cos(phi)) * current / (1*nA)) / tau : 1",
            "threshold": "phi > pi",
            "reset": "phi -= 2*pi",
            "method": "rk4",
            "namespace": {"tau": 5 * b2.ms},
        },
        (0.05, 1.0),
        ("phi",),
    ),
    "exponential integrate-and-fire (Fourcaud-Trocme et al. 2003)": Case(
        {
            "equations": "dv/dt = (E_L - v + D * exp((v - V_T) / D) + r * current) / tau : volt (unless refractory)",
            "threshold": "v > -30*mV",
            "reset": "v = -68*mV",
            "refractory": 1.7 * b2.ms,
            "method": "rk2",
            "initial": {"v": "E_L"},
            "namespace": {
                "tau": 10 * b2.ms,
                "E_L": -65 * b2.mV,
                "V_T": -59.9 * b2.mV,
                "D": 3.48 * b2.mV,
                "r": 10 * b2.Mohm,
            },
        },
        (0.3, 2.0),
    ),
    "squid axon (Hodgkin & Huxley 1952)": Case(
        {
            "equations": "dv/dt = (gNa * m**3 * h * (ENa - v) + gK * n**4 * (EK - v) + gl * (El - v) + current) / C : volt"
            + RATES.format(
                m="1 / exprel(-(v + 40*mV) / (10*mV)) / ms",
                bm="4 * exp(-(v + 65*mV) / (18*mV)) / ms",
                h="0.07 * exp(-(v + 65*mV) / (20*mV)) / ms",
                bh="1 / (1 + exp(-(v + 35*mV) / (10*mV))) / ms",
                n="0.1 / exprel(-(v + 55*mV) / (10*mV)) / ms",
                bn="0.125 * exp(-(v + 65*mV) / (80*mV)) / ms",
            ),
            **CROSSING,
            "method": "exponential_euler",
            "initial": {"v": -65 * b2.mV, "m": 0.05, "h": 0.6, "n": 0.32},
            "namespace": {
                "C": 1 * b2.nF,
                "gNa": 120 * b2.uS,
                "gK": 36 * b2.uS,
                "gl": 0.3 * b2.uS,
                "ENa": 50 * b2.mV,
                "EK": -77 * b2.mV,
                "El": -54.4 * b2.mV,
            },
        },
        (5.0, 30.0),
        ("v", "m", "h", "n"),
        dt=0.02,
    ),
    "squid axon, fourth order": Case(
        {
            "equations": "dv/dt = (gNa * m**3 * h * (ENa - v) + gK * n**4 * (EK - v) + gl * (El - v) + current) / C : volt"
            + RATES.format(
                m="1 / exprel(-(v + 40*mV) / (10*mV)) / ms",
                bm="4 * exp(-(v + 65*mV) / (18*mV)) / ms",
                h="0.07 * exp(-(v + 65*mV) / (20*mV)) / ms",
                bh="1 / (1 + exp(-(v + 35*mV) / (10*mV))) / ms",
                n="0.1 / exprel(-(v + 55*mV) / (10*mV)) / ms",
                bn="0.125 * exp(-(v + 65*mV) / (80*mV)) / ms",
            ),
            **CROSSING,
            "method": "rk4",
            "initial": {"v": -65 * b2.mV, "m": 0.05, "h": 0.6, "n": 0.32},
            "namespace": {
                "C": 1 * b2.nF,
                "gNa": 120 * b2.uS,
                "gK": 36 * b2.uS,
                "gl": 0.3 * b2.uS,
                "ENa": 50 * b2.mV,
                "EK": -77 * b2.mV,
                "El": -54.4 * b2.mV,
            },
        },
        (5.0, 30.0),
        ("v", "m", "h", "n"),
        dt=0.02,
        steps=1000,
        spikes=5,
    ),
    "pyramidal cell (Traub & Miles 1991)": Case(
        {
            "equations": "dv/dt = (gNa * m**3 * h * (ENa - v) + gK * n**4 * (EK - v) + gl * (El - v) + current) / C : volt"
            + RATES.format(
                m="0.32 * 4 / exprel((13*mV - v + VT) / (4*mV)) / ms",
                bm="0.28 * 5 / exprel((v - VT - 40*mV) / (5*mV)) / ms",
                h="0.128 * exp((17*mV - v + VT) / (18*mV)) / ms",
                bh="4 / (1 + exp((40*mV - v + VT) / (5*mV))) / ms",
                n="0.032 * 5 / exprel((15*mV - v + VT) / (5*mV)) / ms",
                bn="0.5 * exp((10*mV - v + VT) / (40*mV)) / ms",
            ),
            **CROSSING,
            "method": "exponential_euler",
            "initial": {"v": -65 * b2.mV},
            "namespace": {
                "C": 200 * b2.pF,
                "gNa": 20 * b2.uS,
                "gK": 6 * b2.uS,
                "gl": 10 * b2.nS,
                "ENa": 50 * b2.mV,
                "EK": -90 * b2.mV,
                "El": -60 * b2.mV,
                "VT": -63 * b2.mV,
            },
        },
        (0.2, 2.0),
        ("v", "h", "n"),
        dt=0.02,
    ),
    "interneuron (Wang & Buzsaki 1996)": Case(
        {
            "equations": """
            dv/dt = (gNa * m**3 * h * (ENa - v) + gK * n**4 * (EK - v) + gl * (El - v) + current) / C : volt
            m = am / (am + 4 * exp(-(v + 60*mV) / (18*mV)) / ms) : 1
            am = 1 / exprel(-(v + 35*mV) / (10*mV)) / ms : Hz
            dh/dt = 5 * (0.07 * exp(-(v + 58*mV) / (20*mV)) / ms * (1 - h) - h / (1 + exp(-0.1/mV * (v + 28*mV))) / ms) : 1
            dn/dt = 5 * (0.1 / exprel(-(v + 34*mV) / (10*mV)) / ms * (1 - n) - 0.125 * exp(-(v + 44*mV) / (80*mV)) / ms * n) : 1""",
            **CROSSING,
            "method": "exponential_euler",
            "initial": {"v": -65 * b2.mV, "h": 0.8, "n": 0.1},
            "namespace": {
                "C": 1 * b2.nF,
                "gNa": 35 * b2.uS,
                "gK": 9 * b2.uS,
                "gl": 0.1 * b2.uS,
                "ENa": 55 * b2.mV,
                "EK": -90 * b2.mV,
                "El": -65 * b2.mV,
            },
        },
        (0.5, 5.0),
        ("v", "h", "n"),
        dt=0.02,
    ),
    "barnacle muscle (Morris & Lecar 1981)": Case(
        {
            "equations": """
            dv/dt = (current - gCa * (1 + tanh((v + 1.2*mV) / (18*mV))) / 2 * (v - ECa) - gK * w * (v - EK) - gl * (v - El)) / C : volt
            dw/dt = phi * ((1 + tanh((v - 2*mV) / (30*mV))) / 2 - w) * cosh((v - 2*mV) / (60*mV)) : 1""",
            "threshold": "v > 0*mV",
            "refractory": "v > 0*mV",
            "method": "rk4",
            "initial": {"v": -60 * b2.mV, "w": 0.01},
            "namespace": {
                "C": 20 * b2.nF,
                "gCa": 4.4 * b2.uS,
                "gK": 8 * b2.uS,
                "gl": 2 * b2.uS,
                "ECa": 120 * b2.mV,
                "EK": -84 * b2.mV,
                "El": -60 * b2.mV,
                "phi": 0.04 / b2.ms,
            },
        },
        (90.0, 150.0),
        ("v", "w"),
        dt=0.1,
        steps=4000,
    ),
    "excitable oscillator (FitzHugh 1961, Nagumo 1962)": Case(
        {
            "equations": """dx/dt = (x - x**3 / 3 - y + current / (1*nA)) / tau : 1
                        dy/dt = (x + a - b * y) * e_psilon / tau : 1""",
            "threshold": "x > 1",
            "refractory": "x > 1",
            "method": "heun",
            "initial": {"x": -1.2, "y": -0.6},
            "namespace": {"tau": 1 * b2.ms, "a": 0.7, "b": 0.8, "e_psilon": 0.08},
        },
        (0.4, 1.2),
        ("x", "y"),
    ),
    "bursting (Hindmarsh & Rose 1984)": Case(
        {
            "equations": """dx/dt = (y - x**3 + 3 * x**2 - z + current / (1*nA)) / tau : 1
                        dy/dt = (1 - 5 * x**2 - y) / tau : 1
                        dz/dt = 0.006 * (4 * (x + 1.6) - z) / tau : 1""",
            "threshold": "x > 1",
            "refractory": "x > 1",
            "method": "rk4",
            "initial": {"x": -1.6, "y": -10.0},
            "namespace": {"tau": 1 * b2.ms},
        },
        (2.0, 4.0),
        ("x", "y", "z"),
        dt=0.02,
        steps=4000,
    ),
    "gastropod somata with a transient current (Connor & Stevens 1977)": Case(
        {
            "equations": """
            dv/dt = (gl*(El - v) + gNa*m**3*h*(ENa - v) + gK*n**4*(EK - v) + gA*a**3*b*(EA - v) + current) / C : volt
            dm/dt = 3.8/ms / exprel(-(v + 29.7*mV)/(10*mV)) * (1 - m) - 15.2/ms * exp(-(v + 54.7*mV)/(18*mV)) * m : 1
            dh/dt = 0.266/ms * exp(-(v + 48*mV)/(20*mV)) * (1 - h) - 3.8/ms / (1 + exp(-(v + 18*mV)/(10*mV))) * h : 1
            dn/dt = 0.2/ms / exprel(-(v + 45.7*mV)/(10*mV)) * (1 - n) - 0.25/ms * exp(-(v + 55.7*mV)/(80*mV)) * n : 1
            da/dt = ((0.0761*exp((v + 94.22*mV)/(31.84*mV)) / (1 + exp((v + 1.17*mV)/(28.93*mV))))**(1/3.0) - a)
                    / (0.3632*ms + 1.158*ms/(1 + exp((v + 55.96*mV)/(20.12*mV)))) : 1
            db/dt = (1/(1 + exp((v + 53.3*mV)/(14.54*mV)))**4 - b) / (1.24*ms + 2.678*ms/(1 + exp((v + 50*mV)/(16.027*mV)))) : 1""",
            **CROSSING,
            "method": "rk2",
            "initial": {"v": -68 * b2.mV, "h": 0.96, "n": 0.15, "a": 0.54, "b": 0.28},
            "namespace": {
                "C": 1 * b2.nF,
                "gl": 0.3 * b2.uS,
                "gNa": 120 * b2.uS,
                "gK": 20 * b2.uS,
                "gA": 47.7 * b2.uS,
                "El": -17 * b2.mV,
                "ENa": 55 * b2.mV,
                "EK": -72 * b2.mV,
                "EA": -75 * b2.mV,
            },
        },
        (10.0, 30.0),
        ("v", "a", "b"),
        dt=0.02,
    ),
    "conductances (Brette et al. 2007, benchmark 1)": Case(
        {
            "equations": """dv/dt = (v_rest - v + ge * (Ee - v) + gi * (Ei - v)) / tau : volt (unless refractory)
                        dge/dt = (clip(current / (1*nA), 0, 10) - ge) / tau_e : 1
                        dgi/dt = (clip(-current / (1*nA), 0, 10) + 0.1 - gi) / tau_i : 1""",
            "threshold": "v > -50*mV",
            "reset": "v = -60*mV",
            "refractory": "t_ref",
            "method": "exponential_euler",
            "initial": {"v": "v_rest"},
            "namespace": {
                "tau": 20 * b2.ms,
                "tau_e": 5 * b2.ms,
                "tau_i": 10 * b2.ms,
                "Ee": 0 * b2.mV,
                "Ei": -80 * b2.mV,
                "v_rest": -60 * b2.mV,
                "t_ref": 5 * b2.ms,
            },
        },
        (-0.5, 3.0),
        ("v", "ge", "gi"),
    ),
    "every flag at once: constants of each cell, a held subexpression, a coupled membrane that is clamped": Case(
        {
            "equations": """dv/dt = (drive + r * current - v + 0.2 * u) / tau : volt (unless refractory)
                        du/dt = (v - u) / (30*ms) : volt
                        drive = I0 * r * int(u > 1*mV) + abs(v) % (2*mV) - (v / mV) // 1 * 0.01*mV : volt (constant over dt)
                        cap = 4*mV + 0.5 * u : volt
                        I0 : amp (constant)
                        spent : 1""",
            "threshold": "spent < 40 and not (u > 50*mV) and v >= cap",
            "reset": "spent += 1\nv = -0.5 * v\nu = u + 0.1 * v",
            "refractory": 3 * b2.ms,
            "method": "rk4",
            "initial": {"I0": 0.1 * b2.nA},
            "namespace": {"tau": 10 * b2.ms, "r": 10 * b2.Mohm},
        },
        (0.3, 2.0),
        ("v", "u", "spent"),
    ),
}


LONG = (
    "adaptive threshold",
    "theta neuron",
    "every flag at once",
    "squid axon",
    "pyramidal",
    "interneuron",
    "barnacle muscle",
    "bursting",
    "gastropod somata",
)  # seconds each


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith(LONG)) for name in MODELS]
)
def test_compiled_models_are_what_brian2_runs(name):
    """The spikes at the same steps, and every variable to 1e-9 of its largest value, as for the library: both sides round
    differently by 1e-16 in each step, and a spike's upstroke magnifies that by up to a million."""
    case = MODELS[name]
    cell = from_brian2(**case.model)
    cells = 5
    trend = torch.linspace(*case.currents, cells, dtype=torch.float64)
    wave = torch.sin(torch.arange(case.steps, dtype=torch.float64) * case.dt * 0.7)[:, None]
    currents = trend * (1 + 0.3 * wave)
    theirs = run_brian2(cell, currents, case.dt, case.record)
    with torch.no_grad():
        ours = simulate(cell, currents, case.dt, case.record)
    assert theirs.spikes.sum() >= case.spikes
    assert torch.equal(ours.spikes, theirs.spikes)
    for variable in case.record:
        a, b = getattr(ours, variable), getattr(theirs, variable)
        assert float((a - b).abs().max()) <= 1e-9 * float(b.abs().max()), variable


NOISY = {
    "euler": "dv/dt = -v / tau + sigma * (2 / tau)**.5 * xi : volt",
    "heun": "dv/dt = -v / tau + 0.3 * v * tau**-.5 * xi_1 + sigma * tau**-.5 * xi_2 : volt",
    "milstein": "dv/dt = (sigma - v) / tau + 0.5 * v * tau**-.5 * xi : volt",
}


@pytest.mark.parametrize("method", NOISY)
def test_noise_steps_as_brian2_does_with_the_same_draws(method, monkeypatch):
    """Brian2 is handed the normal numbers that we drew, one array a step and noise, in the order of its code.

    That order differs from process to process, because Brian2 goes through a set.
    """
    from sandbox.neurons.dice import following, normal

    cell = from_brian2(
        NOISY[method], method=method, namespace={"tau": 10 * b2.ms, "sigma": 2 * b2.mV}, initial={"v": 1.0}
    )
    steps, cells = 200, 4
    currents = torch.zeros(steps, cells, dtype=torch.float64)
    state = cell.initial_state((cells,), currents[0])._replace(key=torch.tensor(7))
    key, rows = state.key, []
    for _ in range(steps):
        rows.append({noise: normal(key, currents[0], stream).numpy() for stream, noise in enumerate(cell.draws)})
        key = following(key)
    ours = simulate(cell, currents, 0.1, state=state)
    before, b2.prefs.codegen.target = b2.prefs.codegen.target, "numpy"
    try:
        group = b2.NeuronGroup(
            cells, NOISY[method], method=method, dt=0.1 * b2.ms, namespace={"tau": 10 * b2.ms, "sigma": 2 * b2.mV}
        )
        group.v = 1 * b2.mV
        group.state_updater.update_abstract_code(run_namespace={})
        order = re.findall(r"^(xi\w*) =", str(group.state_updater.abstract_code), re.MULTILINE)
        queue = iter([row[noise] for row in rows for noise in order])
        monkeypatch.setattr(np.random, "randn", lambda *shape: next(queue))
        monitor = b2.StateMonitor(group, "v", record=True, when="end")
        b2.Network(group, monitor).run(steps * 0.1 * b2.ms, namespace={})
    finally:
        b2.prefs.codegen.target = before
    assert next(queue, None) is None
    assert set(cell.draws.values()) == {"normal"}
    theirs = torch.from_numpy(np.asarray(monitor.v / b2.mV).T.copy())
    torch.testing.assert_close(ours.v, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("method", ["heun", "milstein"])
def test_cells_with_multiplicative_noise_that_fire_are_validated(method):
    text = "dv/dt = (I - v)/tau + 0.3*v*xi*tau**-.5 : 1 (unless refractory)"
    cell = from_brian2(text, "v > 1", "v = 0", "3*ms", method, {"tau": "10*ms"}, "I", input_unit="1")
    assert validate(cell).passed


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_noises_are_drawn_in_the_order_of_their_names(method):
    """The same numbers in every process; of eight noises a set would have this order once in 40,320 times."""
    terms = " + ".join(f"{k + 1} * xi_{k}" for k in reversed(range(8)))
    cell = from_brian2(f"dv/dt = -v / tau + ({terms}) * tau**-.5 : 1", method=method, namespace={"tau": 10 * b2.ms})
    assert list(cell.draws) == [f"xi_{k}" for k in range(8)]


def test_an_ornstein_uhlenbeck_process_has_its_mean_and_variance():
    """tau dv = -v dt + sigma sqrt(2 tau) dW, from v0: mean v0 exp(-t/tau), variance sigma^2 (1 - exp(-2 t/tau)).

    20,000 cells: the mean is known to sigma / 141 and the variance to 1 %, of which four are allowed; Euler at dt = tau / 100
    is off by half a percent.
    """
    cell = from_brian2(
        NOISY["euler"], method="euler", namespace={"tau": 10 * b2.ms, "sigma": 2 * b2.mV}, initial={"v": 5.0}
    )
    currents = torch.zeros(100, 20_000)
    run = simulate(cell, currents, 0.1, generator=torch.Generator().manual_seed(3))
    t = run.t[-1]
    assert abs(float(run.v[-1].mean()) - 5 * float(torch.exp(-t / 10))) < 4 * 2 / 141 + 0.02
    assert float(run.v[-1].var()) == pytest.approx(4 * (1 - float(torch.exp(-2 * t / 10))), rel=0.045)


def test_a_stochastic_threshold_fires_with_its_probability():
    """rand() < p dt in each step: 100 x 10,000 draws know 0.05 to 0.4 %."""
    cell = from_brian2("dv/dt = -v / (10*ms) : 1", "rand() < 0.5*kHz * dt", "v += 1")
    spikes = simulate(cell, torch.zeros(100, 10_000), 0.1, ("v",), generator=torch.Generator().manual_seed(0)).spikes
    assert float(spikes.mean()) == pytest.approx(0.05, rel=0.02)
    assert cell.draws == {"rand_1": "uniform"}


def test_poisson_numbers_are_quantiles_of_scipy():
    means = torch.tensor([0.0, 0.01, 0.5, 3.0, 40.0, 700.0, 1e5], dtype=torch.float64)
    u = (torch.arange(2000, dtype=torch.float64)[:, None] + 0.5) / 2000
    found = counted(means.expand(2000, 7), u.expand(2000, 7))
    assert np.array_equal(found.numpy(), scipy.stats.poisson.ppf(u.numpy(), means.numpy()))


def test_poisson_numbers_beside_brian2():
    neuron = from_brian2(
        "dv/dt = -v/(10*ms) + x*Hz : 1\nx = poisson(3 + 2*sin(v)) : 1 (constant over dt)",
        "v + poisson(0.5)*0.1 > 0.1",
        "v = 0.01*poisson(2*rand())",
        method="euler",
        input=None,
    )
    report = validate(neuron, duration=15.0, cells=3, tiers=("same_scheme", "limit"))
    assert report.passed, report
    assert report.spikes > 10
    assert "it has no input" in str(report)


def test_the_derivative_of_a_poisson_number_is_that_of_its_mean():
    neuron = from_brian2("dv/dt = (poisson(3*x) - v)/(10*ms) : 1\nx : 1", method="euler", input="x")
    x = torch.full((4,), 2.0, dtype=torch.float64, requires_grad=True)
    neuron.integrate(x, neuron.initial_state((4,), x), 1.0).v.sum().backward()
    assert torch.allclose(x.grad, torch.full_like(x, 0.3))


def test_poisson_needs_its_mean():
    with pytest.raises(ValueError, match="poisson takes 1 plain argument"):
        from_brian2("dv/dt = poisson()/ms : 1", method="euler", input=None)
