"""Spike functions of other libraries, replaced by `rules.Surrogate` for the time of a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from rules.models.peers import PEERS, neurons
from rules.spikes.surrogate import Surrogate

STRICT = {"snntorch": True, "spikingjelly": False, "sinabs": False}  # whether a membrane at the threshold is silent


class Spikes(nn.Module):
    """A spike function of `membrane - threshold` that is called as other libraries call theirs."""

    required_states = ("v_mem",)  # read by Sinabs

    def __init__(self, surrogate: Surrogate, strict: bool) -> None:
        super().__init__()
        self.surrogate, self.strict = surrogate, strict

    def forward(self, u: Tensor) -> Tensor:
        return self.surrogate.spike(u, self.strict)

    def apply(self, v_mem: Tensor, threshold: Tensor, derivative: Any) -> Tensor:  # type: ignore[override]
        """Return the spikes of a layer of Sinabs; its own derivative is not used."""
        return self.forward(v_mem - threshold)


def place_of(neuron: Any, package: str) -> str:
    """Return the attribute that holds the spike function of a neuron.

    Raises ValueError for a neuron whose spikes ours cannot stand for.
    """
    if package == "snntorch" and hasattr(neuron, "spike_grad"):
        return "spike_grad"
    if package == "spikingjelly" and "Multi" not in type(getattr(neuron, "surrogate_function", None)).__name__:
        return "surrogate_function"
    if package == "sinabs" and getattr(getattr(neuron, "spike_fn", None), "__name__", "") == "SingleSpike":
        return "spike_fn"
    raise ValueError(
        f"rules.adapt(surrogate=...) cannot replace the spikes of {type(neuron).__name__} of {PEERS[package].title}: "
        + WHY.get(package, "it has no function of its own for them")
        + "; leave surrogate=None and use bptt or spsa"
    )


WHY = {
    "norse": "Norse chooses its function by a name, p.method",
    "sinabs": "they may be several in a step, and rules.Surrogate gives one; build the layer with spike_fn=SingleSpike",
}


def spiking(model: nn.Module) -> dict[str, tuple[nn.Module, str, str]]:
    """Return the neurons that spike, each with its library and the attribute of its spike function, by name."""
    found = {}
    for name, (neuron, peer) in neurons(model).items():
        if not silent(neuron, peer.package):
            found[name] = (neuron, peer.package, place_of(neuron, peer.package))
    return found


def silent(neuron: nn.Module, package: str) -> bool:
    """Return whether a module with state never spikes, such as a leaky integrator or a dropout mask."""
    if package == "norse":
        return type(neuron).__name__.startswith("LI") and not type(neuron).__name__.startswith("LIF")
    if package == "sinabs":
        return getattr(neuron, "spike_fn", None) is None
    return package == "spikingjelly" and not hasattr(neuron, "surrogate_function")


@contextmanager
def replaced(model: nn.Module, surrogate: Surrogate | None) -> Iterator[None]:
    """Give every neuron of another library inside a model our spike function in this context; None changes nothing."""
    if surrogate is None:
        yield
        return
    kept: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for neuron, package, place in spiking(model).values():
            home: dict[str, Any] = neuron._modules if place in neuron._modules else neuron.__dict__
            kept.append((home, place, home[place]))
            home[place] = Spikes(surrogate, STRICT[package])
        yield
    finally:
        for home, place, own in reversed(kept):
            home[place] = own
