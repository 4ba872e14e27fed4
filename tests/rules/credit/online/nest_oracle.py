"""Trains the networks of `drawn.py` by e-prop in NEST and writes what came out to `nest.json`, which the tests read.

python -m venv nest && nest/bin/pip install nest-simulator==3.10.0
nest/bin/python tests/rules/credit/online/nest_oracle.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nest
import numpy as np
from drawn import EARLY, LARGE, SMALL, Given, Spec

FIRST = 1  # step of the first input
BEHIND = FIRST + 3  # one more step to the cells, to the read-out, and to its normalisation
SYNAPSE = "eprop_synapse_bsshslm_2020"
EVERY = {"rule": "all_to_all", "allow_autapses": False}
REST = {"C_m": 1.0, "E_L": 0.0, "I_e": 0.0, "V_m": 0.0}
SHAPE = {"surrogate_gradient_function": "piecewise_linear"}


def created(spec: Spec) -> tuple[Any, Any]:
    """Return the cells and the read-out."""
    common = {
        **REST,
        **SHAPE,
        "tau_m": spec.tau_mem,
        "t_ref": spec.t_refractory,
        "V_th": spec.threshold,
        "c_reg": spec.rate,
        "f_target": spec.target_rate,
        "regular_spike_arrival": spec.whole_gain,
        "surrogate_gradient_height": 0.3 / spec.threshold,
        "surrogate_gradient_width": spec.threshold,
        "flush_event_send_interval": float(spec.steps),
    }
    slow = {**common, "adapt_tau": spec.tau_adapt, "adapt_beta": spec.beta, "adaptation": 0.0}
    cells = nest.NodeCollection([])
    if spec.cells > spec.adaptive:
        cells += nest.Create("eprop_iaf_bsshslm_2020", spec.cells - spec.adaptive, common)
    if spec.adaptive:
        cells += nest.Create("eprop_iaf_adapt_bsshslm_2020", spec.adaptive, slow)
    loss = "cross_entropy" if spec.cross_entropy else "mean_squared_error"
    constants = {**REST, "tau_m": spec.tau_out, "loss": loss, "regular_spike_arrival": False}
    return cells, nest.Create("eprop_readout_bsshslm_2020", spec.outputs, constants)


def shown(spec: Spec, given: Given, outputs: Any) -> Any:
    """Return the populations that relay the input; connect the targets."""
    generators, relays = nest.Create("spike_generator", spec.inputs), nest.Create("parrot_neuron", spec.inputs)
    for generator, train in zip(generators, given.spikes.reshape(-1, spec.inputs).T, strict=True):
        generator.spike_times = (np.flatnonzero(train) + FIRST).astype(float)
    nest.Connect(generators, relays, "one_to_one", {"delay": 1.0})
    targets = nest.Create("step_rate_generator", spec.outputs)
    times = np.arange(spec.sequences * spec.steps, dtype=float) + BEHIND
    for generator, values in zip(targets, given.target.reshape(-1, spec.outputs).T, strict=True):
        generator.set(amplitude_times=times, amplitude_values=values)
    rate = {"synapse_model": "rate_connection_delayed", "delay": 1.0}
    nest.Connect(targets, outputs, "one_to_one", {**rate, "receptor_type": 2})
    if spec.cross_entropy:
        nest.Connect(outputs, outputs, EVERY, {**rate, "receptor_type": 1, "weight": 1.0})
    return relays


def simulated(spec: Spec) -> dict[str, Any]:
    """Return the loss of each sequence and the weights after the last update, of all sequences but the last."""
    given = spec.draw(spec)
    nest.ResetKernel()
    nest.set(
        resolution=1.0,
        total_num_virtual_procs=1,
        eprop_update_interval=float(spec.steps),
        eprop_learning_window=float(spec.window),
        eprop_reset_neurons_on_update=True,
    )
    cells, outputs = created(spec)
    relays = shown(spec, given, outputs)
    ends = spec.sequences * spec.steps + BEHIND
    meter = nest.Create("multimeter")
    meter.set(interval=1.0, start=float(BEHIND), stop=float(ends), record_from=["readout_signal", "target_signal"])
    nest.Connect(meter, outputs)
    optimizer = {"batch_size": 1, "eta": spec.lr, "Wmin": -100.0, "Wmax": 100.0, "type": "gradient_descent"}
    if spec.adam:
        optimizer |= {"type": "adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
    nest.SetDefaults(SYNAPSE, {"optimizer": optimizer, "average_gradient": spec.averaged})
    learned = {"synapse_model": SYNAPSE, "delay": 1.0, "tau_m_readout": spec.tau_out}
    nest.Connect(relays, cells, EVERY, {**learned, "weight": given.into})
    nest.Connect(cells, cells, EVERY, {**learned, "weight": given.recurrent})
    nest.Connect(cells, outputs, EVERY, {**learned, "weight": given.out})
    signal = {"synapse_model": "eprop_learning_signal_connection_bsshslm_2020", "delay": 1.0, "weight": given.back}
    nest.Connect(outputs, cells, EVERY, signal)
    nest.Simulate(float(ends + 1))
    found = {"losses": losses(spec, outputs, meter.events)}
    if spec.cells < 10:
        found |= {
            "into": weights(relays, cells, given.into.shape),
            "recurrent": weights(cells, cells, given.recurrent.shape),
            "out": weights(cells, outputs, given.out.shape),
        }
    return found


def losses(spec: Spec, outputs: Any, events: dict[str, Any]) -> list[float]:
    """Return the loss of each sequence."""
    senders = np.asarray(events["senders"])
    read, wanted = (
        np.stack([np.asarray(events[name])[senders == out.global_id] for out in outputs]).reshape(
            spec.outputs, spec.sequences, spec.steps
        )[:, :, -spec.window :]
        for name in ("readout_signal", "target_signal")
    )
    if spec.cross_entropy:
        return (-(wanted * np.log(read)).sum(0).mean(1)).tolist()
    return (((read - wanted) ** 2).sum((0, 2)) / 2).tolist()


def weights(before: Any, after: Any, shape: tuple[int, ...]) -> list[list[float]]:
    """Return the weights between two populations, zero where there is no connection."""
    found, rows, columns = np.zeros(shape), after.tolist(), before.tolist()
    for connection in nest.GetConnections(before, after, synapse_model=SYNAPSE):
        found[rows.index(connection.target), columns.index(connection.source)] = connection.weight
    return found.tolist()


def main() -> None:
    nest.verbosity = nest.VerbosityLevel.WARNING
    found = {name: simulated(spec) for name, spec in {**SMALL, **EARLY, **LARGE}.items()}
    whole = {"nest": nest.__version__, "numpy": np.__version__, "found": found}
    Path(__file__).with_name("nest.json").write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
