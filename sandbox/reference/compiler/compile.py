"""Brian2's equation strings as a neuron that torch differentiates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from rules.errors import unknown
from rules.spikes.surrogate import Surrogate
from sandbox.neurons.dice import DRAWS
from sandbox.reference.compiler import grammar, updater
from sandbox.reference.compiler.constants import check_times, constants_of, names_of_starts, quantity, start_of
from sandbox.reference.compiler.drive import Drive, require_driven
from sandbox.reference.compiler.given import Given, behind, callers, given
from sandbox.reference.compiler.maker import build
from sandbox.reference.compiler.measured import check_step
from sandbox.reference.compiler.methods import chosen
from sandbox.reference.compiler.model import Model
from sandbox.reference.compiler.names import CONSTANTS
from sandbox.reference.compiler.neuron import CompiledNeuron
from sandbox.reference.compiler.plan import period_of
from sandbox.reference.compiler.reading import number_of, state_class
from sandbox.reference.compiler.signals import Brought, Own, Signal, brought
from sandbox.reference.compiler.texts import alive, inhabited, plain, read
from sandbox.reference.compiler.units import in_house, symbols, text_of
from sandbox.reference.need import brian2


def from_brian2(
    equations: Any,
    threshold: str | None = None,
    reset: str | None = None,
    refractory: Any = None,
    method: str | Sequence[str] | None = None,
    namespace: Mapping[str, Any] | Literal["caller"] | None = None,
    input: str | None = "current",
    surrogate: str | Surrogate = "atan",
    *,
    input_unit: str = "amp",
    inputs: Mapping[str, str] | Sequence[str] | None = None,
    jumps: str | Mapping[str, str] | None = None,
    initial: Mapping[str, Any] | None = None,
    draws: Mapping[str, str] | None = None,
    functions: Mapping[str, Callable[..., Tensor]] | None = None,
    events: Mapping[str, tuple[str, str]] | None = None,
    swing: float | None = None,
) -> CompiledNeuron:
    """Compile a neuron from the equations, threshold and reset that Brian2 would run.

        dx/dt = f(x, input)  ->  the update that Brian2's `method` writes, as torch operations in ms, mV, nA, MOhm
        spike where the threshold holds, with a surrogate derivative of the difference that decides, over swing;
        then the statements of the reset, in order, in the cells that fired

    House units are ms, mV, nA, MOhm, nF, uS. Synapses (`on_pre`, `on_post`) are compiled by `from_brian2_synapses`. No
    text is ever passed to `eval`.

    Args:
        equations: as for `brian2.NeuronGroup`: text, `brian2.Equations`, or a NeuronGroup with all it was made with and
            its present values.
        threshold: condition for a spike; None for a cell that never fires.
        reset: statements after a spike.
        refractory: a time, which may depend on the index or the state, or a condition; None for none.
        method: Brian2's name of the scheme, or several to be tried in turn; None for Brian2's choice.
        namespace: constants, as Brian2 quantities, plain numbers or text such as "20*ms"; what nothing reads is
            ignored. "caller" for the variables around the call.
        input: name of the input, which is constant within a step; None for a cell without one.
        surrogate: surrogate gradient of the spike, or its name.
        input_unit: base unit of the input: amp by default, so that its numbers are in nA.
        inputs: several inputs instead of one, by name, with their units, {"ge": "siemens", "I": "amp"}, or with those
            of the equations, ("ge", "I"); currents then have them as their last axis. None for `input` alone.
        jumps: variable that the input is added to before each step, as `on_pre="g_post += w"` does; of several inputs
            the variable of each that is added to one, {"excitation": "ge", "inhibition": "gi"}. None for none.
        initial: initial values and `(constant)` parameters, as quantities, plain numbers in house units (mV, ms, nA),
            arrays with a value for each cell, or text over the constants, `i`, `N`, `rand()`, `randn()`; 0 otherwise.
        draws: further random numbers of each step, by name: "uniform" or "normal".
        functions: torch functions that the texts may call, by name, on tensors in house units; of plain numbers, unless
            the namespace has a Brian2 function of that name with units. A TimedArray of the namespace is called as in
            Brian2, `I(t)` or `I(t, i)`.
        events: further events, by name, each a condition and the statements that run after the reset where it holds,
            as `events=` and `run_on_event` of a NeuronGroup; no surrogate derivative passes the condition.
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
    held = given(
        equations,
        threshold=threshold,
        reset=reset,
        refractory=refractory,
        method=method,
        namespace=callers(namespace, 1),
        initial=dict(initial or {}),
        events=events,
    )
    named = inputs if isinstance(inputs, Mapping | Sequence) else ()
    for name in {str(input), *named} - set(initial or {}):
        held.initial.pop(name, None)  # a group has a value of its input, which every step brings anew
    own = brought(held.namespace, functions)
    arities = {name: each.arity for name, each in own.items()}
    with grammar.calling(arities), torch.inference_mode(False):  # tensors are kept, for autograd too
        return _compiled(held, surrogate, (input, input_unit, inputs, jumps), draws, swing, own, namespace)


