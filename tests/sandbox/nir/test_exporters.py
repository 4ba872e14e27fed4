"""Graphs of other programs give these programs' own spikes under their scheme: none of 400 steps of 20 cells differs."""

from __future__ import annotations

from copy import deepcopy

import nir
import numpy as np
import pytest
import torch
from torch import nn

from sandbox import LIF, build, from_nir, to_nir
from sandbox.nir import distance
from tests.peers.zoo import present

T, IN, HIDDEN = 400, 5, 20
ROUNDING = 1e-5  # of the largest voltage in float32, which each of the last steps in memory rounds by 1e-7


def given(*shape, seed=0, strength=1.0):
    return strength * torch.rand(T, *shape, generator=torch.Generator().manual_seed(seed))


def linear(inputs, outputs, strength, kind=nn.Linear):
    rng = torch.Generator().manual_seed(inputs + outputs)
    made = kind(inputs, outputs)
    with torch.no_grad():
        made.weight.copy_(strength * torch.randn(outputs, inputs, generator=rng))
        made.bias.copy_(0.1 * torch.randn(outputs, generator=rng))
    return made


def agrees(graph, x, theirs, scheme, fires=True, **how):
    found = distance(graph, x, scheme, theirs, tolerance=ROUNDING * float(theirs.abs().max()), **how)
    assert found.from_exporter.differ == 0, str(found)
    assert found.outputs == theirs.numel()
    if fires:
        assert found.sum / found.outputs > 0.01, "few cells fire, so that little is compared"
    return found


def needs(library):
    return pytest.mark.skipif(not present(library), reason=f"{library} is not installed: make peers")


# ---- snnTorch --------------------------------------------------------------------------------------------------------

EACH = {"threshold": torch.linspace(0.5, 1.5, HIDDEN), "init_hidden": True}  # its exporter fails for one number for all


def snn_cell(kind, **more):
    import snntorch as snn

    beta, alpha = torch.linspace(0.5, 0.95, HIDDEN), torch.linspace(0.4, 0.9, HIDDEN)
    options = EACH | {"beta": beta} | more
    if "Syn" in kind:
        options["alpha"] = alpha
    if kind.startswith("R"):
        options["linear_features"] = HIDDEN
    torch.manual_seed(0)  # of its recurrent weights
    return getattr(snn, kind)(**options)


def snn_graph(net):
    from snntorch.export_nir import export_to_nir

    return export_to_nir(deepcopy(net), given(1, IN)[0], ignore_dims=[0])  # it leaves a state that reset does not clear


def snn_run(net, x):
    from snntorch import utils

    utils.reset(net)
    with torch.no_grad():
        return torch.stack([net(step) for step in x])


@needs("snntorch")
class TestSnnTorch:
    @pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky", "RSynaptic"])
    def test_its_cells_as_they_are_by_default(self, kind):
        net = nn.Sequential(linear(IN, HIDDEN, 0.5), snn_cell(kind), linear(HIDDEN, HIDDEN, 0.5), snn_cell(kind))
        x = given(1, IN)
        agrees(snn_graph(net), x, snn_run(net, x), "snntorch")

    def test_reset_to_zero(self):
        net = nn.Sequential(linear(IN, HIDDEN, 0.5), snn_cell("Leaky", reset_mechanism="zero"))
        x = given(1, IN)
        agrees(snn_graph(net), x, snn_run(net, x), "snntorch", reset="to_value")

    def test_without_a_reset(self):
        net = nn.Sequential(linear(IN, HIDDEN, 0.2), snn_cell("Leaky", reset_mechanism="none"))
        x = given(1, IN)
        agrees(snn_graph(net), x, snn_run(net, x), "snntorch", reset="none")

    def test_reset_without_a_delay_while_membranes_stay_below_two_thresholds(self):
        net = nn.Sequential(linear(IN, HIDDEN, 0.15), snn_cell("Leaky", reset_delay=False))
        x = given(1, IN)
        agrees(snn_graph(net), x, snn_run(net, x), "snntorch", reset="subtract")

    def test_at_the_threshold_it_is_silent(self):
        import snntorch as snn

        net = nn.Sequential(nn.Linear(1, 1), snn.Leaky(torch.full((1,), 0.5), torch.ones(1), init_hidden=True))
        with torch.no_grad():
            net[0].weight.fill_(1.0)
            net[0].bias.zero_()
        from snntorch.export_nir import export_to_nir

        x = torch.ones(T, 1, 1)
        x[1:] = 0.5  # the membrane is 1 in every step
        theirs = snn_run(net, x)
        assert not theirs.any()
        graph = export_to_nir(net, x[0], ignore_dims=[0])
        assert not from_nir(graph, scheme="snntorch")(x).output.any()

    def test_another_reset_would_be_seen(self):
        net = nn.Sequential(linear(IN, HIDDEN, 0.5), snn_cell("Leaky"))
        x = given(1, IN)
        assert distance(snn_graph(net), x, "snntorch", snn_run(net, x), reset="subtract").from_exporter.differ > 100
        assert distance(snn_graph(net), x, "euler", snn_run(net, x), dt=0.1).from_exporter.differ > 100


