"""STDP between 784 inputs and 400 cells for a second of biological time: ours, Brian2's C++ standalone, BindsNET.

python benchmarks/plasticity.py               # a minute; writes its section of README.md
python benchmarks/plasticity.py 9 FOLDER      # with rounds, and the folder of BindsNET's package, for its core alone
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import types
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import brian2 as b2
import numpy as np
import torch
from readme import machine, put, table
from timing import in_turn, stopwatch

import rules
from rules.credit.spike_timing import STDP, Window
from rules.credit.spike_timing.passing import Carried
from rules.plasticity import SGD
from rules.sites.site import sites
from sandbox import LIF, build
from sandbox.networks.network import Network

INPUTS, CELLS, STEPS, DT = 784, 400, 1000, 1.0  # DT [ms]
SECONDS = 5  # of ours in an epoch, a batch each
RATE = 15.0  # of an input [Hz], about that of digits with 128 Hz for white
TAU = 20.0  # of membranes and of both traces [ms]
LR = 1e-4
TARGETS = {"Brian2": ">= 5", "BindsNET": ">= 3"}
WORDS = """\
{inputs} Poisson inputs at {rate:g} Hz drive {cells} LIF cells through weights that learn by pairs of spikes, all to
all, in steps of {dt:g} ms, on one core; the time of one second, median of {rounds} interleaved runs of {seconds} s. All
sides are given the same spikes and begin with the same weights, and a weight that has changed acts in the next step.
Brian2 runs the compiled program of its C++ standalone mode, compilation apart, as it reports its own run time; its
threshold is lower by the leak of a step, for its synapses come behind it. Ours is `Trainer.fit` on batches of one
sample and a second. Cells fire at {ours:.1f} Hz (ours), {brian:.1f} Hz (Brian2){bindsnet}.
"""


def spikes() -> torch.Tensor:
    """Return the input, `[T, 1, inputs]`."""
    rng = torch.Generator().manual_seed(0)
    return (torch.rand(STEPS, 1, INPUTS, generator=rng) < RATE * DT / 1000).float()


def network() -> Network:
    """Return the layer of cells; 1 nA in one step lifts a membrane by 1 mV."""
    cells = LIF(tau_mem=TAU, r=float(1 / -np.expm1(-DT / TAU)))
    net = build((INPUTS,), 1, hidden=(CELLS,), neuron=cells, dt=DT, seed=0)
    net.layers = net.layers[:1]
    with torch.no_grad():
        net.layers[0].synapse.bias.zero_()
        net.layers[0].synapse.weight.uniform_(0.0, 0.008, generator=torch.Generator().manual_seed(1))
    return net


def ours(x: torch.Tensor, acts: str) -> Callable[[], object]:
    """Return a call that learns for `SECONDS`."""
    window = Window(a_plus=LR, a_minus=1.05 * LR, tau_plus=TAU, tau_minus=TAU)
    rule = rules.LearningRule(rules.OBJECTIVES["assignment"](), STDP(window, acts=acts), SGD(1.0))  # type: ignore[arg-type]
    trainer = rules.Trainer(network(), rule, health=None)
    seconds, begin = [(x, None)] * SECONDS, network().state_dict()

    def call() -> None:
        trainer.model.load_state_dict(begin)
        for _ in trainer.fit(seconds):
            pass

    call()
    return call


def fit(x: torch.Tensor, acts: str) -> Callable[[], float]:
    """Return a call that gives the time of a second of `ours` [s]."""
    return per_second(ours(x, acts))


def per_second(call: Callable[[], object]) -> Callable[[], float]:
    """Return a call that gives the time of one of its seconds [s]."""
    whole = stopwatch(call)
    return lambda: whole() / SECONDS


def firing(x: torch.Tensor) -> float:
    """Return the rate of our cells [Hz]."""
    rule = STDP(Window(a_plus=LR, a_minus=1.05 * LR, tau_plus=TAU, tau_minus=TAU), acts="at_once")
    net, spikes_ = network(), 0.0
    with torch.no_grad():
        for _ in range(SECONDS):
            ((layer, change, _),) = rule._run(sites(net), x, Carried(None), None)
            net.layers[0].synapse.weight += change[:, :INPUTS]
            spikes_ += float(layer.output.sum())
    return rated(spikes_)


def rated(spikes: float) -> float:
    """Return the rate of a cell [Hz], from the spikes of all."""
    return spikes / CELLS / (SECONDS * STEPS * DT / 1000)


def brian(x: torch.Tensor, folder: str) -> tuple[Callable[[], float], float]:
    """Return a call that runs the compiled program and gives its time [s], and the rate of its cells [Hz]."""
    b2.set_device("cpp_standalone", build_on_run=False, directory=folder)
    b2.prefs.devices.cpp_standalone.openmp_threads = 0
    b2.defaultclock.dt = DT * b2.ms
    at, _, which = x.repeat(SECONDS, 1, 1).nonzero(as_tuple=True)
    source = b2.SpikeGeneratorGroup(INPUTS, which.numpy(), at.numpy() * DT * b2.ms)
    cells = b2.NeuronGroup(
        CELLS,
        "dv/dt = -v / tau : 1",
        threshold="v >= exp(-dt / tau)",
        reset="v = 0",
        method="exact",
        namespace={"tau": TAU * b2.ms},
    )
    synapses = b2.Synapses(
        source,
        cells,
        """w : 1
           dx/dt = -x / tau : 1 (event-driven)
           dy/dt = -y / tau : 1 (event-driven)""",
        on_pre="v_post += w; x += 1; w -= lr * 1.05 * y",
        on_post="y += 1; w += lr * x",
        namespace={"tau": TAU * b2.ms, "lr": LR},
    )
    synapses.connect()
    synapses.w = network().layers[0].synapse.weight.detach().T.flatten().numpy().astype(float)
    seen = b2.SpikeMonitor(cells, record=False)
    net = b2.Network(source, cells, synapses, seen)
    net.run(SECONDS * STEPS * DT * b2.ms)
    device: Any = b2.device
    device.build(directory=folder, compile=True, run=False, with_output=False)

    def call() -> float:
        device.run(folder, with_output=False, run_args=[])
        return float(device._last_run_time) / SECONDS

    call()
    return call, rated(float(seen.num_spikes))


def bindsnet(x: torch.Tensor, package: str) -> tuple[Callable[[], object], Callable[[], float], str]:
    """Return a call that runs BindsNET's core for a second, the rate of its cells [Hz], and the version."""
    fake = types.ModuleType("bindsnet")  # its own module imports a great deal that networks do not need
    fake.__path__ = [str(Path(package) / "bindsnet")]
    sys.modules["bindsnet"] = fake
    from bindsnet.network import Network as Theirs
    from bindsnet.network.monitors import Monitor
    from bindsnet.network.nodes import Input, LIFNodes
    from bindsnet.network.topology import Connection
    from bindsnet.learning import PostPre  # isort: skip  # which needs the network first

    net = Theirs(dt=DT, learning=True)
    source = Input(n=INPUTS, traces=True, tc_trace=TAU, traces_additive=True)
    cells = LIFNodes(
        n=CELLS,
        traces=True,
        tc_trace=TAU,
        traces_additive=True,
        thresh=1.0,
        rest=0.0,
        reset=0.0,
        refrac=0,
        tc_decay=TAU,
    )
    begin, whole = network().layers[0].synapse.weight.detach().T.contiguous(), x.byte().repeat(SECONDS, 1, 1)
    link = Connection(source, cells, w=begin.clone(), update_rule=PostPre, nu=(1.05 * LR, LR))
    net.add_layer(source, "x")
    net.add_layer(cells, "y")
    net.add_connection(link, "x", "y")
    counts = Monitor(cells, state_vars=("s",), time=SECONDS * STEPS)
    net.add_monitor(counts, "y")

    def call() -> None:
        net.reset_state_variables()
        link.w.data.copy_(begin)
        net.run(inputs={"x": whole}, time=int(SECONDS * STEPS * DT))

    call()
    found = next(Path(package).glob("bindsnet-*.dist-info"))
    return call, lambda: rated(float(counts.get("s").sum())), PathDistribution(found).version


