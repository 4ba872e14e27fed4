"""The adapter that `rules.adapt` returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run
from rules.forward import looking
from rules.models.axes import at, doubled, flat, timed, turned, unsqueezed
from rules.models.calls import Seen, every, listened, unhooked
from rules.models.parts import Group, Misfit, Part, chain, chosen, frame_of, require_time
from rules.models.peers import neurons, reset, squeezed, unsqueezing
from rules.models.ports import Inputs, Output, arguments, picked, returns_state
from rules.models.stages import require_equal, stages, traces
from rules.models.surrogates import replaced, spiking
from rules.spikes.surrogate import Surrogate


class Adapted(nn.Module):
    """A model with what `adapt` adds; see there for the arguments."""

    def __init__(
        self,
        model: nn.Module,
        reset: Callable[[nn.Module], Any] | None,
        batch_first: bool | None,
        output: Output | None,
        inputs: Inputs | None,
        layers: Sequence[str] | None,
        surrogate: Surrogate | str | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.surrogate = Surrogate(surrogate) if isinstance(surrogate, str) else surrogate
        if self.surrogate is not None:
            require_spikes(model)
        self._reset, self._output, self._inputs, self._named = reset, output, inputs, layers
        self._batch_first = batch_first_of(model) if batch_first is None else batch_first
        self._flat = any(squeezed(module) for module in model.modules())
        self._tuples = returns_state(model, bool(neurons(model)))
        self._looped: bool | None = None  # not yet seen
        self._seen = ""
        self._parts: list[Part] = []
        self._layers: list[nn.Module] = []  # a list, so that their parameters are not registered twice
        self._refusal = ""
        self.register_state_dict_post_hook(bare)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(dressed)  # type: ignore[no-untyped-call]

    @property
    def offers(self) -> frozenset[str]:
        """What the model offers to rules; layers until they have been looked for in vain."""
        found = {"gradient", "features"} if self._refusal else {"gradient", "features", "layers"}
        return frozenset(found | ({"bits"} if self.surrogate is not None else set()))

    @property
    def layers(self) -> list[nn.Module]:
        """The stages of the model, each callable alone on a sequence; empty before `find_layers`."""
        return self._layers

    @property
    def turned_inside(self) -> bool:
        """Whether the model takes `[B, T, ...]`."""
        return self._batch_first

    def forward(self, x: Any, record: bool = False) -> Tensor | Run:
        """Run the model from rest on `[T, B, ...]` or `[B, features]`; with `record`, return a Run with traces."""
        output: Any
        if not record:
            output = self._pass(x)[0]
            return output  # type: ignore[no-any-return]  # tensor or Run, as `picked` has checked
        self.find_layers(x)
        with listened([part.module for part in self._parts]) as calls:
            output = self._pass(x)[0]
        own = {id(p): name for name, p in self.named_parameters()}
        return Run(output, None, traces(self._parts, [*every(calls)], frame_of(output, self._batch_first), own))

    def find_layers(self, x: Any) -> None:
        """Find the layers in a pass on `x`, in evaluation mode and without a trace; does nothing the second time.

        Raises ValueError if modules do not follow one another.
        """
        if self._layers or self._refusal:
            if self._refusal:
                raise ValueError(self._refusal)
            return
        try:
            self._find(x)
        except Misfit as misfit:
            self._refusal = (
                f"the layers of {type(self.model).__name__} cannot be called one after the other: {misfit}; or name "
                "modules that follow one another: rules.adapt(model, layers=('block', 'head')); bptt and spsa need no "
                "layers"
            )
            raise ValueError(self._refusal) from None

    def _find(self, x: Any) -> None:
        if not isinstance(x, Tensor):
            raise Misfit(f"the input is a {type(x).__name__}, and layers are called on one tensor")
        if timed(x) and len(x) == 1:
            x = torch.cat([x, x])  # one step could not be told from a model without time
        names = {module: name for name, module in self.model.named_modules()}
        with unhooked(self), looking(self, {}):
            if self._looped is None:
                self._decide(x)
            with listened(names) as calls:
                output, outputs = self._pass(x)
            if isinstance(output, Run):
                raise Misfit("it returns rules.Run, and needs no adapter")
            for call, given in zip(calls, outputs, strict=True):
                call.given = [Seen(given, given._version)]
            frame = frame_of(output, self._batch_first)
            require_time(x, frame)
            root = Group("", calls)
            parts = chain(root, names, frame) if self._named is None else chosen(self._named, root, names, frame)
            found = stages(parts, tuple(x.shape[frame.lead :]), tuple(output.shape[frame.lead :]), self._resting)
            require_equal(found, x, output)
        self._parts, self._layers = parts, found

    def _pass(self, x: Any) -> tuple[Any, list[Any]]:
        """Return the output of a pass from rest, and what each call of the model gave, as it gave it."""
        args, kwargs = arguments(x, self._inputs)
        lead: Any = args[0] if args else next(iter(kwargs.values()), None)
        if self._looped is None and timed(lead):
            self._decide(x)
        single = self._batch_first and isinstance(lead, Tensor) and not timed(lead) and lead.ndim > 1
        steps = len(lead) if timed(lead) else 1
        with self._resting(self.model, steps):
            if self._looped and timed(lead):
                outputs = self._steps(args, kwargs, steps)
                return torch.stack(outputs), outputs
            if single:  # [B, features] are sequences of one step
                args, kwargs = unsqueezed(args, kwargs)
            given = self._call(*self._shaped(args, kwargs))
            restored = self._restored(given, steps)
            return (restored[0] if single and given.ndim > 2 else restored), [given]

    def _call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return picked(self.model(*args, **kwargs), self._output, self._tuples)

    def _steps(self, args: Sequence[Any], kwargs: dict[str, Any], steps: int) -> list[Any]:
        outputs: list[Any] = []
        state: dict[str, Any] = {}
        explicit = "state" in inspect.signature(type(self.model).forward).parameters
        for t in range(steps):
            now = [at(value, t, steps) for value in args]
            returned = self.model(*now, **{name: at(value, t, steps) for name, value in kwargs.items()}, **state)
            outputs.append(picked(returned, self._output, self._tuples))
            if explicit and isinstance(returned, tuple):
                state = {"state": returned[1]}
        return outputs

    def _shaped(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with batch and time as the model takes them."""
        if not self._batch_first:
            return [*args], kwargs
        change = flat if self._flat else turned
        return [change(value) for value in args], {name: change(value) for name, value in kwargs.items()}

    def _restored(self, given: Any, steps: int) -> Any:
        """Return an output with time first."""
        if isinstance(given, Run) or not self._batch_first:
            return given
        if self._flat:
            given = given.reshape(-1, steps, *given.shape[1:])
        return given.transpose(0, 1) if given.ndim > 2 else given

    @contextmanager
    def _resting(self, module: nn.Module, steps: int) -> Iterator[None]:
        """Begin and end at rest, with our surrogate where one was given."""
        with replaced(module, self.surrogate), unsqueezing(module, steps):
            self._rest(module)
            try:
                yield
            finally:
                self._rest(module)

    def _rest(self, module: nn.Module) -> None:
        if self._reset is None:
            reset(module)
        else:
            self._reset(self.model)

    def _decide(self, x: Any) -> None:
        """Count the calls of neurons in a pass, to see whether the model loops over time by itself."""
        single = [module for module, peer in neurons(self.model).values() if peer.single(module)]
        self._looped = False
        if not single:
            self._seen = "called once for a sequence"
            return
        calls = dict.fromkeys(single, 0)

        def count(module: nn.Module, args: Any, returned: Any) -> None:
            calls[module] += 1

        longer = doubled(x)
        with unhooked(self), looking(self, dict.fromkeys(single, count)):
            try:
                self._pass(longer)
            except (RuntimeError, TypeError, ValueError, IndexError):  # it does not take a sequence
                calls = dict.fromkeys(single, 1)
        most = max(calls.values())
        self._looped = most <= 1
        self._seen = (
            "looped over time: its neurons take one step at a call"
            if self._looped
            else f"loops over time by itself: a neuron was called {most} times in a pass"
        )

    def extra_repr(self) -> str:
        titles = sorted({peer.title for _, peer in neurons(self.model).values()})
        said = [", ".join(titles) or "no neurons of a known library", self._seen or "not called yet"]
        said += ["batch first inside"] if self._batch_first else []
        said += [f"layers: {', '.join(part.path for part in self._parts)}"] if self._parts else []
        return "; ".join(said)


