"""What goes into a model that was written elsewhere, and which part of what it returns is its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run

Inputs = str | Sequence[str] | Mapping[str, str]
Output = str | int | Callable[[Any], Any]
PLACES = {"spikes": 0, "membrane": -1}  # in the tuples that spiking neurons return


def arguments(x: Any, inputs: Inputs | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the named arguments of `forward` for an input: a tensor, or a dict or tuple of them.

    Raises:
        ValueError: if `inputs` names what the input does not have.

    >>> arguments({"ids": 1, "mask": 2}, {"ids": "input_ids", "mask": "attention_mask"})
    ((), {'input_ids': 1, 'attention_mask': 2})
    >>> arguments((1, 2), None), arguments(1, "pixels")
    (((1, 2), {}), ((), {'pixels': 1}))
    """
    if isinstance(x, Mapping):
        names = {name: name for name in x} if inputs is None else inputs
        if isinstance(names, str):
            names = [names]
        names = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
        if missing := [name for name in names if name not in x]:
            raise ValueError(
                f"inputs= names {', '.join(map(repr, missing))}, and a batch has: {', '.join(map(repr, x))}; map names "
                "of the batch to arguments of forward: rules.adapt(model, inputs={'tokens': 'input_ids'})"
            )
        return (), {names[name]: x[name] for name in names}
    parts = tuple(x) if isinstance(x, (tuple, list)) else (x,)
    if inputs is None:
        return parts, {}
    if isinstance(inputs, Mapping):
        raise ValueError(
            f"inputs= maps names, and a batch is a {type(x).__name__} without names: give the arguments of forward in "
            f"their order, rules.adapt(model, inputs={list(inputs.values())!r})"
        )
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    if len(names) != len(parts):
        raise ValueError(f"inputs= names {len(names)} arguments of forward, and a batch has {len(parts)} tensors")
    return (), dict(zip(names, parts, strict=True))


def picked(returned: Any, output: Output | None, tuples: bool) -> Any:
    """Return the output among what a model returned: a tensor, or `rules.Run`; a list of steps is stacked.

    Args:
        returned: by the model.
        output: "spikes", "membrane", an index, a key, an attribute, or a function; None for `logits`, or the first of a
            tuple.
        tuples: whether the first of a tuple is known to be the output.

    Raises:
        ValueError: if the part does not exist, or it is not known which part is the output.
    """
    found = part(returned, output, tuples)
    if isinstance(found, list) and found and all(isinstance(step, Tensor) for step in found):
        found = torch.stack(found)
    if not isinstance(found, (Tensor, Run)):
        raise ValueError(f"output={output!r} is a {type(found).__name__}, not a tensor; {description(returned)}")
    return found


def part(returned: Any, output: Output | None, tuples: bool) -> Any:
    """Return the chosen part, of any type."""
    if callable(output):
        return output(returned)
    if output is not None:
        return named(returned, output)
    if isinstance(returned, (Tensor, Run)):
        return returned
    logits = returned.get("logits") if isinstance(returned, Mapping) else getattr(returned, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if tuples and isinstance(returned, tuple) and returned:
        return returned[0]
    if isinstance(returned, list):
        return returned
    raise ValueError(f"which part is the output? {description(returned)}")


def named(returned: Any, output: str | int) -> Any:
    """Return a part by index, key or attribute."""
    if isinstance(returned, Mapping) and output in returned:
        return returned[output]
    if isinstance(output, str) and hasattr(returned, output):
        return getattr(returned, output)
    if isinstance(returned, (tuple, list)):
        place = PLACES.get(output) if isinstance(output, str) else output
        if place is not None and -len(returned) <= place < len(returned):
            return returned[place]
    if isinstance(returned, Tensor) and output == "spikes":
        return returned
    raise ValueError(f"output={output!r} is not there: {description(returned)}")


def description(returned: Any) -> str:
    """Return what a model returned, and how to choose from it."""
    if isinstance(returned, Mapping):
        entries = {repr(key): shape(value) for key, value in returned.items()}
    elif isinstance(returned, (tuple, list)):
        entries = {str(place): shape(value) for place, value in enumerate(returned)}
    else:
        entries = {}
    contents = ", ".join(f"{key}: {value}" for key, value in entries.items())
    choice = next(iter(entries), "lambda returned: ...")
    return (
        f"the model returned a {type(returned).__name__}{f' ({contents})' if contents else ''}; "
        f"choose with rules.adapt(model, output={choice})"
    )


def shape(value: Any) -> str:
    """Return a tensor's shape, or the type of anything else."""
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def returns_state(model: nn.Module, known: bool) -> bool:
    """Return whether the first of a tuple is the output: neurons of a known library, or a recurrent layer of torch."""
    return known or any(isinstance(module, (nn.RNNBase, nn.RNNCellBase)) for module in model.modules())