def _compiled(
    held: Given,
    surrogate: str | Surrogate,
    driven: tuple[Any, ...],
    draws: Mapping[str, str] | None,
    swing: float | None,
    called: Mapping[str, Brought],
    namespace: Any,
) -> CompiledNeuron:
    """Compile what was given, whose texts may call the functions that it brings along."""
    b2 = brian2()
    text, held, drive = read(held, driven, called)
    for line in text.lines:
        if line.name in {*called, *map(behind, called)}:
            raise ValueError(f"{line.name!r} is defined twice, in {str(line)!r} and as a function: rename one")
    drawn = dict(draws or {})
    for name, kind in drawn.items():
        if kind not in DRAWS:
            raise unknown(f"kind of the draw {name!r}", kind, DRAWS)
    declared = {line.name for line in text.lines if line.kind == "parameter"}
    extra = [f"{name} : {unit} (constant)" for name, unit in drive.units.items() if name not in declared]
    extra += [f"{name} : 1 (constant)" for name in drawn]
    reads = updater.mentioned(text) | names_of_starts(held.initial)
    inputs = list(drive.units)
    found = held.namespace
    if namespace == "caller":  # which has units of its own, such as ms
        found = {name: value for name, value in found.items() if name in reads and name not in (*symbols(), *CONSTANTS)}
    updater.check_names(text, found, [*inputs, *drawn])
    used = {name: quantity(name, value) for name, value in found.items() if name in reads}
    text, own, tensors = constants_of(text, held.initial, used, [*inputs, *drive.jumps.values()])
    used |= own
    text = inhabited(text, inputs, [*used, *drawn, *called])
    check_times(used)
    step = updater.ask(text, chosen(held.method), used | {n: each.in_brian2() for n, each in called.items()}, extra)
    text = alive(text)
    live = updater.mentioned(text) | names_of_starts(held.initial)
    used = {name: value for name, value in used.items() if name in live}
    model = build(text, step, used, inputs, drawn, drive.jumps, called)
    every = {name: in_house(value) for name, value in used.items()}
    period, folded = _period(model, every, tensors), frozenset[str]()
    if period:  # constants that appear in the refractory time alone become part of `t_refractory`
        beyond = updater.mentioned(text._replace(refractory=None)) | names_of_starts(held.initial)
        folded = frozenset(used) - beyond
        used = {name: value for name, value in used.items() if name in beyond}
    values = {name: every[name] for name in used}
    units = {name: text_of(b2.get_dimensions(value)) for name, value in used.items()}
    units |= {name: text_of(step.dimensions[name]) for name in (*model.variables, *inputs) if name in step.dimensions}
    units |= dict.fromkeys(model.draws, "1")
    dimensions = {name: step.dimensions.get(name) for name in model.variables}
    starts = {name: start_of(name, value, dimensions, used) for name, value in held.initial.items() if name not in own}
    refractory_text = f"{number_of(period['t_refractory'])!r}*ms" if period else plain(text.refractory)
    recipe = {
        "equations": "\n".join(map(str, text.lines)),
        "threshold": plain(text.threshold),
        "reset": plain(text.reset),
        "refractory": refractory_text,
        "method": step.method,
        **_asked(drive),
        "draws": drawn,
        "events": {event.name: (str(event.condition), str(event.code)) for event in text.events},
        "swing": swing,
    }
    neuron: CompiledNeuron = _class(model, text, step, units, drive, starts, recipe, values, folded, called)(
        **values, **period, surrogate=Surrogate(surrogate) if isinstance(surrogate, str) else surrogate
    )
    check_step(neuron, step.method, "inf" in reads)
    if inputs:
        require_driven(neuron, text, list(used))
    kept = {name: value for name, value in tensors.items() if name in values}
    return neuron.with_parameters(**kept) if kept else neuron


