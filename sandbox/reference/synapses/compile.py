"""Brian2's synaptic equations, as `brian2.Synapses` takes them, compiled to a credit rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rules.errors import unknown
from sandbox.reference.compiler.constants import quantity
from sandbox.reference.compiler.formula import parse
from sandbox.reference.compiler.units import in_house, symbols, text_of
from sandbox.reference.need import brian2
from sandbox.reference.synapses.pathways import require_text
from sandbox.reference.synapses.rule import CompiledSynapses


def from_brian2_synapses(
    model: str,
    on_pre: str | Mapping[str, str] | None = None,
    on_post: str | Mapping[str, str] | None = None,
    method: str | None = None,
    namespace: Mapping[str, Any] | None = None,
    *,
    weight: str = "w",
    order: Mapping[str, int] | None = None,
    initial: Mapping[str, Any] | None = None,
    delay: Any = None,
) -> CompiledSynapses:
    r"""Compile a credit rule from the equations and statements of synapses that Brian2 would run.

    In each step clock-driven equations are advanced first, by Brian2's `method`; event-driven ones have their exact
    values in every step. Then each pathway runs where its side fired, inputs before cells unless `order` says
    otherwise. Statements assign variables of the synapse, or names for the pathway's own use. `v_post += w`, for any
    variable of the cell and with a unit if it has one, is what the layer does, and is left to it, wherever it stands.
    Text without it is taken too: the layer transmits all the same, and Brian2 would not.
    Anything else that reads or changes a variable of a cell is refused, and so are random numbers, delays, sums over
    synapses and the clock; and a subexpression that Brian2 would compute from values of before the pathway. No text is
    ever passed to `eval`.

    House units are ms, mV, nA, MOhm, nF, uS: a weight in siemens is one of uS in the model.

    Args:
        model: as for `brian2.Synapses`; one variable is the weight.
        on_pre: what a spike of an input does, or several texts by the names of their pathways.
        on_post: what a spike of a cell does, likewise.
        method: Brian2's name of the scheme for clock-driven equations; None for Brian2's choice.
        namespace: constants, as Brian2 quantities, plain numbers or text such as "20*ms".
        weight: the variable that is the weight of the layer; "w" by default.
        order: of pathways within a step, by name; by default -1 for "pre" and 1 for "post".
        initial: initial values of other variables, as quantities, numbers in house units or text over the constants;
            0 otherwise. Parameters that are constant need one.
        delay: refused, with what there is instead.

    Returns: A frozen dataclass, the credit of a `rules.LearningRule`.

    Raises:
        ValueError: with the piece of text, for what is not allowed in equations or statements, unknown or reserved
            names, units that do not fit, an event-driven equation that is not linear, and a method that does not apply.
        ImportError: without Brian2.

    >>> import torch
    >>> stdp = from_brian2_synapses(
    ...     "w : 1\ndx/dt = -x / tau : 1 (event-driven)\ndy/dt = -y / tau : 1 (event-driven)",
    ...     on_pre="v_post += w; x += 1; w = clip(w - 0.5 * y, 0, 1)",
    ...     on_post="y += 1; w = clip(w + 0.5 * x, 0, 1)",
    ...     namespace={"tau": "20*ms"},
    ... )
    >>> pre, post = torch.zeros(2, 6, 1, 1, 1)
    >>> pre[0], post[5] = 1, 1  # 5 ms later
    >>> *_, (last, _) = stdp.run(torch.full((1, 1), 0.25), pre, post, dt=1.0)
    >>> round(float(last["w"]), 4)  # 0.25 + 0.5 exp(-5 / 20)
    0.6394

    Reference: Stimberg, Goodman, Benichoux & Brette 2014 (doi 10.3389/fninf.2014.00006).
    """
    if delay is not None:
        raise ValueError(
            f"delay={delay!r}: a rule sees spikes when they reach the synapse, so that delays come before it: leave it "
            "out here, and delay the input, x = sandbox.Delays((inputs,), longest=8, initial=...).eval()(x)[0]; layers "
            'with delays, "100d8" in sandbox.build, learn by rules of whole models, such as bptt, and events with '
            "rules.credit.eventprop.spike_times"
        )
    constants = {name: quantity(name, value) for name, value in (namespace or {}).items()}
    house = {name: in_house(value) for name, value in constants.items()}
    rule = CompiledSynapses(
        model,
        require_text("on_pre", on_pre),
        require_text("on_post", on_post),
        method,
        tuple((name, _as_text(house[name], value)) for name, value in constants.items()),
        weight,
        tuple((order or {}).items()),
        tuple((name, _started(name, value, house)) for name, value in (initial or {}).items()),
    )
    for name, value in (initial or {}).items():
        _check_unit(name, value, rule)
    return rule


def _as_text(number: float, value: Any) -> str:
    """Return a constant as text, in house units."""
    unit = text_of(brian2().get_dimensions(value))
    return repr(number) if unit == "1" else f"{number!r} * {unit}"


def _started(name: str, value: Any, constants: Mapping[str, float]) -> float:
    """Return an initial value in house units."""
    if not isinstance(value, str):
        return in_house(quantity(name, value))
    formula = parse(value, symbols())
    for other in sorted(formula.names - set(constants)):
        raise unknown(f"identifier in initial {name}={value!r}:", other, constants)
    return float(formula(constants))


def _check_unit(name: str, value: Any, rule: CompiledSynapses) -> None:
    """Raise ValueError for a quantity of another unit than the variable's."""
    b2 = brian2()
    wanted = rule.prepared.dimensions[name]
    if isinstance(value, b2.Quantity) and b2.get_dimensions(value) is not wanted:
        raise ValueError(f"initial {name}={value!r}: the unit of {name!r} is {text_of(wanted)}; multiply by it")