def main(rounds: int, package: str | None) -> None:
    """Measure all sides in turn, and write the section."""
    torch.set_num_threads(1)
    x = spikes()
    with tempfile.TemporaryDirectory() as folder:
        theirs, rate = brian(x, folder)
        sides: dict[str, Callable[[], float]] = {}
        sides["ours"] = fit(x, "at_once")
        sides["ours, weights act afterwards"] = fit(x, "after")
        sides["Brian2"] = theirs
        said = ""
        if package is not None:
            call, fired, version = bindsnet(x, package)
            said = f", {fired():.1f} Hz (BindsNET {version})"
            sides["BindsNET"] = per_second(call)
        in_turn(list(sides.values()), 1)
        times = in_turn(list(sides.values()), rounds)
    body = []
    for number, name in enumerate(sides):
        took = statistics.median(row[number] for row in times)
        over = f"{statistics.median(row[number] / row[0] for row in times):.2f}"
        body.append((name, f"{1e3 * took:.1f}", over, TARGETS.get(name, "")))
    mine = firing(x)
    words = WORDS.format(
        inputs=INPUTS,
        rate=RATE,
        cells=CELLS,
        dt=DT,
        rounds=rounds,
        seconds=SECONDS,
        ours=mine,
        brian=rate,
        bindsnet=said,
    )
    head = ("side", "a second [ms]", "this / ours", "target")
    put("Plasticity of spikes", "\n\n".join([words.strip(), table(head, body), machine("torch", "numpy", "brian2")]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9, sys.argv[2] if len(sys.argv) > 2 else None)
