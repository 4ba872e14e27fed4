"""Brian2's equation strings as a neuron that torch differentiates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import field, make_dataclass, replace
from typing import Any

import torch

from rules.errors import unknown
from rules.spikes.surrogate import Surrogate
from sandbox.neurons.dice import DRAWS
from sandbox.reference.compiler import effort, grammar, updater
from sandbox.reference.compiler.constants import check_times, quantity, start_of
from sandbox.reference.compiler.formula import parse
from sandbox.reference.compiler.model import Model, build
from sandbox.reference.compiler.neuron import CompiledNeuron, number_of, state_class
from sandbox.reference.compiler.tape import Writer
from sandbox.reference.compiler.units import in_house, text_of
from sandbox.reference.need import brian2


def from_brian2(
    equations: str,
    threshold: str | None = None,
    reset: str | None = None,
    refractory: Any = None,
    method: str | None = None,
    namespace: Mapping[str, Any] | None = None,
    input: str = "current",
    surrogate: str | Surrogate = "atan",
    *,
    input_unit: str = "amp",
    initial: Mapping[str, Any] | None = None,
    draws: Mapping[str, str] | None = None,
    swing: float | None = None,
) -> CompiledNeuron:
    """Compile a neuron from the equations, threshold and reset that Brian2 would run.

        dx/dt = f(x, input)  ->  the update that Brian2's `method` writes, as torch operations in ms, mV, nA, MOhm
        spike where the last comparison of the threshold holds (and those before it), with a surrogate derivative of
        its difference / swing; then the statements of the reset, in order, in the cells that fired

    House units are ms, mV, nA, MOhm, nF, uS. Synapses (`on_pre`, `on_post`) are compiled by `from_brian2_synapses`. No
    text is ever passed to `eval`.

    Args:
        equations: as for `brian2.NeuronGroup`.
        threshold: condition for a spike; None for a cell that never fires.
        reset: statements after a spike.
        refractory: a time or a condition; None for none.
        method: Brian2's name of the scheme; None for Brian2's choice.
        namespace: constants, as Brian2 quantities, plain numbers or text such as "20*ms".
        input: name of the input, which is constant within a step.
        surrogate: surrogate gradient of the spike, or its name.
        input_unit: base unit of the input.
        initial: initial values, as quantities, numbers in house units or text over the constants; 0 otherwise.
        draws: further random numbers of each step, by name: "uniform" or "normal".
        swing: scale of the surrogate in house units; by default from the initial value to the threshold, or 1.

    Returns: A frozen dataclass with the constants as fields, in house units; `.source()` shows the step.

    Raises:
        ValueError: with the piece of text, for invalid equations, unknown or reserved names, units that do not fit, a
            method that does not apply, a threshold that is not a condition, a time constant that is not positive.
        ImportError: without Brian2.

    >>> import brian2 as b2
    >>> cell = from_brian2("dv/dt = (r * current - v) / tau : volt", "v > 15*mV", "v = 0*mV", method="exact",
    ...                    namespace={"tau": 10 * b2.ms, "r": 10 * b2.Mohm})
    >>> spikes, state = cell.step(torch.tensor([2.0]), cell.initial_state((1,), torch.zeros(1)), dt=10.0)
    >>> cell.tau, round(float(state.v), 4), cell.with_parameters(tau=1.0).tau
    (10.0, 12.6424, 1.0)

    Reference: Stimberg, Goodman, Benichoux & Brette 2014 (doi 10.3389/fninf.2014.00006).
    """
    b2 = brian2()
    text = _read(equations, threshold, reset, refractory, input)
    constants = {name: quantity(name, value) for name, value in (namespace or {}).items()}
    drawn = dict(draws or {})
    for name, kind in drawn.items():
        if kind not in DRAWS:
            raise unknown(f"kind of the draw {name!r}", kind, DRAWS)
    declared = {line.name for line in text.lines if line.kind == "parameter"}
    extra = [f"{input} : {grammar.unit(input_unit)} (constant)"] * (input not in declared)
    extra += [f"{name} : 1 (constant)" for name in drawn]
    starting = set().union(*(parse(start).names for start in (initial or {}).values() if isinstance(start, str)), set())
    used = {name: value for name, value in constants.items() if name in updater.mentioned(text) | starting}
    updater.check_names(text, constants, [input, *drawn])
    check_times(used)
    step = updater.ask(text, method, used, extra)
    model = build(text, step, used, input, drawn)
    every = {name: in_house(value) for name, value in used.items()}
    period = _period(model, every)
    if period:  # constants that appear in the refractory time alone become part of `t_refractory`
        beyond = updater.mentioned(text._replace(refractory=None)) | starting
        used = {name: value for name, value in used.items() if name in beyond}
    values = {name: every[name] for name in used}
    units = {name: text_of(b2.get_dimensions(value)) for name, value in used.items()}
    units |= {name: text_of(step.dimensions[name]) for name in (*model.variables, input) if name in step.dimensions}
    starts = {name: start_of(name, value, model.variables, constants) for name, value in (initial or {}).items()}
    refractory_text = f"{period['t_refractory']!r}*ms" if period else text.refractory
    recipe = {
        "equations": equations,
        "threshold": threshold,
        "reset": reset,
        "refractory": refractory_text,
        "method": step.method,
        "input": input,
        "input_unit": input_unit,
        "draws": drawn,
        "swing": swing,
    }
    neuron: CompiledNeuron = _class(model, text, step, units, input, starts, recipe, values)(
        **values, **period, surrogate=Surrogate(surrogate) if isinstance(surrogate, str) else surrogate
    )
    _check_finite(neuron, step.method)
    return neuron


def _class(
    model: Model,
    text: updater.Text,
    step: updater.Step,
    units: Mapping[str, str],
    input: str,
    starts: Mapping[str, Any],
    recipe: Mapping[str, Any],
    values: Mapping[str, float],
) -> Any:
    """Make a dataclass with a field for every constant."""
    lines = [str(line) for line in text.lines if line.name != input]
    if input != "current" and input not in {line.name for line in text.lines if line.kind != "parameter"}:
        lines.append(f"{input} = current : {recipe['input_unit']}")
        units = {**units, "current": units.get(input, "nA")}
    times = {name: 0.0 for name in values if name.startswith("tau") and units[name] == "ms"}
    columns: list[Any] = [(name, Any, field()) for name in values]
    if "t_refractory" not in values:
        columns.append(("t_refractory", float, field(default=0.0)))
    columns.append(("surrogate", Surrogate, field(default_factory=lambda: Surrogate("atan"))))
    contents = {
        "equations": "\n".join(lines),
        "threshold": text.threshold,
        "reset_code": text.reset,
        "refractory": step.condition,
        "method": step.method,
        "units": dict(units),
        "spiking": text.threshold is not None,
        "differentiable": True,
        "above": times,
        "draws": dict(model.draws),
        "model": model,
        "starts": dict(starts),
        "input": input,
        "recipe": dict(recipe),
        "rebuild": staticmethod(rebuilt),
        "plans": {},
        "state_class": state_class(model.variables),
        "__module__": __name__,
        "__doc__": "Compiled by from_brian2 from:\n\n" + "\n".join(lines),
    }
    return make_dataclass("CompiledNeuron", columns, bases=(CompiledNeuron,), namespace=contents, frozen=True)


def rebuilt(
    recipe: dict[str, Any], units: dict[str, str], starts: dict[str, Any], values: dict[str, Any], surrogate: Surrogate
) -> CompiledNeuron:
    """Compile a pickled neuron anew."""
    namespace = {
        name: f"{number_of(value) or 1.0!r} * {units[name]}" for name, value in values.items() if name in units
    }
    neuron = from_brian2(**recipe, namespace=namespace, initial=starts, surrogate=surrogate)
    return replace(neuron, **values)


def _read(equations: str, threshold: str | None, reset: str | None, refractory: Any, input: str) -> updater.Text:
    """Check the texts by the grammar and collect them."""
    lines = grammar.equations(equations)
    kinds = {line.name: line.kind for line in lines}
    if not lines:
        raise ValueError("there are no equations; give at least one, as in 'dv/dt = -v / tau : volt'")
    if not isinstance(input, str) or not grammar.NAME.fullmatch(input):
        raise ValueError(f"input={input!r} is not a valid name")
    if kinds.get(input, "parameter") != "parameter":
        raise ValueError(f"the input {input!r} is a {kinds[input]} of the equations; name another with input='...'")
    if not any(kind == "differential equation" for kind in kinds.values()):
        raise ValueError(
            f"{equations.strip()!r} has no differential equation; write one, as in 'dv/dt = -v / tau : volt'"
        )
    for name, text in (("threshold", threshold), ("reset", reset)):
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name}={text!r} is a {type(text).__name__}; wanted text, as for brian2.NeuronGroup")
        if text and any(word in text for word in ("on_pre", "on_post")):
            raise ValueError(f"{name}={text!r}: this compiles neurons, not synapses")
    if threshold is not None:
        grammar.expression(threshold)
        reads = grammar.names(grammar.expression(threshold)) | (_names_of(reset) if reset else set())
        if input in _reach(reads, lines):
            raise ValueError(
                f"the threshold {threshold!r} or the reset {reset!r} depends on the input {input!r}, "
                "which is not available then; store it in a variable"
            )
    if reset and threshold is None:
        raise ValueError(f"reset={reset!r} without a threshold: it would never run; give threshold='v > ...'")
    effort.check(lines)
    return updater.Text(lines, threshold, reset.strip() or None if reset else None, _duration(refractory))


def _names_of(reset: str) -> set[str]:
    return set().union(*(grammar.names(statement.expression) for statement in grammar.statements(reset)), set())


def _reach(reads: Iterable[str], lines: list[grammar.Equation]) -> set[str]:
    """Return the names that are read, including those inside subexpressions that are evaluated at that time."""
    inner = {
        line.name: grammar.names(grammar.expression(line.expression))
        for line in lines
        if line.kind == "subexpression" and "constant over dt" not in line.flags
    }
    found: set[str] = set()
    waiting = list(reads)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(inner.get(name, ()))
    return found


def _duration(refractory: Any) -> str | None:
    """Return the refractory time or condition as text."""
    if refractory is None or refractory is False:
        return None
    if isinstance(refractory, str):
        grammar.expression(refractory)
        return refractory.strip()
    b2 = brian2()
    if isinstance(refractory, b2.Quantity) and refractory.dim is b2.second.dim and refractory.ndim == 0:
        return f"{in_house(refractory)!r}*ms"
    raise ValueError(f"refractory={refractory!r} is neither a time nor a condition; write 2*ms, '2*ms' or 'v > -20*mV'")


def _period(model: Model, values: Mapping[str, float]) -> dict[str, float]:
    """Return the refractory time [ms] as a field, unless a constant of that name exists."""
    if model.period is None or "t_refractory" in values:
        return {}
    period = Writer(model.algebra, (), (), values, torch.zeros(())).plain(model.period)
    if period is None:
        raise ValueError("the refractory time depends on the state; give a time of constants alone, or a condition")
    return {"t_refractory": period}


def _check_finite(neuron: CompiledNeuron, method: str) -> None:
    """Write the programs once: a coefficient that is not finite comes from two equal time constants."""
    plan = neuron._plan(neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64)), 0.1)
    constants = [c for program in (plan.update, plan.threshold, plan.reset) if program for c in program.constants]
    if all(math.isfinite(float(c)) for c in constants):
        return
    times = ", ".join(f"{name}={value:g}" for name, value in neuron.parameters.items() if name.startswith("tau"))
    raise ValueError(
        f"Brian2's {method!r} solution is not finite for these constants ({times}): it divides by the difference of "
        "two rates that are equal; make one differ by a part in 1e4, or use method='exponential_euler' or 'rk4'"
    )