def require_spikes(model: nn.Module) -> None:
    """Raise ValueError if there are no spikes that a surrogate could replace."""
    if not spiking(model):
        raise ValueError(
            f"surrogate= replaces spikes of snnTorch, SpikingJelly or Sinabs, and {type(model).__name__} has none: "
            "rules.adapt(model)"
        )


def batch_first_of(model: nn.Module) -> bool:
    """Return whether a model takes `[B, T, ...]`, by its modules; raises ValueError if they differ."""
    layers = [m.batch_first for m in model.modules() if isinstance(m, (nn.RNNBase, nn.MultiheadAttention))]
    said = {*layers, *(peer.batch_first for _, peer in neurons(model).values())}
    if len(said) > 1:
        raise ValueError(
            f"some modules of {type(model).__name__} take [B, T, ...] and others [T, B, ...]: say what the whole model "
            "takes, rules.adapt(model, batch_first=True)"
        )
    return said == {True}


def bare(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Give a state the names that the model itself uses."""
    inner = f"{prefix}model."
    for name in [name for name in state if name.startswith(inner)]:
        state[prefix + name.removeprefix(inner)] = state.pop(name)


def dressed(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Give a state of the model itself the names that the adapter uses."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}model.{name.removeprefix(prefix)}"] = state.pop(name)
