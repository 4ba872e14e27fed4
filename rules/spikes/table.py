"""The catalogue of surrogate derivatives: g(u), its primitive P(u), its area, its peak and its source.

`u` is the membrane minus the threshold. The defaults are those of the library named in the source, read in its code;
sources marked "recalled" were not read again. Not replicated, because they are mistakes upstream: `heavi_tanh` and
`heavi_erfc` of Norse (they lack a factor of their own primitive), `spike_rate_escape` of snnTorch (centred one unit
above threshold), its `triangular` (returns plus or minus the threshold), and its `LSO` (fails when called).
`sparse_fast_sigmoid` follows the intent of its paper, |u| < width; snnTorch's code has u > width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rules import draws

INFINITE = math.inf


class Shape(NamedTuple):
    """One surrogate: functions of `u` and of its parameters."""

    grad: Callable[..., Tensor]
    primitive: Callable[..., Tensor] | None
    area: Callable[..., float | None]  # None for a periodic surrogate
    peak: Callable[..., float]
    defaults: dict[str, float]
    source: str
    stochastic: bool = False  # grad also takes generator=


def normal(u: Tensor, sigma: float, centre: float = 0.0) -> Tensor:
    """Return the density of a normal distribution."""
    return torch.exp(-((u - centre) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))


def sigmoid_grad(u: Tensor, alpha: float) -> Tensor:
    """Return the derivative of `sigmoid(alpha u)`."""
    s = torch.sigmoid(alpha * u)
    return alpha * s * (1 - s)


def triangle_primitive(u: Tensor, gamma: float) -> Tensor:
    """Return the integral of a triangle of half-width gamma and area 1."""
    c = u.clamp(-gamma, gamma)
    return 0.5 + c / gamma - c * c.abs() / (2 * gamma**2)


def multi_gaussian_grad(u: Tensor, h: float, k: float, sigma: float, gain: float) -> Tensor:
    """Return a Gaussian of width sigma minus two of width k sigma, centred at plus and minus sigma."""
    flanks = normal(u, k * sigma, sigma) + normal(u, k * sigma, -sigma)
    return gain * ((1 + h) * normal(u, sigma) - h * flanks)


def multi_gaussian_peak(h: float, k: float, sigma: float, gain: float) -> float:
    """Return the value of `multi_gaussian_grad` at 0."""
    flanks = 2 * h / k * math.exp(-1 / (2 * k**2))
    return gain * (1 + h - flanks) / (sigma * math.sqrt(2 * math.pi))


def leaky_ramp(u: Tensor, w: float, c: float) -> Tensor:
    """Return a ramp from 0 to 1 over -w..w, with slope c outside."""
    inside = u.clamp(-w, w)
    return inside / (2 * w) + 0.5 + c * (u - inside)


def q_primitive(u: Tensor, q: float) -> Tensor:
    """Return the integral of the q-pseudo-spike."""
    tail = 0.5 * (1 + 2 * u.abs() / (q - 1)) ** (1 - q)
    return torch.where(u < 0, tail, 1 - tail)


def exponential_primitive(u: Tensor, alpha: float) -> Tensor:
    """Return the integral of `alpha / 2 exp(-alpha |u|)`."""
    tail = 0.5 * torch.exp(-alpha * u.abs())
    return torch.where(u < 0, tail, 1 - tail)


def log_tail_grad(u: Tensor, alpha: float) -> Tensor:
    """Return alpha below 0, 1 up to 1, and 1 / u above."""
    return torch.where(u <= 0, alpha, 1 / u.clamp(min=1))


def log_tail_primitive(u: Tensor, alpha: float) -> Tensor:
    """Return the integral of `log_tail_grad`, 0 at u = 0."""
    return alpha * u.clamp(max=0) + u.clamp(0, 1) + torch.log(u.clamp(min=1))


def s2nn_grad(u: Tensor, alpha: float, beta: float) -> Tensor:
    """Return a sigmoid's derivative below 0 and `beta / (u + 1)` above."""
    return torch.where(u < 0, sigmoid_grad(u, alpha), beta / (u.clamp(min=0) + 1))


