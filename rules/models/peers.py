"""Libraries of spiking networks whose modules keep state between calls, recognised by the names of their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from rules.forward import leaves


@dataclass(frozen=True)
class Peer:
    """A library: the classes of its neurons, and how their state is cleared.

    Args:
        title: the name of the library.
        package: the first part of the module of its classes.
        bases: names of the classes from which its neurons are derived.
        reset: sets the state of one neuron to rest.
        single: whether a neuron takes one step of time at a call.
        batch_first: whether its neurons take `[B, T, ...]`.
        remedy: the call of that library that clears the state of a whole model.
    """

    title: str
    package: str
    bases: frozenset[str]
    reset: Callable[[Any], None]
    single: Callable[[Any], bool]
    batch_first: bool
    remedy: str


OWN = ("_parameters", "_modules")  # what a pass does not change
SEQUENCES_OF_SNNTORCH = {"StateLeaky", "LinearLeaky", "AssociativeLeaky"}  # these take [T, B, ...] at a call


def at_rest(layer: Any) -> None:
    """Empty the state of a layer of Sinabs, which then begins with zeros in the shape of its next input.

    `reset_states` would keep the shape, and then draw random rows for a batch of another size.
    """
    for name, state in list(layer.named_buffers(recurse=False)):
        layer.register_buffer(name, torch.zeros(0, dtype=state.dtype, device=state.device))


PEERS = {
    "snntorch": Peer(
        title="snnTorch",
        package="snntorch",
        bases=frozenset({"SpikingNeuron"}),
        reset=lambda neuron: neuron.reset_mem() if hasattr(neuron, "reset_mem") else None,
        single=lambda neuron: SEQUENCES_OF_SNNTORCH.isdisjoint(cls.__name__ for cls in type(neuron).__mro__),
        batch_first=False,
        remedy="snntorch.utils.reset(model)",
    ),
    "spikingjelly": Peer(
        title="SpikingJelly",
        package="spikingjelly",
        bases=frozenset({"MemoryModule"}),
        reset=lambda neuron: neuron.reset(),
        single=lambda neuron: neuron.step_mode == "s",
        batch_first=False,
        remedy="spikingjelly.activation_based.functional.reset_net(model)",
    ),
    "norse": Peer(
        title="Norse",
        package="norse",
        bases=frozenset({"SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell"}),
        reset=lambda neuron: None,  # its state is an argument, and at rest when it is left out
        single=lambda neuron: any(cls.__name__.endswith("Cell") for cls in type(neuron).__mro__),
        batch_first=False,
        remedy="model(x, None)",
    ),
    "sinabs": Peer(
        title="Sinabs",
        package="sinabs",
        bases=frozenset({"StatefulLayer"}),
        reset=at_rest,
        single=lambda neuron: False,
        batch_first=True,
        remedy="sinabs.reset_states(model)",
    ),
}


def peer_of(module: nn.Module) -> Peer | None:
    """Return the library of which a module is a neuron; None for any other module.

    >>> peer_of(nn.Linear(1, 1)) is None
    True
    """
    kind: Any = type(module)
    return _peer_of(kind)


@lru_cache(maxsize=1024)
def _peer_of(kind: type) -> Peer | None:
    for cls in kind.__mro__:
        peer = PEERS.get(cls.__module__.partition(".")[0])
        if peer is not None and cls.__name__ in peer.bases:
            return peer
    return None


def neurons(model: nn.Module) -> dict[str, tuple[nn.Module, Peer]]:
    """Return the neurons of known libraries inside a model, with their library, by name."""
    found = {name: (module, peer_of(module)) for name, module in model.named_modules()}
    return {name: (module, peer) for name, (module, peer) in found.items() if peer is not None}


def titles(model: nn.Module) -> str:
    """Return the libraries whose neurons are inside a model, joined by "and"; an empty text if there are none."""
    return " and ".join(sorted({peer.title for _, peer in neurons(model).values()}))


def memories(model: nn.Module) -> dict[str, list[Tensor]]:
    """Return copies of what each neuron of a known library keeps: its buffers, and the tensors in its attributes."""
    return {
        name: [held.detach().clone() for held in leaves({k: v for k, v in vars(neuron).items() if k not in OWN})]
        for name, (neuron, _) in neurons(model).items()
    }


def reset(model: nn.Module) -> None:
    """Set the state of every neuron of a known library inside a model to rest."""
    for module in model.modules():
        if (peer := peer_of(module)) is not None:
            peer.reset(module)


def squeezed(module: nn.Module) -> bool:
    """Return whether a layer of Sinabs takes time and batch in one axis, batch first."""
    return peer_of(module) is PEERS["sinabs"] and any(cls.__name__ == "SqueezeMixin" for cls in type(module).__mro__)


@contextmanager
def unsqueezing(model: nn.Module, steps: int) -> Iterator[None]:
    """Tell layers of Sinabs that take time and batch in one axis how many steps there are."""
    kept = [(layer, layer.batch_size, layer.num_timesteps) for layer in model.modules() if squeezed(layer)]
    for layer, _, _ in kept:
        layer.batch_size, layer.num_timesteps = -1, steps  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, samples, before in kept:
            layer.batch_size, layer.num_timesteps = samples, before
