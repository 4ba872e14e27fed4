"""`adapt`: a model of another library, or of one's own, as a model that any rule can use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from rules.errors import unknown
from rules.models.adapted import Adapted
from rules.models.ports import Inputs, Output
from rules.optional import plain
from rules.spikes.surrogate import Surrogate


def adapt(
    model: nn.Module,
    reset: Callable[[nn.Module], Any] | None = None,
    batch_first: bool | None = None,
    output: Output | None = None,
    inputs: Inputs | None = None,
    layers: Sequence[str] | None = None,
    surrogate: Surrogate | str | None = None,
) -> Adapted:
    """Return a model that any rule can use: at rest at every call, time first, one output, with layers.

    The model itself is trained; the adapter holds it and adds no parameter, and `state_dict()` has the model's own
    names. Neurons of snnTorch, SpikingJelly, Norse and Sinabs are recognised. Where they take one step at a call, the
    model is looped over time, unless it loops by itself: that is seen in its first pass, by counting the calls of its
    neurons, and said in `repr`. Layers are the modules that a pass goes through, in order. They are looked for when a
    rule first asks for them, and refused unless each receives what the one before it gave. Wrappers of `torch.compile`
    and `DataParallel` are taken off.

    Args:
        model: any `nn.Module`.
        reset: called with the model before and after each pass; by default the state of recognised neurons is reset.
        batch_first: whether the model takes and gives `[B, T, ...]`; data stay `[T, B, ...]`. By default True for
            Sinabs, and for recurrent layers and attention with `batch_first=True`.
        output: which part of what the model returns is the output: "spikes" or "membrane" in a tuple of a spiking
            neuron, an index, a key, an attribute or a function. By default `logits`, or the first of the tuple that a
            recurrent layer or a spiking neuron returns.
        inputs: for a dict `x`, a mapping from its keys to arguments of `forward`; for a tuple, the arguments in order;
            for a tensor, the argument. By default dicts are passed by name and tuples by position.
        layers: paths of the modules that are the layers, such as `("block1", "head")`; by default they are found.
        surrogate: replaces the spike functions of recognised neurons during each pass, by name or as
            `rules.Surrogate`, so that `forward_gradient` and `binary_stochastic` can differentiate them.

    Returns:
        The adapter, an `nn.Module` that gives `[T, B, classes]` or `[B, classes]`.

    Raises:
        TypeError: for a model that is not an `nn.Module`, or a reset that cannot be called.
        ValueError: for a model that is adapted already, a path in `layers` that does not exist, an unknown surrogate,
            or spikes that ours cannot replace; when called, for an output that is not there or not known; when a rule
            asks for layers, for modules that do not follow one another.

    >>> import torch
    >>> model = adapt(nn.LSTM(4, 3, batch_first=True))
    >>> model(torch.zeros(5, 2, 4)).shape  # time first
    torch.Size([5, 2, 3])
    >>> model.state_dict().keys() == model.model.state_dict().keys()
    True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"rules.adapt takes an nn.Module, and got {type(model).__name__}: rules.adapt(MyModel())")
    if reset is not None and not callable(reset):
        raise TypeError(f"reset={reset!r} cannot be called: rules.adapt(model, reset=lambda model: model.clear())")
    model = plain(model)
    if isinstance(model, Adapted):
        raise ValueError("this model is adapted already: use it, or adapt its own model, rules.adapt(model.model)")
    paths = [name for name, _ in model.named_modules()]
    for path in layers or ():
        if path not in paths:
            raise unknown("module in layers", path, paths[1:])
    return Adapted(model, reset, batch_first, output, inputs, layers, surrogate)