def s2nn_primitive(u: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the integral of `s2nn_grad`, 1/2 at u = 0."""
    return torch.where(u < 0, torch.sigmoid(alpha * u), beta * torch.log1p(u.clamp(min=0)) + 0.5)


def harmonics(n: float) -> range:
    """Return the odd harmonics of a square wave below 2 (n - 1)."""
    return range(1, 2 * (round(n) - 1), 2)


def square_wave_grad(u: Tensor, n: float, period: float) -> Tensor:
    """Return the derivative of a truncated Fourier series of a square wave."""
    terms = [torch.cos(i * 2 * math.pi * u / period) for i in harmonics(n)]
    return 4 / period * torch.stack(terms).sum(0)


def square_wave_primitive(u: Tensor, n: float, period: float) -> Tensor:
    """Return a truncated Fourier series of a square wave between 0 and 1."""
    terms = [2 / (i * math.pi) * torch.sin(i * 2 * math.pi * u / period) for i in harmonics(n)]
    return 0.5 + torch.stack(terms).sum(0)


def sso_grad(u: Tensor, mean: float, variance: float, generator: torch.Generator) -> Tensor:
    """Return 1 from 0 on, and random slopes below."""
    draw = draws.uniform(u.shape, generator, u) - 0.5
    return torch.where(u >= 0, 1.0, (draw + mean) * variance)


def local_zo_grad(u: Tensor, delta: float, generator: torch.Generator) -> Tensor:
    """Return the slope of the step along a random direction z of size delta."""
    z = draws.normal(u.shape, generator, u).abs()
    return torch.where(u.abs() < z * delta, z / (2 * delta), 0.0)


SURROGATES: dict[str, Shape] = {
    "fast_sigmoid": Shape(
        lambda u, k: 1 / (1 + k * u.abs()) ** 2,
        lambda u, k: u / (1 + k * u.abs()),
        lambda k: 2 / k,
        lambda k: 1.0,
        {"k": 25.0},
        "Zenke & Ganguli 2018 (SuperSpike), arXiv 1705.11146; default of snnTorch",
    ),
    "superspike_sj": Shape(
        lambda u, alpha: alpha / (1 + u.abs()) ** 2,
        None,
        lambda alpha: 2 * alpha,
        lambda alpha: alpha,
        {"alpha": 1.0},
        "SpikingJelly's SuperSpike: alpha scales the height, not the width",
    ),
    "atan": Shape(
        lambda u, alpha: (alpha / 2) / (1 + (math.pi * alpha / 2 * u) ** 2),
        lambda u, alpha: torch.atan(math.pi * alpha / 2 * u) / math.pi + 0.5,
        lambda alpha: 1.0,
        lambda alpha: alpha / 2,
        {"alpha": 2.0},
        "Fang et al. 2021 (PLIF), arXiv 2007.05785; default of SpikingJelly and snnTorch",
    ),
    "sigmoid": Shape(
        sigmoid_grad,
        lambda u, alpha: torch.sigmoid(alpha * u),
        lambda alpha: 1.0,
        lambda alpha: alpha / 4,
        {"alpha": 4.0},
        "Wu et al. 2018 (STBP), arXiv 1706.02609; Neftci et al. 2019, arXiv 1901.09948; default of SpikingJelly",
    ),
    "triangle": Shape(
        lambda u, gamma: (gamma - u.abs()).clamp(min=0) / gamma**2,
        triangle_primitive,
        lambda gamma: 1.0,
        lambda gamma: 1 / gamma,
        {"gamma": 1.0},
        "Deng et al. 2022 (TET), openreview _XNtisL32jv; Esser et al. 2016, doi 10.1073/pnas.1604850113",
    ),
    "triangle_bellec": Shape(
        lambda u, gamma: gamma * (1 - u.abs()).clamp(min=0),
        None,
        lambda gamma: gamma,
        lambda gamma: gamma,
        {"gamma": 0.3},
        "Bellec et al. 2018, arXiv 1803.09574; 2020, doi 10.1038/s41467-020-17236-y; default of Norse",
    ),
    "piecewise_quadratic": Shape(
        lambda u, alpha: (alpha - alpha**2 * u.abs()).clamp(min=0),
        lambda u, alpha: triangle_primitive(u, 1 / alpha),
        lambda alpha: 1.0,
        lambda alpha: alpha,
        {"alpha": 1.0},
        "Wu et al. 2018 (STBP, polynomial); Bohte 2011 (recalled); default of SpikingJelly",
    ),
    "piecewise_exp": Shape(
        lambda u, alpha: alpha / 2 * torch.exp(-alpha * u.abs()),
        exponential_primitive,
        lambda alpha: 1.0,
        lambda alpha: alpha / 2,
        {"alpha": 1.0},
        "Shrestha & Orchard 2018 (SLAYER), arXiv 1810.08646 (recalled); default of SpikingJelly",
    ),
    "gaussian": Shape(
        lambda u, sigma: normal(u, sigma),
        lambda u, sigma: torch.special.ndtr(u / sigma),
        lambda sigma: 1.0,
        lambda sigma: 1 / (sigma * math.sqrt(2 * math.pi)),
        {"sigma": 0.5},
        "Wu et al. 2018 (STBP, fourth variant); the default is ours",
    ),
    "erf": Shape(
        lambda u, alpha: alpha / math.sqrt(math.pi) * torch.exp(-((alpha * u) ** 2)),
        lambda u, alpha: torch.erfc(-alpha * u) / 2,
        lambda alpha: 1.0,
        lambda alpha: alpha / math.sqrt(math.pi),
        {"alpha": 2.0},
        "Esser et al. 2015, Wu et al. 2018 (STBP), Yin et al. 2020 (recalled); default of SpikingJelly",
    ),
    "multi_gaussian": Shape(
        multi_gaussian_grad,
        None,
        lambda h, k, sigma, gain: gain * (1 - h),
        multi_gaussian_peak,
        {"h": 0.15, "k": 6.0, "sigma": 0.5, "gain": 0.5},
        "Yin, Corradi & Bohte 2021, arXiv 2103.12593, doi 10.1038/s42256-021-00397-w; dips below zero in its tails",
    ),
    "rect": Shape(
        lambda u, alpha: alpha * (u.abs() < 1 / (2 * alpha)).to(u.dtype),
        lambda u, alpha: (alpha * u + 0.5).clamp(0, 1),
        lambda alpha: 1.0,
        lambda alpha: alpha,
        {"alpha": 1.0},
        "Wu et al. 2018 (STBP, first variant); default of SpikingJelly",
    ),
    "piecewise_leaky_relu": Shape(
        lambda u, w, c: torch.where(u.abs() < w, torch.full_like(u, 1 / (2 * w)), c),
        leaky_ramp,
        lambda w, c: INFINITE if c else 1.0,
        lambda w, c: max(1 / (2 * w), c),
        {"w": 1.0, "c": 0.01},
        "Wu et al. 2018 (STBP); Huh & Sejnowski 2018, arXiv 1706.04698; Neftci et al. 2019; default of SpikingJelly",
    ),
    "soft_sign": Shape(
        lambda u, alpha: 1 / (2 * alpha * (1 / alpha + u.abs()) ** 2),
        lambda u, alpha: (F.softsign(alpha * u) + 1) / 2,
        lambda alpha: 1.0,
        lambda alpha: alpha / 2,
        {"alpha": 2.0},
        "SpikingJelly; the shape of a normalised fast sigmoid",
    ),
    "q_pseudo_spike": Shape(
        lambda u, q: (1 + 2 * u.abs() / (q - 1)) ** -q,
        q_primitive,
        lambda q: 1.0,
        lambda q: 1.0,
        {"q": 2.0},
        "Herranz-Celotti & Rouat 2022, arXiv 2202.00282; default of SpikingJelly",
    ),
    "leaky_k_relu": Shape(
        lambda u, leak, k: torch.where(u >= 0, torch.full_like(u, k), leak),
        lambda u, leak, k: k * u.clamp(min=0) + leak * u.clamp(max=0),
        lambda leak, k: INFINITE,
        lambda leak, k: max(leak, k),
        {"leak": 0.0, "k": 1.0},
        "SpikingJelly",
    ),
    "log_tailed_relu": Shape(
        log_tail_grad,
        log_tail_primitive,
        lambda alpha: INFINITE,
        lambda alpha: max(alpha, 1.0),
        {"alpha": 0.0},
        "Cai et al. 2017, arXiv 1702.00953; default of SpikingJelly",
    ),
    "s2nn": Shape(
        s2nn_grad,
        s2nn_primitive,
        lambda alpha, beta: INFINITE,
        lambda alpha, beta: max(alpha / 4, beta),
        {"alpha": 4.0, "beta": 1.0},
        "Suetake et al. 2022, arXiv 2201.10879; the continuous primitive of SpikingJelly's code, not of its docstring",
    ),
    "ste": Shape(
        lambda u: torch.ones_like(u),
        lambda u: u * 1,
        lambda: INFINITE,
        lambda: 1.0,
        {},
        "Bengio, Leonard & Courville 2013, arXiv 1308.3432",
    ),
    "ste_clipped": Shape(
        lambda u: (u.abs() <= 1).to(u.dtype),
        lambda u: F.hardtanh(u),
        lambda: 2.0,
        lambda: 1.0,
        {},
        "Courbariaux et al. 2016, arXiv 1602.02830 (recalled)",
    ),
    "nonzero_sign_log_abs": Shape(
        lambda u, alpha: 1 / (1 / alpha + u.abs()),
        lambda u, alpha: torch.sign(u) * torch.log1p(alpha * u.abs()),
        lambda alpha: INFINITE,
        lambda alpha: alpha,
        {"alpha": 1.0},
        "SpikingJelly",
    ),
    "squarewave_fourier": Shape(
        square_wave_grad,
        square_wave_primitive,
        lambda n, period: None,
        lambda n, period: 4 * (round(n) - 1) / period,
        {"n": 2.0, "period": 8.0},
        "SpikingJelly; n = 2 is one term",
    ),
    "heavi_circ": Shape(
        lambda u, alpha: alpha**3 / (u**2 + alpha**2) ** 1.5,
        lambda u, alpha: alpha * (1 + u / torch.sqrt(u**2 + alpha**2)),
        lambda alpha: 2 * alpha,
        lambda alpha: 1.0,
        {"alpha": 1.0},
        "Norse; the default is ours",
    ),
    "sparse_fast_sigmoid": Shape(
        lambda u, k, width: (u.abs() < width) / (1 + k * u.abs()) ** 2,
        lambda u, k, width: (c := u.clamp(-width, width)) / (1 + k * c.abs()),
        lambda k, width: 2 / k * (1 - 1 / (1 + k * width)),
        lambda k, width: 1.0,
        {"k": 25.0, "width": 1.0},
        "Perez-Nieves & Goodman 2021, arXiv 2105.08810, by its intent",
    ),
    "sso": Shape(
        sso_grad,
        None,
        lambda mean, variance: INFINITE,
        lambda mean, variance: max(1.0, (mean + 0.5) * variance),
        {"mean": 0.0, "variance": 0.2},
        "snnTorch's stochastic spike operator",
        stochastic=True,
    ),
    "local_zo": Shape(
        local_zo_grad,
        None,
        lambda delta: 1.0,
        lambda delta: INFINITE,
        {"delta": 0.5},
        "Mukhoty et al. 2023 (LocalZO), arXiv 2302.00910; its mean is the gaussian surrogate with sigma = delta",
        stochastic=True,
    ),
}