# ---- Norse -----------------------------------------------------------------------------------------------------------


def norse_cell(name):
    import norse.torch as norse
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.lif import LIFParameters
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.leaky_integrator_box import LIBoxCell, LIBoxParameters

    slow, part = torch.as_tensor(60.0), torch.as_tensor(0.7)
    return {
        "LIFCell": lambda: norse.LIFCell(LIFParameters(tau_mem_inv=slow, v_th=part)),
        "LIFBoxCell": lambda: norse.LIFBoxCell(LIFBoxParameters(tau_mem_inv=slow, v_th=part)),
        "IAFCell": lambda: norse.IAFCell(IAFParameters(v_th=part)),
        "LIBoxCell": lambda: LIBoxCell(LIBoxParameters(tau_mem_inv=slow, v_leak=part)),
    }[name]()


@needs("norse")
@pytest.mark.parametrize(
    ("name", "strength"), [("LIFCell", 1.0), ("LIFBoxCell", 4.0), ("IAFCell", 0.5), ("LIBoxCell", 1)]
)
def test_norse(name, strength):
    import norse.torch as norse
    from norse.torch.utils.export_nir import to_nir

    last = [] if name == "LIBoxCell" else [linear(HIDDEN, HIDDEN, 3 * strength), norse_cell(name)]
    net = norse.SequentialState(linear(IN, HIDDEN, strength), norse_cell(name), *last)
    x, state, rows = given(1, IN), None, []
    with torch.no_grad():
        for step in x:
            out, state = net(step, state)
            rows.append(out)
    agrees(to_nir(net, x[0, 0]), x, torch.stack(rows), "norse", fires=name != "LIBoxCell")


@needs("norse")
def test_norse_exported_with_a_batch_says_so():
    import norse.torch as norse
    from norse.torch.utils.export_nir import to_nir

    graph = to_nir(norse.SequentialState(linear(IN, HIDDEN, 1.0), norse.LIFCell()), given(1, IN)[0])
    with pytest.raises(
        ValueError, match=r"node '0' .* arrives has shape \(1, 5\): export from a sample without a batch"
    ):
        from_nir(graph, scheme="norse")


# ---- Sinabs ----------------------------------------------------------------------------------------------------------


@needs("sinabs")
@pytest.mark.parametrize(("name", "strength"), [("LIFSqueeze", 8.0), ("IAFSqueeze", 0.5), ("ExpLeakSqueeze", 0.5)])
def test_sinabs(name, strength):
    import sinabs.layers as layers
    from sinabs.nir import to_nir

    options = {} if name == "IAFSqueeze" else {"tau_mem": torch.as_tensor(20.0)}
    cell = lambda: getattr(layers, name)(batch_size=1, **options)  # noqa: E731
    last = [] if name == "ExpLeakSqueeze" else [linear(HIDDEN, HIDDEN, strength), cell()]
    net, x = nn.Sequential(linear(IN, HIDDEN, strength), cell(), *last), given(1, IN)
    with torch.no_grad():
        theirs = net(x[:, 0])[:, None]
    if last:
        assert theirs.max() > 1, "several spikes in a step"
    agrees(to_nir(net, x[:, 0]), x, theirs, "sinabs", fires=bool(last))


# ---- SpikingJelly ----------------------------------------------------------------------------------------------------


def jelly(name):
    from spikingjelly.activation_based import neuron

    return {
        "IFNode": lambda: neuron.IFNode(),
        "IFNode, reset below": lambda: neuron.IFNode(v_threshold=0.8, v_reset=-0.3),
        "LIFNode": lambda: neuron.LIFNode(tau=2.0),
        "LIFNode, reset below": lambda: neuron.LIFNode(tau=3.0, v_reset=-0.2),
        "LIFNode, whole input": lambda: neuron.LIFNode(tau=5.0, decay_input=False),
        "ParametricLIFNode": lambda: neuron.ParametricLIFNode(init_tau=3.0),
        "CUBALIFNode": lambda: neuron.CUBALIFNode(c_decay=0.6, v_decay=0.7),
    }[name]()


def jelly_run(net, x):
    from spikingjelly.activation_based import functional

    functional.reset_net(net)
    with torch.no_grad():
        rows = torch.stack([net(step) for step in x])
    functional.reset_net(net)
    return rows


