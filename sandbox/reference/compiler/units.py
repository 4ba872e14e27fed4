"""House units: ms, mV, nA, MOhm, nF and uS are coherent, so every dimension has one scale and needs no prefix."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sandbox.reference.need import brian2

POWERS = (0, -21, -3, -9, 0, 0, 0)  # of ten, of metre, kilogram, second, ampere, kelvin, mole, candela
NAMES = ("ms", "mV", "nA", "Mohm", "nF", "uS", "kHz")


def scale(dimension: Any) -> float:
    """Return the house unit of a dimension, in SI: 1e-3 for volt, 1e-9 for ampere.

    >>> import brian2 as b2
    >>> scale(b2.ohm.dim), scale((b2.farad).dim)
    (1000000.0, 1e-09)
    """
    exponent = sum(power * float(d) for power, d in zip(POWERS, dimension._dims, strict=True))
    return float(f"1e{round(exponent)}") if exponent == round(exponent) else 10.0**exponent


def in_house(value: Any) -> float:
    """Return a Brian2 quantity, or a plain number, in house units, without the rounding error of the prefixes.

    >>> import brian2 as b2
    >>> in_house(7 * b2.mV), in_house(3 * b2.pA), in_house(0.5)
    (7.0, 0.003, 0.5)
    """
    b2 = brian2()
    if not isinstance(value, b2.Quantity):
        return float(value)
    return float(f"{float(value) / scale(value.dim):.15g}")


@lru_cache(maxsize=1)
def symbols() -> dict[str, float]:
    """Return every unit symbol that an equation may use, with its value in house units."""
    b2 = brian2()
    from brian2.units.allunits import all_units

    named = {str(name): getattr(b2, name) for name in dir(b2) if isinstance(getattr(b2, name, None), b2.Unit)}
    named |= {repr(each): each for each in all_units if repr(each).isidentifier()}
    return {name: in_house(b2.Quantity(each)) for name, each in named.items()}


def text_of(dimension: Any) -> str:
    """Return the house unit of a dimension as an expression for Brian2: "mV", "1/ms", "nA/metre**2".

    >>> import brian2 as b2
    >>> text_of(b2.volt.dim), text_of((1 / b2.second).dim), text_of((b2.volt / b2.second).dim)
    ('mV', 'kHz', 'mV/ms')
    """
    b2 = brian2()
    for name in NAMES:
        if getattr(b2, name).dim is dimension:
            return name
    length, mass, time, current, *others = (float(d) for d in dimension._dims)
    powers = {  # in house units, kilogram = mV nA ms^3 / metre^2
        "mV": mass,
        "nA": current + mass,
        "ms": time + 3 * mass,
        "metre": length - 2 * mass,
        "kelvin": others[0],
        "mole": others[1],
        "candle": others[2],
    }
    above = "*".join(_raised(name, p) for name, p in powers.items() if p > 0)
    below = "".join(f"/{_raised(name, -p)}" for name, p in powers.items() if p < 0)
    return (above or "1") + below


def _raised(name: str, power: float) -> str:
    return name if power == 1 else f"{name}**{power:g}"