def _class(
    model: Model,
    text: updater.Text,
    step: updater.Step,
    units: Mapping[str, str],
    drive: Drive,
    starts: Mapping[str, Any],
    recipe: Mapping[str, Any],
    values: Mapping[str, float],
    folded: frozenset[str],
    called: Mapping[str, Brought],
) -> Any:
    """Make a dataclass with a field for every constant."""
    lines = [str(line) for line in text.lines if line.name not in drive.units]
    input = None if drive.several else next(iter(drive.units), None)
    if input is not None and input != "current":
        if input not in drive.jumps:  # which no equation reads
            lines.append(f"{input} = current : {drive.units[input]}")
        units = {**units, "current": units[input]}
    times = {name: 0.0 for name in values if name.startswith("tau") and units[name] == "ms"}
    columns: list[Any] = [(name, Any, field()) for name in values]
    if "t_refractory" not in values:
        columns.append(("t_refractory", float, field(default=0.0)))
    columns.append(("surrogate", Surrogate, field(default_factory=lambda: Surrogate("atan"))))
    contents = {
        "equations": "\n".join(lines),
        "threshold": plain(text.threshold),
        "reset_code": plain(text.reset),
        "refractory": plain(text.refractory if model.stays else None),
        "method": step.method,
        "units": dict(units),
        "spiking": text.threshold is not None,
        "differentiable": True,
        "above": times,
        "draws": dict(model.draws),
        "model": model,
        "starts": dict(starts),
        "input": input,
        "inputs": tuple(drive.units) if drive.several else (),
        "jumps": dict(drive.jumps),
        "within_period": folded,
        "called": dict(called),
        "recipe": dict(recipe),
        "rebuild": staticmethod(rebuilt),
        "plans": {},
        "swings": {},
        "compiled_with": dict(values),
        "state_class": state_class(model.variables),
        "__module__": __name__,
        "__doc__": "Compiled by from_brian2 from:\n\n" + "\n".join(lines),
    }
    return make_dataclass("CompiledNeuron", columns, bases=(CompiledNeuron,), namespace=contents, frozen=True)


def rebuilt(
    recipe: dict[str, Any],
    units: dict[str, str],
    starts: dict[str, Any],
    values: dict[str, Any],
    surrogate: Surrogate,
    called: dict[str, Brought],
) -> CompiledNeuron:
    """Compile a pickled neuron anew."""
    namespace = {
        name: f"{number_of(value) or 1.0!r} * {units[name]}" for name, value in values.items() if name in units
    }
    signals = {name: each for name, each in called.items() if isinstance(each, Signal)}
    functions = {name: each for name, each in called.items() if isinstance(each, Own)}
    neuron = from_brian2(
        **recipe, namespace=namespace | signals, initial=starts, surrogate=surrogate, functions=cast("Any", functions)
    )
    return replace(neuron, **values)


def _asked(drive: Drive) -> dict[str, Any]:
    """Return the arguments that describe the inputs."""
    if drive.several:
        return {"inputs": dict(drive.units), "jumps": dict(drive.jumps)}
    (name, unit), *_ = [*drive.units.items(), (None, "amp")]
    return {"input": name, "input_unit": unit, "jumps": drive.jumps.get(str(name))}


def _period(model: Model, values: Mapping[str, float], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the refractory time [ms] as a field, unless a constant of that name exists."""
    found = model.period is not None and "t_refractory" not in values
    return {"t_refractory": period_of(model, {**values, **tensors})} if found else {}