@needs("spikingjelly")
class TestSpikingJelly:
    @pytest.mark.parametrize(
        ("name", "strength"),
        [
            ("IFNode", 1.0),
            ("IFNode, reset below", 1.0),
            ("LIFNode", 3.0),
            ("LIFNode, reset below", 3.0),
            ("LIFNode, whole input", 1.0),
            ("ParametricLIFNode", 3.0),
            ("CUBALIFNode", 0.5),
        ],
    )
    @pytest.mark.parametrize("dt", [1e-4, 1e-3])
    def test_its_cells(self, name, strength, dt):
        from spikingjelly.activation_based import layer
        from spikingjelly.activation_based.nir_exchange import export_to_nir

        dense = lambda inputs: linear(inputs, HIDDEN, strength, layer.Linear)  # noqa: E731
        net, x = nn.Sequential(dense(IN), jelly(name), dense(HIDDEN), jelly(name)), given(1, IN)
        agrees(export_to_nir(net, x[0], dt=dt), x, jelly_run(net, x), "spikingjelly", dt=1000 * dt)

    def test_images(self):
        from spikingjelly.activation_based import layer, neuron
        from spikingjelly.activation_based.nir_exchange import export_to_nir

        torch.manual_seed(0)
        net = nn.Sequential(
            layer.Conv2d(1, 3, 3, padding=1),
            neuron.LIFNode(tau=2.0),
            layer.AvgPool2d(2),
            layer.Flatten(),
            layer.Linear(12, HIDDEN),
            neuron.IFNode(),
        )
        x = given(1, 1, 4, 4, strength=6.0)
        agrees(export_to_nir(net, x[0]), x, jelly_run(net, x), "spikingjelly")

    def test_at_the_threshold_it_fires(self):
        """A constant input of 1 with tau = 2 and the whole input: the membrane is 1 in the first step."""
        from spikingjelly.activation_based import layer, neuron
        from spikingjelly.activation_based.nir_exchange import export_to_nir

        net = nn.Sequential(layer.Linear(1, 1, bias=False), neuron.LIFNode(tau=2.0, decay_input=False))
        with torch.no_grad():
            net[0].weight.fill_(1.0)
        x = torch.ones(T, 1, 1)
        theirs = jelly_run(net, x)
        assert theirs.all()
        assert from_nir(export_to_nir(net, x[0]), scheme="spikingjelly")(x).output.all()


# ---- and back --------------------------------------------------------------------------------------------------------


def read_by_snntorch(graph):
    from snntorch.import_nir import import_from_nir

    return import_from_nir(graph)


def read_by_norse(graph):
    from norse.torch.utils.import_nir import from_nir as read

    return read(graph, dt=1e-4)


def read_by_spikingjelly(graph):
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir(graph, dt=1e-4)


@pytest.mark.parametrize("read", [read_by_snntorch, read_by_norse, read_by_spikingjelly])
def test_graphs_of_ours_go_there(read):
    """Each steps by Euler, at 0.1 ms, and its spikes are those of scheme="euler"."""
    if not present(read.__name__.removeprefix("read_by_")):
        pytest.skip("not installed: make peers")
    graph = to_nir(build((IN,), HIDDEN, (HIDDEN,), LIF(2.0, strict=True), LIF(2.0, strict=True), dt=0.1, seed=1))
    theirs, x, state, rows = read(graph), given(1, IN, strength=8.0), None, []
    with torch.no_grad():
        for step in x:
            out, state = theirs(step, state)
            rows.append(out)
    agrees(graph, x, torch.stack(rows), "euler")


# ---- distance --------------------------------------------------------------------------------------------------------


def leaky():
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "lif": nir.LIF(np.full(2, 0.005), np.full(2, 2.0), np.zeros(2), np.full(2, 0.4)),
        "output": nir.Output({"output": np.array([2])}),
    }
    return nir.NIRGraph(nodes, [("input", "lif"), ("lif", "output")])


def test_distance_counts_and_prints():
    x = given(1, 2)
    ours = from_nir(leaky(), dt=1.0, scheme="euler")(x).output
    theirs = ours.clone()
    theirs[3:5] = 1 - theirs[3:5]
    found = distance(leaky(), x, "euler", theirs, dt=1.0)
    exact = from_nir(leaky(), dt=1.0)(x).output
    assert (found.from_exporter.differ, found.from_exporter.largest) == (4, 1.0)
    assert found.from_equations.differ == int((ours != exact).sum()) > 0
    assert str(found).splitlines() == [
        f"scheme euler, dt = 1 ms: 800 outputs, whose sum is {int(ours.sum())}",
        "  from the exporter: 4 differ, by up to 1",
        f"  from the equations: {found.from_equations.differ} differ, by up to 1",
    ]
    assert "from the exporter: not compared" in str(distance(leaky(), x, dt=1.0))


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(
        ValueError, match=r"theirs has shape \(1, 400, 2\), and the network puts out \(400, 1, 2\): put"
    ):
        distance(leaky(), given(1, 2), theirs=torch.zeros(1, T, 2), dt=1.0)
