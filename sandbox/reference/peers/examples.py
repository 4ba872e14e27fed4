"""The cells of other libraries that the table of docs/conformance.md measures, as their users make them."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass, field
from typing import Any

HOMES = {
    "snntorch": "snntorch",
    "spikingjelly": "spikingjelly.activation_based.neuron",
    "norse": "norse.torch",
    "sinabs": "sinabs.layers",
}
PARTS = {"sinabs": "sinabs.activation"}  # where objects that options name are


@dataclass(frozen=True)
class Example:
    """A cell of a library, made when it is asked for.

    Args:
        library: a key of `HOMES`.
        name: of the class.
        options: its arguments.
        parts: further arguments that are objects of the library, as "Name" or "Name()".

    >>> Example("snntorch", "Leaky", {"beta": 0.9}).code
    'Leaky(beta=0.9)'
    """

    library: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The call that makes it."""
        given = [*(f"{key}={value!r}" for key, value in self.options.items())]
        return f"{self.name}({', '.join([*given, *(f'{key}={value}' for key, value in self.parts.items())])})"

    @property
    def version(self) -> str:
        """The version of the library that is installed."""
        return importlib.metadata.version(self.library)

    def make(self) -> Any:
        """Return the cell; raise ImportError with the command that installs its library."""
        try:
            home = importlib.import_module(HOMES[self.library])
            more = {key: self._part(value) for key, value in self.parts.items()}
        except ImportError as missing:
            raise ImportError(
                f"this needs {self.library}, which is not installed: make peers, or pip install {self.library}"
            ) from missing
        return getattr(home, self.name)(**self.options, **more)

    def _part(self, text: str) -> Any:
        found = getattr(importlib.import_module(PARTS[self.library]), text.removesuffix("()"))
        return found() if text.endswith("()") else found


SINGLE = {"spike_fn": "SingleSpike"}
EXAMPLES = (
    Example("snntorch", "Leaky", {"beta": 0.9}),
    Example("snntorch", "Leaky", {"beta": 0.9, "reset_delay": False}),
    Example("snntorch", "Leaky", {"beta": 0.9, "reset_mechanism": "zero"}),
    Example("snntorch", "Leaky", {"beta": 0.9, "reset_mechanism": "zero", "reset_delay": False}),
    Example("snntorch", "Leaky", {"beta": 0.9, "reset_mechanism": "none"}),
    Example("snntorch", "Leaky", {"beta": 1.0}),
    Example("snntorch", "Synaptic", {"alpha": 0.8, "beta": 0.9, "reset_mechanism": "subtract"}),
    Example("snntorch", "Synaptic", {"alpha": 0.8, "beta": 0.9, "reset_mechanism": "zero"}),
    Example("snntorch", "Alpha", {"alpha": 0.9, "beta": 0.8, "reset_mechanism": "none"}),
    Example("snntorch", "Alpha", {"alpha": 0.9, "beta": 0.8, "reset_mechanism": "zero"}),
    Example("snntorch", "Alpha", {"alpha": 0.9, "beta": 0.8, "reset_mechanism": "subtract"}),
    Example("spikingjelly", "IFNode"),
    Example("spikingjelly", "LIFNode", {"tau": 2.0}),
    Example("spikingjelly", "LIFNode", {"tau": 5.0, "v_reset": None}),
    Example("spikingjelly", "LIFNode", {"tau": 5.0, "decay_input": False}),
    Example("spikingjelly", "ParametricLIFNode", {"init_tau": 3.0}),
    Example("spikingjelly", "CUBALIFNode", {"c_decay": 0.5, "v_decay": 0.75}),
    Example("norse", "LIFCell"),
    Example("norse", "LIFRefracCell"),
    Example("norse", "LIFBoxCell"),
    Example("norse", "IAFCell"),
    Example("norse", "LIBoxCell"),
    Example("sinabs", "LIF", {"tau_mem": 20.0}),
    Example("sinabs", "LIF", {"tau_mem": 20.0}, SINGLE),
    Example("sinabs", "LIF", {"tau_mem": 20.0}, SINGLE | {"reset_fn": "MembraneReset()"}),
    Example("sinabs", "LIF", {"tau_mem": 20.0, "tau_syn": 5.0}, SINGLE),
    Example("sinabs", "IAF"),
    Example("sinabs", "ExpLeak", {"tau_mem": 20.0}),
    Example("sinabs", "ALIF", {"tau_mem": 20.0, "tau_adapt": 100.0}, {"reset_fn": "MembraneReset()"}),
    Example("sinabs", "ALIF", {"tau_mem": 20.0, "tau_adapt": 100.0}),
)
